"""Exits and signals are acted on at once, not at the next full second.

supervisord sleeps in poll(1000 ms). A SIGCHLD interrupts it, but Python resumes the call (PEP 475), and what
`reap()` finds is acted upon in the next turn only. So a pipe stands in its poller: the kernel's signal handler
writes to it (`signal.set_wakeup_fd`), and so does whoever wants one more turn.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from supervisor.medusa import asyncore_25 as asyncore

from supervisor_conf.plugin.descriptors import lift


class Waker:
    """The pipe, as an object of supervisord's poller."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self._read, self._write = lift(read), lift(write)
        os.close(read)
        os.close(write)
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self.closed = False
        asyncore.socket_map[self._read] = self
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def poke(self) -> None:
        """One more turn of supervisord's loop, without waiting."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            # Full: it will be read, which is all that is wanted.
            pass

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        signal.set_wakeup_fd(-1)
        asyncore.socket_map.pop(self._read, None)
        os.close(self._read)
        os.close(self._write)

    def readable(self) -> bool:
        return not self.closed

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def handle_write_event(self) -> None:
        """Never asked for."""

    def handle_error(self) -> None:
        """Nothing here can fail in a way that matters: a lost byte is a turn one second later."""


def wrap_get_signal(options: Any, waker: Waker, hangup: Any, reopen: Any) -> Any:
    """A `get_signal` for this `options`: supervisord takes one signal a turn, so it is woken for the others.

    `hangup`: called instead of a restart of everything when SIGHUP came; None leaves SIGHUP alone.
    `reopen`: called when SIGUSR2 came; supervisord opens its own logs, and those of its programs, besides.
    """
    original = options.get_signal

    def get_signal() -> int | None:
        taken: int | None = original()
        if taken is None:
            return None
        waker.poke()
        if taken == signal.SIGHUP and hangup is not None:
            hangup()
            return None
        if taken == signal.SIGUSR2:
            reopen()
        return taken

    return get_signal
