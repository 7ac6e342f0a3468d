"""Content codings a client takes (Accept-Encoding, RFC 9110 12.5.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MEMBER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?")


def preferred(accept: str | None, offered: Sequence[str]) -> list[str]:
    """Those of `offered` (in lower case, ours before theirs) that the client takes, most wanted first; ties in our
    order. None of them where it says nothing: then the plain form is what everybody understands. One that it wants less
    than the plain form is left out."""
    if not accept:
        return []
    weights = _weights(accept)
    others = weights.get("*", 0.0)
    plain = weights.get("identity", 0.0)
    wanted = [(weights.get(coding, others), coding) for coding in offered]
    taken = [(weight, coding) for weight, coding in wanted if weight > 0 and weight >= plain]
    return [coding for _, coding in sorted(taken, key=lambda pair: -pair[0])]


def _weights(accept: str) -> dict[str, float]:
    """Members that are not valid count for nothing. `x-gzip` is gzip (RFC 9110 8.4.1.3)."""
    weights: dict[str, float] = {}
    for member in accept.split(","):
        if (found := _MEMBER.fullmatch(member.strip(" \t"))) is not None:
            name = found[1].lower().removeprefix("x-")
            weights[name] = float(found[2]) if found[2] is not None else 1.0
    return weights
