"""Who listens on which Unix socket: the kernel's table, by NETLINK_SOCK_DIAG, else by /proc/net/unix.

Sources: sock_diag(7), linux/unix_diag.h, unix(7), proc_net(5).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from supervisor_conf.keeper.listeners import TCP_LISTEN, attribute, sock_diag

_SHOW_NAME: Final = 1
_NAME: Final = 0
_ACCEPTS_CONNECTIONS: Final = 1 << 16
"""SO_ACCEPTCON among the flags of /proc/net/unix (linux/net.h)."""

_REQUEST: Final = struct.Struct("=BBHIII8s")
_MESSAGE: Final = struct.Struct("=BBBxI8s")
_CREDENTIALS: Final = struct.Struct("=iII")


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """Who called listen(2) on the socket at the other end, as it was then (SO_PEERCRED)."""

    pid: int
    uid: int


class Crowded(Exception):
    """The queue of connections is full: it cannot be seen who would answer."""


def unix_listeners(path: str) -> list[int]:
    """The inodes of the sockets that listen under this name. There are two if a file was replaced by another."""
    try:
        return [inode for inode, name in _ask_kernel() if name == path]
    except OSError:
        # A kernel without unix_diag, or a sandbox without netlink.
        return [inode for inode, name in read_proc_net_unix() if name == path]


def _ask_kernel() -> Iterator[tuple[int, str]]:
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, 1 << TCP_LISTEN, 0, _SHOW_NAME, b"\xff" * 8)
    for body in sock_diag(request):
        inode = _MESSAGE.unpack_from(body)[3]
        yield inode, os.fsdecode(attribute(body, _MESSAGE.size, _NAME).rstrip(b"\0"))


def read_proc_net_unix() -> Iterator[tuple[int, str]]:
    with open("/proc/net/unix", "rb") as file:
        lines = file.read().split(b"\n")[1:]
    for line in lines:
        columns = line.split(None, 7)
        if len(columns) == 8 and int(columns[3], 16) & _ACCEPTS_CONNECTIONS:
            yield int(columns[6]), os.fsdecode(columns[7])


def peer_credentials(path: str) -> PeerCredentials:
    """Of whoever listens at `path`, by a connection that says nothing. Raises Crowded, OSError (nobody listens)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as visitor:
        try:
            visitor.connect(path)
        except BlockingIOError:
            raise Crowded from None
        pid, uid, _ = _CREDENTIALS.unpack(
            visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        return PeerCredentials(pid, uid)
