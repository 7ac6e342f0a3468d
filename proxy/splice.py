"""Pipes through which the kernel moves a body from one socket to the other, without its bytes ever coming up here
(splice(2)): a fifth of the CPU that copying takes, for bodies of a megabyte and more.

Only a body whose length a head has fixed may go this way, and a tunnel's flood: nothing looks at it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.streams import Stream

#: Below this, copying is as good (measured).
WORTH_IT = 128 * 1024
#: What one stalled body may hold in its pipe: a megabyte moves a megabyte in one go (256 KiB: 1.7 times the CPU).
CAPACITY = 1024 * 1024
#: What a user past its share of pipe pages gets may hold 8 KiB (pipe(7)), and so small a pipe costs more than copying.
LEAST = 64 * 1024
#: Bodies that one worker moves so at a time, however slow their receivers are: what is in pipes is the kernel's memory,
#: and the user's other processes want pipes too. All others are copied.
AT_ONCE = 32
#: Empty pipes kept for the next body.
SPARE = 16


class Pipe:
    """One pipe; `held` is what is in it."""

    __slots__ = ("_read_end", "_write_end", "capacity", "held")

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self.capacity = fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, CAPACITY)
        except OSError:  # past the user's share of pipe pages
            self.capacity = fcntl.fcntl(self._write_end, fcntl.F_GETPIPE_SZ)
        self.held = 0

    def fill(self, source: Stream, limit: int, timeout: float | None) -> int:
        """Up to `limit` bytes of what `source` receives; 0 at its end. Raises as `Stream.recv`."""
        moved = source.recv_into_pipe(self._write_end, min(limit, self.capacity), timeout)
        self.held += moved
        return moved

    def empty(self, sink: Stream, timeout: float | None) -> None:
        """Everything that is held goes to `sink`. Raises as `Stream.send`."""
        while self.held:
            self.held -= sink.send_from_pipe(self._read_end, self.held, timeout)

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


class Pipes:
    """The pipes of one worker."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []
        self.lent = 0  # at the moment

    @contextmanager
    def borrowed(self) -> Iterator[Pipe | None]:
        """A pipe with nothing in it, or None where there is none that is worth it; one that comes back with something
        in it is closed."""
        if self.lent >= AT_ONCE:
            yield None
            return
        pipe = self._spare.pop() if self._spare else _new_pipe()
        self.lent += 1
        try:
            yield pipe
        finally:
            self.lent -= 1
            if pipe is not None:
                self._take_back(pipe)

    def _take_back(self, pipe: Pipe) -> None:
        if pipe.held or len(self._spare) >= SPARE:
            pipe.close()
        else:
            self._spare.append(pipe)


def _new_pipe() -> Pipe | None:
    try:
        pipe = Pipe()
    except OSError:  # no descriptors: the body can do without
        return None
    if pipe.capacity >= LEAST:
        return pipe
    pipe.close()
    return None
