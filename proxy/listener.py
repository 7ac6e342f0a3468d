"""The listening sockets: adopted from the plugin, which holds them, so that nobody is refused while workers come
and go."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import structlog
from gevent import get_hub

from proxy.loopback import is_loopback, unpace

FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)
#: Connections taken in one turn: few, so that the other workers get their share of a burst.
ACCEPTS_A_TURN = 4
#: How long who is ahead of another worker leaves a connection to that one.
DEFERENCE = 0.003
#: Out of descriptors or memory: accepting again at once would only spin.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
EXHAUSTED_PAUSE = 0.25

Accepted = Callable[[socket.socket, Any], None]


def adopt(environ: dict[str, str]) -> list[socket.socket]:
    """The sockets handed down by the parent (LISTEN_FDS), in their order. LISTEN_* leaves the environment."""
    count = int(environ.pop("LISTEN_FDS", "0"))
    environ.pop("LISTEN_PID", None)
    sockets = []
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count):
        os.set_inheritable(descriptor, False)
        adopted = socket.socket(fileno=descriptor)
        adopted.setblocking(False)
        sockets.append(adopted)
    return sockets


class Listener:
    """Accepts on one socket until it is closed; `accepted(socket, address)` must not block. `is_ahead`: another worker
    should have the next connection."""

    def __init__(
        self, sock: socket.socket, accepted: Accepted, is_ahead: Callable[[], bool] | None = None
    ) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and is_loopback(sock.getsockname()[0]):
            unpace(sock)
        self._socket = sock
        self._accepted = accepted
        self._loop = get_hub().loop
        self._watcher = self._loop.io(sock.fileno(), 1)
        self._pause: Any = None
        self._is_ahead = is_ahead
        self._has_waited = False
        self._watcher.start(self._readable)

    def _readable(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._is_ahead is not None and not self._has_waited and self._is_ahead():
                self._has_waited = True
                self._rest(DEFERENCE)
                return
            self._has_waited = False
            try:
                client, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._exhausted(error)
                # Anything else concerns a client that went away while it waited, never the listener.
                return
            self._accepted(client, address)

    def _exhausted(self, error: OSError) -> None:
        structlog.get_logger().warning("front.exhausted", error=str(error))
        self._rest(EXHAUSTED_PAUSE)

    def _rest(self, seconds: float) -> None:
        self._watcher.stop()
        self._pause = self._loop.timer(seconds)
        self._pause.start(self._resume)

    def _resume(self) -> None:
        self._pause.close()
        self._pause = None
        self._watcher.start(self._readable)

    def close(self) -> None:
        """Stop accepting here. Connections in the backlog are for the other holders of the socket."""
        self._watcher.stop()
        self._watcher.close()
        if self._pause is not None:
            self._pause.stop()
            self._pause.close()
            self._pause = None
        self._socket.close()
