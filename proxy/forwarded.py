"""What proxies say of those who spoke to them: X-Forwarded-For, -Proto and -Host, and Forwarded (RFC 7239).

Each proxy adds its word at the right, so everything is read from the right and only as far as it is believed. What
stands further left is a visitor's, and can be anything: it is never even parsed, so that no quote it opens swallows
what a proxy wrote after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from proxy.strict import TCHAR, is_host

#: Proxies in a row that are listened to. Nobody has so many; an endless list must cost nothing.
MAX_HOPS = 32
#: Commas inside the quoted strings of one element of Forwarded.
MAX_COMMAS = 16
#: Addresses whose reading is remembered: who comes once mostly comes again, and reading one costs 5 to 20 µs.
KNOWN_ADDRESSES = 1024

X_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
NAMES = frozenset({*X_FORWARDED, b"forwarded"})

# Traefik tells a WebSocket's handshake by these two.
_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of who spoke to it. `address` "": it does not tell (RFC 7239 6.2, 6.3), or nothing that can
    be read. `port` 0, `scheme` "" and `host` b"" likewise."""

    address: str = ""
    port: int = 0
    scheme: str = ""
    host: bytes = b""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, as far as proxies that are believed can tell. Empty: nobody has told."""

    address: str = ""
    port: int = 0
    scheme: str = ""
    host: bytes = b""


Said = tuple[tuple[bytes, bytes], ...]
"""The fields that proxies speak by, in order, under their exact names in lower case: a look-alike (`X_Forwarded_For`)
is a visitor's."""

Trusts = Callable[[str], bool]
"""Whether the proxy at an address is believed."""


def origin_of(said: Said, trusts: Trusts, *, x_forwarded: bool = True, forwarded: bool = True) -> Origin:
    """What a trusted peer `said`: the first address from the right that is no trusted proxy's; if all are,
    the last one. It ends earlier at a hop that hides who spoke to it, or cannot be read: then the origin is the hop
    before that.

    One of the two ways of telling is read, never both, since a proxy writes one and lets the other pass:
    X-Forwarded-* if there is an X-Forwarded-For, else Forwarded if there is one. `x_forwarded` and `forwarded` say
    which may be.
    """
    by_name: dict[bytes, bytes] = {}
    for name, value in said:
        by_name[name] = by_name[name] + b"," + value if name in by_name else value
    if x_forwarded and (b"x-forwarded-for" in by_name or not (forwarded and b"forwarded" in by_name)):
        return _origin_of_x_forwarded(by_name, trusts)
    return _origin_of_hops(_elements(by_name.get(b"forwarded", b"")), trusts) if forwarded else Origin()


def _origin_of_hops(hops: Iterator[Hop | None], trusts: Trusts) -> Origin:
    """`hops` from the nearest; None: it cannot be read."""
    origin = Origin()
    for hop in hops:
        if hop is None:
            break
        origin = Origin(
            hop.address or origin.address,
            hop.port if hop.address else origin.port,
            hop.scheme or origin.scheme,
            hop.host or origin.host,
        )
        if not (hop.address and trusts(hop.address)):
            break
    return origin


# ------------------------------------------------------------------------------------------------------------
# X-Forwarded-*


def _origin_of_x_forwarded(by_name: dict[bytes, bytes], trusts: Trusts) -> Origin:
    """The lists run side by side. One that is shorter is by a proxy nearer to the visitor and was passed on."""
    addresses, schemes, hosts = (_members(by_name.get(name, b"")) for name in X_FORWARDED)
    nodes = (_node(member) for member in addresses)
    read: list[Hop | None] = []

    def hops() -> Iterator[Hop | None]:
        for node in nodes:
            read.append(node)
            yield node

    origin = _origin_of_hops(hops(), trusts)
    depth = max(1, sum(1 for hop in read if hop is not None))
    return Origin(
        origin.address,
        origin.port,
        _scheme(schemes[min(depth, len(schemes)) - 1]) if schemes else "",
        _host(hosts[min(depth, len(hosts)) - 1]) if hosts else b"",
    )


def _members(value: bytes) -> list[bytes]:
    """The last members of a list (RFC 9110 5.6.1), from the right."""
    members = value.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]
    return [member for one in reversed(members) if (member := one.strip(b" \t"))]


