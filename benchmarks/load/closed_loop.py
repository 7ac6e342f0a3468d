"""A closed loop of connections for what wrk cannot do: each sends its next message when the last was answered."""

from __future__ import annotations

import select
import socket
import time
from typing import Protocol

from benchmarks.load.outcome import Outcome

DRAIN_LIMIT = 20.0
"""Seconds after the end within which what is in flight must be answered."""


class Talk(Protocol):
    """One connection's part. Its socket is non-blocking."""

    connection: socket.socket

    def begin(self) -> None:
        """Start the next message."""

    def wants_to_send(self) -> bool: ...

    def writable(self) -> None: ...

    def readable(self) -> bool:
        """True when the answer is complete. Raises OSError when it is a bad one."""


def run(talks: list[Talk], seconds: float) -> Outcome:
    """Every message that was begun counts only if it was answered, and all are waited for: nothing is in flight
    at the end."""
    began = time.perf_counter()
    end = began + seconds
    by_descriptor = {talk.connection.fileno(): talk for talk in talks}
    waiting = select.epoll()
    for descriptor, talk in by_descriptor.items():
        talk.begin()
        waiting.register(descriptor, _events(talk))
    answered = errors = 0
    while by_descriptor and time.perf_counter() < end + DRAIN_LIMIT:
        for descriptor, events in waiting.poll(1.0):
            talk = by_descriptor[descriptor]
            before = _events(talk)
            try:
                if events & select.EPOLLOUT:
                    talk.writable()
                complete = bool(events & ~select.EPOLLOUT) and talk.readable()
            except OSError:
                errors += 1
                del by_descriptor[descriptor]
                waiting.unregister(descriptor)
                continue
            if complete:
                answered += 1
                if time.perf_counter() >= end:
                    del by_descriptor[descriptor]
                    waiting.unregister(descriptor)
                    continue
                talk.begin()
            if (after := _events(talk)) != before:
                waiting.modify(descriptor, after)
    waiting.close()
    return Outcome(answered, time.perf_counter() - began, errors + len(by_descriptor))


def _events(talk: Talk) -> int:
    return select.EPOLLIN | (select.EPOLLOUT if talk.wants_to_send() else 0)
