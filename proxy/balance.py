"""Which worker takes the next connection: all wait at the same sockets, and who runs first would take a whole burst.

The kernel wakes every worker for a connection, but one that is awake already, or has its core for itself, accepts all
of thirty before another has begun. So each worker says in memory that all of them see how many it has, and one that is
ahead of another lets that one go first, for a moment and not for longer: nobody waits for a worker that hangs.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

#: So many connections more than another worker has are no reason to wait, and neither is this part of one's own: a
#: crowd shall not be let in by threes.
SLACK = 2
SLACK_SHARE = 8
#: Workers that are balanced; more than any machine has cores for a front alone. Others go unseen and do not wait.
SLOTS = 64
#: A worker that has said nothing for so many seconds is not waited for. They speak every second.
SILENCE = 3

_ENTRY = 2  # numbers: connections, and the second in which that was said, 0 for a worker that is gone
_NUMBER = 8  # bytes


class Balance:
    """What one worker says and sees. `now`: seconds of a clock that all workers share, as CLOCK_MONOTONIC is."""

    def __init__(self, numbers: memoryview, worker: int, now: Callable[[], float]) -> None:
        """`numbers`: SLOTS entries of signed 64 bit integers, the same for all workers."""
        self._numbers = numbers
        self._own = worker * _ENTRY
        self._others = [slot for slot in range(0, len(numbers), _ENTRY) if slot != self._own]
        self._now = now

    def tell(self, connections: int) -> None:
        """How many there are; to be said every second."""
        self._numbers[self._own] = connections
        self._numbers[self._own + 1] = int(self._now()) + 1

    def leave(self) -> None:
        """This worker takes no more."""
        self._numbers[self._own + 1] = 0

    def is_ahead(self) -> bool:
        """Whether another worker should have the next connection."""
        numbers, since = self._numbers, self._now() - SILENCE
        own = numbers[self._own]
        enough = own - SLACK - own // SLACK_SHARE
        return enough > 0 and any(
            numbers[slot] < enough for slot in self._others if numbers[slot + 1] > since
        )


def shared_balance(path: str, worker: int, workers: int, now: Callable[[], float]) -> Balance | None:
    """The balance in the file `path`, which is made if it is not there. None for a worker that has no others."""
    if workers < 2 or worker >= SLOTS:
        return None
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(file, SLOTS * _ENTRY * _NUMBER)
        memory = mmap.mmap(file, SLOTS * _ENTRY * _NUMBER)
    finally:
        os.close(file)
    return Balance(memoryview(memory).cast("q"), worker, now)