_PORT = rb"(?::(?P<port>[0-9]{1,5}))?"
_V4 = re.compile(rb"(?P<v4>[0-9.]{7,15})" + _PORT)
_V6 = re.compile(rb"\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]" + _PORT)
_BARE_V6 = re.compile(rb"(?P<v6>[0-9A-Fa-f:.]{2,45})")
# RFC 7239 6: unknown, or an obfuscated identifier; with an obfuscated port too.
_HIDDEN = re.compile(rb"(?:unknown|_[0-9A-Za-z._-]+)(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?", re.IGNORECASE)
_V4_HIDDEN_PORT = re.compile(rb"(?P<v4>[0-9.]{7,15}):_[0-9A-Za-z._-]+")
_V6_HIDDEN_PORT = re.compile(rb"\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]:_[0-9A-Za-z._-]+")


def _node(text: bytes, *, bare_v6: bool = True) -> Hop | None:
    """An address with or without a port, or one that is hidden; None for anything else."""
    if _HIDDEN.fullmatch(text):
        return Hop()
    patterns = (_V4, _V6, _BARE_V6) if bare_v6 else (_V4, _V6, _V4_HIDDEN_PORT, _V6_HIDDEN_PORT)
    match = next((found for pattern in patterns if (found := pattern.fullmatch(text))), None)
    if match is None:
        return None
    groups = match.groupdict()
    port = int(groups.get("port") or 0)
    text = groups.get("v4") or groups["v6"]
    if "v6" in groups and b":" not in text:
        return None
    address = plain_address(text.decode("ascii"))
    return Hop(address, port) if address and port < 65536 else None


@lru_cache(maxsize=KNOWN_ADDRESSES)
def plain_address(text: str) -> str:
    """An IP address in its canonical spelling, IPv4 mapped into IPv6 as IPv4, without a zone; "" for anything else."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _scheme(text: bytes) -> str:
    return _SCHEMES.get(text.lower(), "")


def _host(text: bytes) -> bytes:
    return text if is_host(text) else b""


# ------------------------------------------------------------------------------------------------------------
# Forwarded

_TOKEN = rb"[" + TCHAR + rb"]++"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_PAIR = rb"(?:" + _TOKEN + rb"=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))"
# RFC 7239 4; the blanks around ";" are what many write. No group is possessive (see head.py).
_ELEMENT = re.compile(rb"[ \t]*+" + _PAIR + rb"?(?:[ \t]*+;[ \t]*+" + _PAIR + rb"?)*[ \t]*+")
_ONE_PAIR = re.compile(rb"(" + _TOKEN + rb")=(" + _TOKEN + rb"|" + _QUOTED + rb")")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def _elements(value: bytes) -> Iterator[Hop | None]:
    """The elements of a Forwarded field, from the right; None where one cannot be read, and no more.

    An element begins at the last comma after which everything is one. That comma is never inside a quoted string of
    a well-formed element: the number of quotes behind it would be odd.
    """
    end = len(value)
    for _ in range(MAX_HOPS):
        if end < 0:
            return
        begin = _begin_of_element(value, end)
        if begin is None:
            yield None
            return
        element = value[begin:end].strip(b" \t")
        if element:
            yield _hop(element)
        end = begin - 1


def _begin_of_element(value: bytes, end: int) -> int | None:
    comma = end
    for _ in range(MAX_COMMAS):
        comma = value.rfind(b",", 0, comma)
        if _ELEMENT.fullmatch(value, comma + 1, end):
            return comma + 1
        if comma < 0:
            return None
    return None


def _hop(element: bytes) -> Hop | None:
    pairs = [(name.lower(), _unquoted(value)) for name, value in _ONE_PAIR.findall(element)]
    said = dict(pairs)
    if len(said) < len(pairs):  # RFC 7239 4: each parameter once
        return None
    node = _node(said[b"for"], bare_v6=False) if b"for" in said else Hop()
    if node is None:
        return None
    return Hop(node.address, node.port, _scheme(said.get(b"proto", b"")), _host(said.get(b"host", b"")))


def _unquoted(value: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value
