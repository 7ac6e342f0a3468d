"""Which workers may still have requests in flight at which generation. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class Usage:
    """Workers by number. A worker uses a generation from the moment it is told its route until it says Drained.

    What is told is numbered by serial: a Drained that was said before the route was told again is too old, and
    means nothing. Workers that a new keeper has not heard of yet are *expected*, by pid, and may use anything.
    """

    def __init__(self) -> None:
        self._users: dict[int, dict[int, int]] = {}  # generation -> worker -> serial
        self._expected: set[int] = set()  # pids

    def expect(self, pids: Iterable[int]) -> None:
        self._expected.update(pids)

    def expected_no_more(self, pid: int) -> None:
        """It has come, and said what it uses (`told`), or has ended."""
        self._expected.discard(pid)

    def told(self, worker: int, generations: Iterable[int], serial: int = 0) -> None:
        for generation in generations:
            self._users.setdefault(generation, {})[worker] = serial

    def drained(self, worker: int, generation: int, serial: int = 0) -> None:
        users = self._users.get(generation, {})
        if users.get(worker, 0) <= serial:
            users.pop(worker, None)

    def worker_gone(self, worker: int) -> None:
        """Its requests went with it."""
        for users in self._users.values():
            users.pop(worker, None)

    def generation_gone(self, generation: int) -> None:
        self._users.pop(generation, None)

    def is_used(self, generation: int) -> bool:
        return bool(self._expected or self._users.get(generation))
