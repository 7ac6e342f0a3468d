"""Lines for the person at the terminal of `portico run`, and the output of apps that go there.

A terminal that is stopped (Ctrl-S), or a pipe that nobody reads, must not stop supervisord: what does not fit
into the buffer is dropped, and the number of bytes is told when there is room again.
"""

from __future__ import annotations

import os
from typing import Any, Final

from supervisor.medusa import asyncore_25 as asyncore

from supervisor_conf.plugin.descriptors import lift

BUFFER: Final = 1024 * 1024
_TURN: Final = 4096
"""Bytes written a turn. At most PIPE_BUF: poll(2) promises that so many do not block on a pipe."""


class Terminal:
    def __init__(self, fd: int) -> None:
        """`fd` stays the caller's. What is shared with others (a shell!) must not become non-blocking."""
        self._fd = _own_description(fd)
        self._buffer = bytearray()
        self._dropped = 0
        self._closed = False
        asyncore.socket_map[self._fd] = self

    def say(self, line: str) -> None:
        self.write((line + "\n").encode("utf-8", "replace"))

    def write(self, data: bytes) -> None:
        if self._closed:
            return
        if len(self._buffer) + len(data) > BUFFER:
            self._dropped += len(data)
            return
        if self._dropped:
            self._buffer += f"\n[{self._dropped} bytes of output dropped]\n".encode()
            self._dropped = 0
        self._buffer += data

    def finish(self) -> None:
        """Before supervisord exits: what the terminal takes without waiting."""
        while self._buffer and not self._closed:
            before = len(self._buffer)
            self.handle_write_event()
            if len(self._buffer) == before:
                return

    def close(self) -> None:
        """The poller finds out by itself that a descriptor is gone (supervisor 4.3 drops it)."""
        if not self._closed:
            self._closed = True
            asyncore.socket_map.pop(self._fd, None)
            os.close(self._fd)

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return bool(self._buffer) and not self._closed

    def handle_read_event(self) -> None:
        """Never asked for."""

    def handle_write_event(self) -> None:
        try:
            written = os.write(self._fd, self._buffer[:_TURN])
        except BlockingIOError:
            return
        except OSError:
            # The terminal is gone (EIO), or nobody reads the pipe any more.
            self._buffer.clear()
            self.close()
            return
        del self._buffer[:written]

    def handle_error(self) -> None:
        self._buffer.clear()
        self.close()


class TerminalSink:
    """The terminal as the sink of an app's output (`stdout_log = "-"`)."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def write(self, data: bytes) -> None:
        self._terminal.write(data)

    def reopen(self) -> None:
        """A terminal is not opened again."""

    def clear(self) -> None:
        """A terminal is not cleared."""

    def close(self) -> None:
        """It outlives the app."""


def _own_description(fd: int) -> int:
    """A descriptor with an open file description of its own, non-blocking; a plain copy where that cannot be."""
    flags: Any = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_APPEND | os.O_CLOEXEC
    try:
        fresh = os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        # A socket, a terminal of another user, no /proc: `poll` and small writes have to do.
        return lift(fd)
    try:
        return lift(fresh)
    finally:
        os.close(fresh)
