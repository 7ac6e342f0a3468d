"""Latency at a fixed rate: requests are due at fixed times, whether or not earlier ones have been answered.

A closed loop waits with its next request while the server is slow and so never sees the slow times (coordinated
omission). Here latency counts from the time a request was *due*, its wait for a free connection included. One
thread, select(2), whose time-out has microseconds.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.load.request import ANSWER_LIMIT, end_of_answer, filled, status_of, templates

CONNECTIONS = 32
DRAIN_LIMIT = 5.0
"""Seconds after the last due time within which every answer must be there."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """`seconds` of every answer, sorted; `errors`: requests without a good answer."""

    seconds: tuple[float, ...]
    errors: int


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0..1) of the sorted values do not exceed (nearest rank). Raises on no values."""
    rank = max(1, -(-len(values) * share // 1))
    return values[int(rank) - 1]


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        self.received = b""

    def fileno(self) -> int:
        return self.socket.fileno()


class _Loop:
    def __init__(self, port: int, path: str, first: int) -> None:
        self._templates = templates(port, "GET", path)
        self._number = first
        self._idle = [_Connection(port) for _ in range(CONNECTIONS)]
        self._busy: set[_Connection] = set()
        self._all = tuple(self._idle)
        self._waiting: deque[float] = deque()
        self.seconds: list[float] = []
        self.errors = 0

    def run(self, rate: float, seconds: float) -> None:
        began = time.perf_counter()
        total, sent = int(rate * seconds), 0
        give_up = began + seconds + DRAIN_LIMIT
        while (now := time.perf_counter()) < give_up and (sent < total or self._busy or self._waiting):
            while sent < total and began + sent / rate <= now:
                self._waiting.append(began + sent / rate)
                sent += 1
            while self._waiting and self._idle:
                self._send(self._idle.pop(), self._waiting.popleft())
            until = began + sent / rate if sent < total else give_up
            readable, _, _ = select.select(self._busy, (), (), max(0.0, until - time.perf_counter()))
            for connection in readable:
                self._receive(connection)
            if not self._idle and not self._busy:
                break  # every connection has broken
        self.errors += len(self._busy) + len(self._waiting)

    def _send(self, connection: _Connection, due: float) -> None:
        self._number += 1
        connection.due, connection.received = due, b""
        connection.socket.send(filled(self._templates[self._number % len(self._templates)], self._number))
        self._busy.add(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65536)
        except ConnectionError:
            data = b""
        connection.received += data
        if not data or end_of_answer(connection.received) is not None:
            self._busy.remove(connection)
            if data and status_of(connection.received) == "200":
                self.seconds.append(time.perf_counter() - connection.due)
                self._idle.append(connection)
            else:
                self.errors += 1

    def close(self) -> None:
        for connection in self._all:
            connection.socket.close()


def run(port: int, path: str, rate: float, seconds: float, first: int) -> Latencies:
    """Raises OSError when the front does not accept."""
    loop = _Loop(port, path, first)
    try:
        loop.run(rate, seconds)
    finally:
        loop.close()
    return Latencies(tuple(sorted(loop.seconds)), loop.errors)
