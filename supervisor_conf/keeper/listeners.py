"""Who listens where: the kernel's table of TCP listeners, by NETLINK_SOCK_DIAG, else by /proc/net/tcp{,6}.

It is asked instead of connecting: a connection would be the app's first, and would not tell whose it is.
Sources: sock_diag(7), linux/inet_diag.h.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
TCP_LISTEN: Final = 10
_INET_DIAG_SKV6ONLY: Final = 11

_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI48s")
_MESSAGE: Final = struct.Struct("=BBBB48sIIIII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_READ_SIZE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Listener:
    address: str  # as ipaddress writes it
    port: int
    inode: int
    uid: int
    v6_only: bool = False

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def hears(self, host: str) -> bool:
        """A connection to `host`, an IPv4 or IPv6 address of this machine, ends here (its port apart)."""
        wanted, own = ipaddress.ip_address(host), ipaddress.ip_address(self.address)
        if isinstance(own, ipaddress.IPv6Address) and own.ipv4_mapped is not None:
            own = own.ipv4_mapped
        if own.version == wanted.version:
            return own == wanted or own.is_unspecified
        # Only an IPv6 wildcard takes IPv4 as well, and only if it was not told otherwise (ipv6(7), IPV6_V6ONLY).
        return own.version == 6 and own.is_unspecified and not self.v6_only


def tcp_listeners(port: int = 0) -> list[Listener]:
    """Every TCP listener of this network namespace; with `port`, those on it."""
    try:
        return [*_ask_kernel(socket.AF_INET, port), *_ask_kernel(socket.AF_INET6, port)]
    except OSError:
        # A kernel without inet_diag, or a sandbox without netlink.
        return [one for one in read_proc_net() if port in (0, one.port)]


def _ask_kernel(family: int, port: int) -> Iterator[Listener]:
    """One dump. For dumps of listeners the kernel itself compares the source port of the request."""
    identity = struct.pack("!H", port) + bytes(46)
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN, identity)
    return (_listener(body) for body in sock_diag(request))


def sock_diag(request: bytes) -> Iterator[bytes]:
    """The bodies of the answers to one dump. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as link:
        header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
        link.sendto(header + request, (0, 0))
        while True:
            for kind, body in _netlink_messages(link.recv(_READ_SIZE)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", body)
                    raise OSError(-code, os.strerror(-code))
                yield body


def _netlink_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _listener(body: bytes) -> Listener:
    family, _, _, _, identity, _, _, _, uid, inode = _MESSAGE.unpack_from(body)
    (port,) = struct.unpack_from("!H", identity)
    source = identity[4:8] if family == socket.AF_INET else identity[4:20]
    v6_only = attribute(body, _MESSAGE.size, _INET_DIAG_SKV6ONLY) == b"\1"
    return Listener(str(ipaddress.ip_address(source)), port, inode, uid, v6_only)


def attribute(body: bytes, offset: int, wanted: int) -> bytes:
    """The netlink attribute of this kind among those that begin at `offset`, or b""."""
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if kind == wanted:
            return body[offset + _ATTRIBUTE.size : offset + length]
        offset += max((length + 3) & ~3, _ATTRIBUTE.size)
    return b""


def read_proc_net() -> Iterator[Listener]:
    """The same from /proc/net, which does not tell IPV6_V6ONLY: an IPv6 wildcard is taken to hear IPv4 too."""
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except FileNotFoundError:
            continue  # this kernel has no IPv6
        for line in lines:
            columns = line.split()
            if int(columns[3], 16) == TCP_LISTEN:
                yield _from_columns(columns)


def _from_columns(columns: list[str]) -> Listener:
    words, _, port = columns[1].partition(":")
    # Each group of eight digits is a 32-bit word in the machine's byte order.
    address = b"".join(
        struct.pack("=I", int(words[start : start + 8], 16)) for start in range(0, len(words), 8)
    )
    return Listener(str(ipaddress.ip_address(address)), int(port, 16), int(columns[9]), int(columns[7]))
