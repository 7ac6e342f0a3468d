"""Lists of networks that addresses are looked up in, many times a second.

Networks of one prefix length lie in one set, so a look-up costs as many steps as there are different lengths, however
long the list. IPv4 mapped into IPv6 (RFC 4291 2.5.5.2) is IPv4, in the list and in the question.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

#: In a list: whoever speaks to us over a Unix socket, and has no address.
UNIX: Final = "unix"

#: Answers remembered; addresses of one visitor each, so that a flood of them costs a dictionary and no more.
MEMORY: Final = 4096

_MAPPED = IPv6Network("::ffff:0:0/96")


class Networks:
    """`networks`: «10.0.0.0/8», «2001:db8::/32», «192.0.2.1», «unix». Raises ValueError for what is none of these."""

    __slots__ = ("_known", "_sets", "_unix")

    def __init__(self, networks: Iterable[str]) -> None:
        self._unix = False
        self._sets: dict[tuple[int, int], set[int]] = {}  # IP version, bits to be shifted out -> prefixes
        self._known: dict[str, bool] = {}
        for text in networks:
            if text == UNIX:
                self._unix = True
            else:
                self._add(ip_network(text, strict=False))

    def _add(self, network: IPv4Network | IPv6Network) -> None:
        if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
            network = IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
        rest = network.max_prefixlen - network.prefixlen
        self._sets.setdefault((network.version, rest), set()).add(int(network.network_address) >> rest)

    def __bool__(self) -> bool:
        return self._unix or bool(self._sets)

    def __contains__(self, address: str) -> bool:
        """`address`: as a socket tells it; "" is the peer of a Unix socket."""
        if not address:
            return self._unix
        found = self._known.get(address)
        if found is None:
            found = self._look_up(address)
            if len(self._known) >= MEMORY:
                self._known.clear()
            self._known[address] = found
        return found

    def _look_up(self, address: str) -> bool:
        plain = address_of(address)
        if plain is None:
            return False
        number, version = int(plain), plain.version
        return any(number >> rest in prefixes for (of, rest), prefixes in self._sets.items() if of == version)


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """An address without its zone, IPv4 wherever it is IPv4; None for what is no address."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
