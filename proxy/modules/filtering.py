"""`filtering`: requests that no app should see, as requestFiltering and ipSecurity of IIS refuse them.

The order: who may come, how often, then what is asked for. IIS answers nearly everything here with 404 and a
sub-status; where HTTP has a status of its own for a cause, it is said instead: 405 for a method, 413 and 414 for
lengths, 431 for a field. What is hidden is 404, so that nobody learns that it is there.

Paths are judged in every reading that an app behind us may have of them (`proxy/readings.py`): no spelling of a hidden
name or a denied extension gets past.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address
from math import inf
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

from proxy.modules import Context, Module, Refuse, Visit
from proxy.networks import Networks, address_of
from proxy.peer import Framing
from proxy.rate_table import SECOND, RateTable
from proxy.readings import needs_more_readings, readings

T = TypeVar("T")
Check = Callable[[Visit], Refuse | None]

#: Without a list of allowed methods, what Allow says of those that remain (RFC 9110 9, RFC 5789).
USUAL_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH")

#: Addresses and paths that are remembered, and the longest path that is.
MEMORY: Final = 2048
LONGEST_REMEMBERED: Final = 256

#: How often what is decoded may decode again. Nobody encodes so often in good faith.
DEEPEST: Final = 4

_ENCODED = re.compile(rb"%[0-9A-Fa-f]{2}|%[uU][0-9A-Fa-f]{4}")
# UTF-8 that is longer than it need be (RFC 3629 3): `.` as C0 AE, for a decoder that does not look.
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}")
_ENDS = re.compile(rb"[;?#:]")
# After a name: dots and blanks, which some file systems forget, and what ends a name for some readers.
_END = rb"[. ]*(?=[/\\;?#:]|\Z)"


class Filtering(Module):
    """See `supervisor_conf/module_table.py` for the options."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self._allowed = Networks(options["allow"])
        self._denied = Networks(options["deny"])
        self._methods = {method.encode("ascii") for method in options["methods"]}
        self._no_methods = {method.encode("ascii") for method in options["denied_methods"]}
        self._allow_field = ", ".join(_remaining(options["methods"], options["denied_methods"]))
        self._double = options["double_escaping"]
        self._unwanted = _unwanted(options["hidden_segments"], options["denied_extensions"])
        self._extensions = {extension.lower().encode("utf-8") for extension in options["extensions"]}
        self._max_target, self._max_query = options["max_target"], options["max_query"]
        self._max_path = options["max_path"]
        self._max_body = options["max_body"]
        limits: dict[str, int] = dict(options["max_fields"])
        self._other_fields: float = limits.pop("*", inf)
        self._fields = {name.lower().encode("ascii"): limit for name, limit in limits.items()}
        self._least_field = min(self._other_fields, *limits.values(), inf)
        self._rates = _rates(options, context)
        # What was found harmless before: visitors and what they ask for repeat themselves.
        self._admitted: set[str] = set()
        self._harmless: set[bytes] = set()
        self._checks = self._configured()

    def request(self, visit: Visit) -> Refuse | None:
        for check in self._checks:
            if (refusal := check(visit)) is not None:
                return refusal
        return None

    def close(self) -> None:
        if self._rates is not None:
            self._rates.close()

    def _configured(self) -> list[Check]:
        """What costs nothing where it is not asked for."""
        checks: list[tuple[object, Check]] = [
            (self._allowed or self._denied, self._address),
            (self._rates, self._rate),
            (self._methods or self._no_methods, self._method),
            (self._max_target or self._max_path or self._max_query, self._lengths),
            (self._least_field < inf, self._field_lengths),
            (self._max_body, self._body),
            (self._unwanted or self._extensions or not self._double, self._path),
        ]
        return [check for wanted, check in checks if wanted]

    # ----------------------------------------------------------------------------------------------------------
    # Who, and how often

    def _address(self, visit: Visit) -> Refuse | None:
        """IIS 403.6. Denied comes before allowed."""
        client = visit.client
        if client in self._admitted:
            return None
        if client in self._denied or (self._allowed and client not in self._allowed):
            return Refuse(403, "this address may not come here")
        remember(self._admitted, client)
        return None

    def _rate(self, visit: Visit) -> Refuse | None:
        """RFC 6585 4. Who comes over a Unix socket cannot be told from others who do, and is not counted."""
        client = visit.client
        if not client:
            return None
        assert self._rates is not None
        wait = self._rates.wait_of(client if ":" not in client else rated_as(client))
        if not wait:
            return None
        return Refuse(429, "more requests than one client may send", retry_after=-(-wait // SECOND))

    # ----------------------------------------------------------------------------------------------------------
    # What is asked for

    def _method(self, visit: Visit) -> Refuse | None:
        """IIS 404.6; HTTP has 405 for it, with the methods that remain (RFC 9110 15.5.6)."""
        method = visit.exchange.request.method
        if method in self._no_methods or (self._methods and method not in self._methods):
            return Refuse(405, "this method is not taken here", fields=(("Allow", self._allow_field),))
        return None

    def _lengths(self, visit: Visit) -> Refuse | None:
        """IIS 404.14 and 404.15; HTTP has 414."""
        target = visit.exchange.request.target
        if 0 < self._max_target < len(target):
            return Refuse(414, "the request target is too long")
        if 0 < self._max_path < len(visit.raw_path):
            return Refuse(414, "the path is too long")
        if 0 < self._max_query < len(target) - (target.find(b"?") + 1 or len(target)):
            return Refuse(414, "the query is too long")
        return None

    def _field_lengths(self, visit: Visit) -> Refuse | None:
        """IIS 404.10; HTTP has 431 (RFC 6585 5)."""
        least = self._least_field
        for name, value in visit.exchange.request.fields:
            if len(value) > least and len(value) > self._fields.get(name.lower(), self._other_fields):
                return Refuse(431, "a header field is too long")
        return None

    def _body(self, visit: Visit) -> Refuse | None:
        """IIS 404.13; HTTP has 413. One whose length nobody has said is counted on its way."""
        if visit.exchange.request.framing is not Framing.NONE:
            visit.limit_body(self._max_body)
        return None

    def _path(self, visit: Visit) -> Refuse | None:
        path = visit.raw_path
        if path in self._harmless:
            return None
        refusal = self._judge(path.lower()) if not needs_more_readings(path) else self._judge_readings(path)
        if refusal is None and len(path) <= LONGEST_REMEMBERED:
            remember(self._harmless, path)
        return refusal

    def _judge_readings(self, path: bytes) -> Refuse | None:
        spelled, depth = path, 0
        while True:
            for segments in readings(spelled):
                refusal = self._judge(b"/" + b"/".join(segments))
                if refusal is not None:
                    return refusal
            decoded = unquote_to_bytes(spelled)
            refusal = self._judge(decoded.lower())
            if refusal is not None:
                return refusal
            if not self._double:
                if _ENCODED.search(decoded) or _OVERLONG.search(decoded):
                    return Refuse(404, "the path is escaped twice, or in a way that UTF-8 does not know")
                return None
            if decoded == spelled:
                return None
            spelled, depth = decoded, depth + 1
            if depth > DEEPEST:
                return Refuse(404, "the path is escaped too often")

    def _judge(self, path: bytes) -> Refuse | None:
        """One reading, in lower case."""
        if self._unwanted is not None and (found := self._unwanted.search(path)) is not None:
            what = "a hidden name" if found.lastgroup == "hidden" else "an extension that is not served"
            return Refuse(404, f"the path has {what}")  # IIS 404.8, 404.7
        if self._extensions and not self._extensions.issuperset(_extensions_of(path)):
            return Refuse(404, "the path has an extension that is not served")  # IIS 404.7
        return None


def remember(known: set[T], found: T) -> None:
    """Full, it forgets everything and begins anew."""
    if len(known) >= MEMORY:
        known.clear()
    known.add(found)


def rated_as(client: str) -> str:
    """Who is counted as one client: an IPv4 address; of IPv6 the network of 64 bits that one customer has at least."""
    if ":" not in client:
        return client
    address = address_of(client)
    if not isinstance(address, IPv6Address):
        return str(address or client)
    return str(IPv6Address(int(address) >> 64 << 64))


def _rates(options: Mapping[str, Any], context: Context) -> RateTable | None:
    if not options["rate"]:
        return None
    place = f"apps-{context.app}" if context.app else "front"
    return RateTable(
        context.run_directory / f"rates-{place}-{context.number}",
        options["rate_clients"],
        round(SECOND / options["rate"]),
        options["burst"],
    )


def _remaining(methods: Iterable[str], denied: Iterable[str]) -> list[str]:
    return [method for method in methods or USUAL_METHODS if method not in denied]


def _unwanted(hidden: Iterable[str], extensions: Iterable[str]) -> re.Pattern[bytes] | None:
    """What has no place in a path that is in lower case: one pattern, searched once for each reading."""
    names = rb"|".join(_name(name) for name in hidden)
    ends = rb"|".join(re.escape(extension.lower().encode("utf-8")) for extension in extensions if extension)
    parts = []
    if names:
        parts.append(rb"(?P<hidden>[/\\](?:" + names + rb")" + _END + rb")")
    if ends:
        parts.append(rb"(?P<extension>(?:" + ends + rb")" + _END + rb")")
    return re.compile(rb"|".join(parts), re.DOTALL) if parts else None


def _name(name: str) -> bytes:
    text = re.escape(name.removesuffix("*").lower().encode("utf-8"))
    return text + rb"[^/\\]*" if name.endswith("*") else text


def _extensions_of(path: bytes) -> Iterable[bytes]:
    """Of the last segment that is not empty: whole, and up to what ends it for some readers."""
    last = path.rstrip(b"/").rpartition(b"/")[2]
    for name in {last, _ENDS.split(last, maxsplit=1)[0]}:
        _, dot, extension = name.rstrip(b". ").rpartition(b".")
        yield dot + extension if dot else b""
