"""Whether a visitor sits at this machine and runs Portico: who may see what an app printed before it failed.

That a connection comes from a loopback address says little: a proxy on this machine brings the whole world over one,
and a page that a browser has open can have its name answered with 127.0.0.1. So four things must fit: the peer is on
this machine; no field tells of a proxy; it was asked for by a name of this machine, which neither such a page can do
nor a proxy that passes the Host on; and the process at the other end is root's or of the user who started us, which
the user of an ordinary proxy is not.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from ipaddress import ip_address

from proxy.forwarded import plain_address
from proxy.headers import Caller, is_relayed
from proxy.loopback import is_loopback
from proxy.peer import Request

_PEER_CREDENTIALS = struct.Struct("=iII")
_PORT = re.compile(rb":[0-9]*$")
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def is_local_person(connection: int, peer: Caller, request: Request, owner: int) -> bool:
    """`connection`: its descriptor; `owner`: the user who started us."""
    if peer.nameless or is_relayed(request.fields):
        return False
    if peer.address and not (is_loopback(peer.address) and names_this_machine(request.host)):
        return False
    uid = _user_of_peer(connection)
    return uid is not None and uid in (0, owner)


def names_this_machine(host: bytes) -> bool:
    """`localhost` and names below it (RFC 6761 6.3), and loopback addresses; with or without a port."""
    name = _PORT.sub(b"", host).lower().decode("ascii", "replace").removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name.strip("[]"))


def _user_of_peer(connection: int) -> int | None:
    """The user of the process at the other end; None if it cannot be found out."""
    try:
        with socket.socket(fileno=os.dup(connection)) as sock:
            if sock.family == socket.AF_UNIX:
                told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
                return int(_PEER_CREDENTIALS.unpack(told)[1])
            theirs, ours = sock.getpeername()[:2], sock.getsockname()[:2]
            return _owner_of_socket(theirs, ours)
    except OSError:
        return None


def _owner_of_socket(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """From the kernel's tables of this network namespace (proc(5)). Raises OSError."""
    wanted = [(plain_address(address), port) for address, port in (local, remote)]
    port = f":{local[1]:04X}"
    for table in _TABLES:
        if not os.path.exists(table):
            continue
        with open(
            table, encoding="utf-8"
        ) as file:  # a codec that is loaded: nothing can be imported any more
            next(file)
            for line in file:
                columns = line.split()
                if columns[1].endswith(port) and [_end(columns[1]), _end(columns[2])] == wanted:
                    return int(columns[7])
    return None


def _end(text: str) -> tuple[str, int]:
    """`0100007F:1F90`: each group of eight digits is a 32-bit word in the machine's byte order."""
    words, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    return plain_address(str(ip_address(packed))), int(port, 16)
