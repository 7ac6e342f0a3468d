"""Which server of the app's process tree takes the address the front gave: the first that is set up.

What decides is written in docs/shim.md. There is no lock: the worst of a race is a server that cannot bind.
"""

from __future__ import annotations

import os
import socket
import weakref

from backend_shim.pairing import HOST, TAKEN_VARIABLE
from backend_shim.processes import lineage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import MutableMapping

    from backend_shim.pairing import Address, Pairing


class Hold:
    """Our address, held for as long as the server that keeps this object exists. May be pickled with a server's
    settings to its workers: `pid` tells whether it was."""

    def __init__(self) -> None:
        self.pid = os.getpid()


class Claim:
    """The state of one process and of those it forks; what exec'd processes must know travels in the environment."""

    def __init__(self, pairing: Pairing, environ: MutableMapping[str, str] = os.environ) -> None:
        self.pairing = pairing
        self._environ = environ
        self._hold: weakref.ReferenceType[Hold] | None = None

    def take(self, inherited: bool = False) -> Hold | None:
        """A Hold if the asking server is to bind our address, None if it keeps its own.

        `inherited`: the server was handed its listening sockets by the one that held the address before.
        """
        if self.pairing.address is None or (self._hold is not None and self._hold() is not None):
            return None
        if not inherited and not self._is_free(self.pairing.address):
            return None
        hold = Hold()
        self._hold = weakref.ref(hold)
        self._environ[TAKEN_VARIABLE] = str(os.getpid())
        return hold

    def _is_free(self, address: Address) -> bool:
        tree = lineage()
        if self.pairing.pid and self.pairing.pid not in tree:
            return False  # the environment leaked to somebody else's process
        taken_by = self._environ.get(TAKEN_VARIABLE, "")
        if taken_by in [str(pid) for pid in tree[1:]]:
            return False  # an ancestor's server has it; our own pid there is from before an exec
        return is_free(address)

    def owns(self, sock: socket.socket) -> bool:
        """Is this socket bound to our address?"""
        return self.pairing.address is not None and _is_bound_to(sock, self.pairing.address)


def is_free(address: Address) -> bool:
    """Could a server bind (or, for a descriptor, accept) there now?"""
    if address.port:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # connections in TIME_WAIT do not count
            return _succeeds(probe.bind, (HOST, address.port))
    if address.path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return not _succeeds(probe.connect, address.path)
    try:
        with socket.socket(fileno=os.dup(address.fd)) as listener:
            return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # closed, or no socket
        return False


def _succeeds(call: object, argument: object) -> bool:
    try:
        call(argument)  # type: ignore[operator]
    except OSError:
        return False
    return True


def _is_bound_to(sock: socket.socket, address: Address) -> bool:
    try:
        if address.fd >= 0:
            return _same_name(sock, address.fd)
        name = sock.getsockname()
    except OSError:
        return False
    return bool(name == address.path if address.path else name[:2] == (HOST, address.port))


def _same_name(sock: socket.socket, fd: int) -> bool:
    with socket.socket(fileno=os.dup(fd)) as listener:
        return bool(sock.getsockname() == listener.getsockname())


def listener_for(address: Address, backlog: int = 128) -> socket.socket:
    """A listening socket for servers that cannot be told a path or a descriptor. Raises OSError."""
    if address.fd >= 0:
        return socket.socket(fileno=os.dup(address.fd))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(address.path):
            os.unlink(address.path)  # of a server that is gone: `is_free` has asked
        listener.bind(address.path)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
