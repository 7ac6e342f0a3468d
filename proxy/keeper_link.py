"""This worker's conversation with the keeper, over the control socket; it goes on by itself when a keeper goes."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import gevent
import gevent.socket as socket
import structlog
from gevent.queue import Queue

from supervisor_conf.control.codec import Decoder, ProtocolError, encode
from supervisor_conf.control.messages import Hello, Refused

FIRST_RETRY = 0.02
LONGEST_RETRY = 0.5


class KeeperLink:
    """`send` never waits: what cannot be said because the keeper is away is said anew when one is back
    (`when_back`), or does not matter any more."""

    def __init__(
        self,
        path: str,
        name: str,
        handle: Callable[[object], None],
        when_back: Callable[[], None],
        when_away: Callable[[float], None],
    ) -> None:
        self._path = path
        self._name = name
        self._handle = handle
        self._when_back = when_back
        self._when_away = when_away
        self._outbox: Queue[bytes | None] | None = None
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._converse_forever)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()

    def send(self, message: object) -> bool:
        """False if no keeper is there to hear it."""
        if self._outbox is None:
            return False
        self._outbox.put(encode(message))
        return True

    def _converse_forever(self) -> None:
        away_since = monotonic()
        retry = FIRST_RETRY
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.connect(self._path)
                    self._converse(connection)
                away_since, retry = monotonic(), FIRST_RETRY
            except OSError:
                pass  # no keeper at the moment: supervisord restarts it at once
            except ProtocolError as problem:
                structlog.get_logger().error("keeper.nonsense", problem=str(problem))
            self._when_away(monotonic() - away_since)
            gevent.sleep(retry)
            retry = min(retry * 2, LONGEST_RETRY)

    def _converse(self, connection: socket.socket) -> None:
        outbox: Queue[bytes | None] = Queue()
        writer = gevent.spawn(self._write, connection, outbox)
        outbox.put(encode(Hello("worker", self._name)))
        self._outbox = outbox
        self._when_back()
        decoder = Decoder()
        try:
            while data := connection.recv(65536):
                for message in decoder.feed(data):
                    if isinstance(message, Refused):
                        structlog.get_logger().error("keeper.refused", sentence=message.sentence)
                    else:
                        self._handle(message)
        finally:
            self._outbox = None
            writer.kill()

    @staticmethod
    def _write(connection: socket.socket, outbox: Queue[bytes | None]) -> None:
        try:
            while (frame := outbox.get()) is not None:
                connection.sendall(frame)
        except OSError:
            pass  # the reader sees the end and starts anew
