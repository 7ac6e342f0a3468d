"""Max-Forwards (RFC 9110 7.6.2): TRACE and OPTIONS may say how far they want to go; at zero, we are the end."""

from __future__ import annotations

import re

from proxy.headers import Fields
from proxy.modules.answers import Answer
from proxy.peer import Request

#: Methods whose hops are counted.
COUNTED = frozenset((b"TRACE", b"OPTIONS"))
_COUNT = re.compile(rb"\d{1,9}")
#: RFC 9110 9.3.8: the final recipient should leave out what a client would not want to see again.
_PRIVATE = frozenset((b"authorization", b"proxy-authorization", b"cookie"))


def hops_left(request: Request) -> int | None:
    """What Max-Forwards allows, None if it says nothing to us. What is no number is ignored."""
    if request.method not in COUNTED:
        return None
    values = [value for name, value in request.fields if name.lower() == b"max-forwards"]
    return int(values[0]) if len(values) == 1 and _COUNT.fullmatch(values[0]) else None


def one_less(fields: Fields, hops: int) -> Fields:
    """The fields for the next hop."""
    return [
        (name, b"%d" % (hops - 1)) if name.lower() == b"max-forwards" else (name, value)
        for name, value in fields
    ]


def final_answer(request: Request, received: Fields) -> Answer:
    """What the final recipient of a TRACE or OPTIONS answers. `received`: the fields as the visitor sent them."""
    if request.method == b"OPTIONS":
        return Answer(200)
    lines = [b"%b %b HTTP/%b" % (request.method, request.target, request.version)]
    lines += [b"%b: %b" % field for field in received if field[0].lower() not in _PRIVATE]
    return Answer(200, [("Content-Type", "message/http")], b"\r\n".join(lines) + b"\r\n\r\n")
