"""This worker's conversation with the keeper, over the control socket; it goes on by itself when a keeper goes."""

from __future__ import annotations

import array
import os
import socket as plain_socket
from collections import deque
from collections.abc import Callable
from time import monotonic

import gevent
import gevent.socket as socket
import structlog
from gevent.queue import Queue

from supervisor_conf.control.codec import Decoder, ProtocolError, encode
from supervisor_conf.control.messages import (
    WORKER_FRAME_LIMIT,
    Hello,
    NewAccessLog,
    NewCertificates,
    NewEventLog,
    Refused,
)

FIRST_RETRY = 0.02
LONGEST_RETRY = 0.5

_READ_SIZE = 65536
_MOST_DESCRIPTORS = 16
"""Taken with one read; the keeper sends one with a message."""


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
        take_file: Callable[[object, int], None],
        using: Callable[[], tuple[tuple[str, int], ...]] = tuple,
    ) -> None:
        """`using`: apps and generations that this worker has a route to, for Hello.
        `take_file`: gets NewAccessLog, NewEventLog or NewCertificates with its descriptor, and owns that."""
        self._path = path
        self._name = name
        self._handle = handle
        self._when_back = when_back
        self._when_away = when_away
        self._take_file = take_file
        self._using = using
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
        outbox.put(encode(Hello("worker", self._name, self._using())))
        self._outbox = outbox
        self._when_back()
        decoder = Decoder(WORKER_FRAME_LIMIT)
        descriptors: deque[int] = deque()
        try:
            while data := _receive(connection, descriptors):
                for message in decoder.feed(data):
                    self._take(message, descriptors)
        finally:
            self._outbox = None
            writer.kill()
            for descriptor in descriptors:
                os.close(descriptor)

    def _take(self, message: object, descriptors: deque[int]) -> None:
        if isinstance(message, Refused):
            structlog.get_logger().error("keeper.refused", sentence=message.sentence)
        elif isinstance(message, NewAccessLog | NewEventLog | NewCertificates):
            if descriptors:  # none, if this process had no room for it (EMFILE): the old file goes on
                self._take_file(message, descriptors.popleft())
        else:
            self._handle(message)

    @staticmethod
    def _write(connection: socket.socket, outbox: Queue[bytes | None]) -> None:
        try:
            while (frame := outbox.get()) is not None:
                connection.sendall(frame)
        except OSError:
            pass  # the reader sees the end and starts anew


def _receive(connection: socket.socket, descriptors: deque[int]) -> bytes:
    """The next bytes, b"" at the end; descriptors that came with them are appended, not inheritable."""
    room = plain_socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, _, _ = connection.recvmsg(_READ_SIZE, room, plain_socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (plain_socket.SOL_SOCKET, plain_socket.SCM_RIGHTS):
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
            descriptors.extend(numbers)
    return bytes(data)
