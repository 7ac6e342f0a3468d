"""Connections that have been answered once and then say nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.load.request import ANSWER_LIMIT, filled, read_answer, status_of, templates

OPENING_LIMIT = 60.0
"""Seconds in which all of them must have been answered."""


@contextmanager
def idle_connections(port: int, count: int, path: str) -> Iterator[list[socket.socket]]:
    """So many keep-alive connections, each after one request. Raises OSError when one is refused or not answered."""
    heads = templates(port, "GET", path)
    with ExitStack() as opened:
        connections = []
        give_up = time.monotonic() + OPENING_LIMIT
        for number in range(count):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{number} of {count} connections in {OPENING_LIMIT:g} s")
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT))
            ask(connection, filled(heads[number % len(heads)], number))
            connections.append(connection)
        yield connections


def ask(connection: socket.socket, request: bytes) -> None:
    """One request and its answer. Raises OSError unless it is 200."""
    connection.sendall(request)
    if (status := status_of(read_answer(connection))) != "200":
        raise ConnectionAbortedError(f"answered {status}")
