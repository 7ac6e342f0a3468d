"""Who a request comes from: the peer of its connection, or whom a trusted proxy speaks for.

What a proxy says is taken apart and said anew: nothing it sent about the way crosses as it was written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from proxy.forwarded import NAMES, Said, origin_of, plain_address
from proxy.headers import Caller, Fields, caller_lines, forwarded_element, request_id_of
from supervisor_conf.settings import FrontSettings

#: In `trusted_proxies`: whoever speaks to us over a Unix socket.
UNIX = "unix"
#: Answers remembered, and the longest question that is.
MEMORY = 1024
LONGEST_REMEMBERED = 512
LONGEST_NAME = 64

REQUEST_ID = b"x-request-id"

_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Visitor:
    """`lines` are what the app is told of `caller`, as they are written, and `forwarded` likewise (b"" if it is not
    told in that way); `host`: what the visitor asked for where a trusted proxy says so, else b""; `told`: a trusted
    proxy has told the address; `word`: `client_word`."""

    caller: Caller
    lines: bytes
    forwarded: bytes = b""
    host: bytes = b""
    told: bool = False
    word: bytes = b""


class Networks:
    """The proxies that are believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._v4: list[IPv4Network] = []
        self._v6: list[IPv6Network] = []
        self._unix = False
        for text in networks:
            if text == UNIX:
                self._unix = True
                continue
            network = ip_network(text)
            if isinstance(network, IPv4Network):
                self._v4.append(network)
            elif network.subnet_of(_MAPPED):
                # Addresses are compared as IPv4 where they are.
                v4 = int(network.network_address) & 0xFFFFFFFF
                self._v4.append(IPv4Network((v4, network.prefixlen - 96)))
            else:
                self._v6.append(network)

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6 or self._unix)

    def include(self, address: str) -> bool:
        """`address`: of IPv4 or IPv6; "" is the peer of a Unix socket."""
        if not address:
            return self._unix
        plain = plain_address(address)
        if not plain:
            return False
        found = ip_address(plain)
        return any(found in network for network in (self._v4 if found.version == 4 else self._v6))


class Trust:
    """`[front] trusted_proxies`, for one worker."""

    def __init__(self, front: FrontSettings) -> None:
        self._networks = Networks(front.trusted_proxies)
        self._x_forwarded = front.trusted_fields != "forwarded"
        self._forwarded = front.trusted_fields != "x-forwarded"
        self._with_port = front.forwarded_for_port
        self._sends_forwarded = front.forwarded
        self._names = _Names()
        self._memories: dict[str, dict[Said, Visitor]] = {}

    def __bool__(self) -> bool:
        """Whether anybody is trusted."""
        return bool(self._networks)

    def includes(self, peer: Caller) -> bool:
        """Whether this peer speaks for others."""
        return bool(self._networks) and not peer.nameless and self._networks.include(peer.address)

    def direct(self, peer: Caller) -> Visitor:
        """The peer itself."""
        return self._visitor(peer, b"")

    def speaker(self, peer: Caller) -> Speaker:
        """Of a connection that `includes` its peer, whose certificate says nothing of those for whom it speaks."""
        peer = dataclasses.replace(peer, certificate=b"", subject="", names=())
        # What is told depends on nothing else of the peer.
        return Speaker(self, peer, self._names, self._memories.setdefault(peer.scheme, {}))

    def resolve(self, peer: Caller, said: Said) -> Visitor:
        """Whom a trusted `peer` speaks for; the peer itself if it does not tell."""
        origin = origin_of(
            said, self._networks.include, x_forwarded=self._x_forwarded, forwarded=self._forwarded
        )
        caller = dataclasses.replace(peer, scheme=origin.scheme or peer.scheme)
        if origin.address:
            caller = Caller(origin.address, origin.port, caller.scheme)
        return self._visitor(caller, origin.host, told=bool(origin.address))

    def _visitor(self, caller: Caller, host: bytes, *, told: bool = False) -> Visitor:
        forwarded = forwarded_element(caller, self._with_port) if self._sends_forwarded else b""
        lines = caller_lines(caller, self._with_port)
        return Visitor(caller, lines, forwarded, host, told, client_word(caller))


def client_word(caller: Caller) -> bytes:
    """Who it was, in the access log."""
    return caller.address.encode("ascii") or b"unix"


class Speaker:
    """A trusted proxy on one connection. What it said of a visitor is remembered, since visitors come again."""

    __slots__ = ("_direct", "_memory", "_names", "_peer", "_trust")

    def __init__(self, trust: Trust, peer: Caller, names: _Names, memory: dict[Said, Visitor]) -> None:
        self._trust = trust
        self._peer = peer
        self._names = names
        self._memory = memory
        self._direct = trust.direct(peer)

    def of(self, fields: Fields) -> tuple[Visitor, bytes | None]:
        """Whom it speaks for in a request, and the request id that it gives."""
        names = self._names
        told = [(key, value) for name, value in fields if (key := names[name])]
        if not told:
            return self._direct, None
        said = tuple([pair for pair in told if pair[0] != REQUEST_ID])
        visitor = (self._memory.get(said) or self._resolve(said)) if said else self._direct
        return visitor, request_id_of(told) if len(said) < len(told) else None

    def _resolve(self, said: Said) -> Visitor:
        visitor = self._trust.resolve(self._peer, said)
        if visitor.told and sum(len(value) for _, value in said) <= LONGEST_REMEMBERED:
            if len(self._memory) >= MEMORY:
                self._memory.clear()
            self._memory[said] = visitor
        return visitor


class _Names(dict[bytes, bytes]):
    """Names of fields as they are written to those that a proxy speaks by, b"" for all others."""

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        key = lower if lower in NAMES or lower == REQUEST_ID else b""
        if len(self) < MEMORY and len(name) <= LONGEST_NAME:
            self[name] = key
        return key
