"""The keeper's own questions to an app over HTTP: ready? guarded? please stop. h11 speaks, gevent waits."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Final

import gevent
import h11
from gevent import socket

from supervisor_conf.control.messages import Spawned
from supervisor_conf.settings import AppSettings

TOKEN_HEADER: Final = "MS-ASPNETCORE-TOKEN"
EVENT_HEADER: Final = "MS-ASPNETCORE-EVENT"

LONGEST_QUOTE: Final = 200
"""Characters of what h11 says of an app's bytes, which it quotes."""

_READ_SIZE: Final = 16 * 1024
_QUEUE_PAUSE: Final = 0.01


class NoAnswer(Exception):
    """The app did not answer; the text says what happened instead, for «noticed» of a report."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`empty`: the body is; no more of it is read than that takes to know."""

    status: int
    empty: bool

    @property
    def well(self) -> bool:
        return 200 <= self.status < 400


@dataclass(frozen=True, slots=True)
class Asking:
    """Questions for one generation. Every one has a limit in seconds and raises NoAnswer when it passes."""

    app: AppSettings
    generation: Spawned

    def is_ready(self, limit: float) -> Answer:
        """The path of `ready`, with the token."""
        return self._ask("GET", self.app.ready, limit, token=True)

    def get(self, path: str, limit: float) -> Answer:
        """Any path, with the token: health checks and warm-up."""
        return self._ask("GET", path, limit, token=True)

    def is_guarded(self, limit: float) -> bool:
        """Without the token: 400 and nothing else is what the shim, and ANCM's own, answer."""
        answer = self._ask("GET", self._integration_path, limit, token=False)
        return answer.status == 400 and answer.empty

    def shut_down(self, limit: float) -> bool:
        """The shutdown message of ANCM. True if it was accepted with 202."""
        return self._ask("POST", self._integration_path, limit, token=True, event="shutdown").status == 202

    @property
    def _integration_path(self) -> str:
        return f"{self.generation.path.rstrip('/')}/iisintegration"  # as the app was told

    def _ask(self, method: str, target: str, limit: float, *, token: bool, event: str = "") -> Answer:
        headers = [("Host", self._host), ("Connection", "close"), ("User-Agent", "portico")]
        headers += [(TOKEN_HEADER, self.generation.token)] if token else []
        headers += [(EVENT_HEADER, event)] if event else []
        headers += [("Content-Length", "0")] if method == "POST" else []
        question = f"{method} {target}"
        try:
            with gevent.Timeout(limit), self._connected() as peer:
                return _converse(peer, h11.Request(method=method, target=target, headers=headers))
        except gevent.Timeout:
            raise NoAnswer(f"{question} was not answered within {limit:.3g} s") from None
        except OSError as error:
            raise NoAnswer(f"{question}: {error.strerror or error}") from None
        except h11.RemoteProtocolError as error:
            raise NoAnswer(f"{question} was not answered in HTTP: {str(error)[:LONGEST_QUOTE]}") from None

    @property
    def _host(self) -> str:
        """A name the app answers for: frameworks that check Host would refuse an address with 400."""
        named = (host for host in self.app.hosts if "*" not in host)
        address = f"{self.generation.host}:{self.generation.port}" if self.generation.port else "localhost"
        return next(named, address)

    def _connected(self) -> socket.socket:
        if self.generation.socket:
            return _connected_to_path(self.generation.socket)
        family = socket.AF_INET6 if ":" in self.generation.host else socket.AF_INET
        peer = socket.socket(family, socket.SOCK_STREAM)
        try:
            peer.connect((self.generation.host, self.generation.port))
        except BaseException:
            peer.close()
            raise
        return peer


def _connected_to_path(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.setblocking(False)
        # A full queue is EAGAIN, and nothing tells when there is room (connect(2)); gevent would ask without pause.
        while (error := peer.connect_ex(path)) == errno.EAGAIN:
            gevent.sleep(_QUEUE_PAUSE)
        if error:
            raise OSError(error, os.strerror(error))
        peer.setblocking(True)
    except BaseException:
        peer.close()
        raise
    return peer


def _converse(peer: socket.socket, request: h11.Request) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    peer.sendall((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    status = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(peer.recv(_READ_SIZE))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            if event.data:
                return Answer(status, empty=False)
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, empty=True)
        elif not isinstance(event, h11.InformationalResponse):
            raise NoAnswer(f"{request.method.decode()} {request.target.decode()}: the connection was closed")
