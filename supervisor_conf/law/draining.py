"""Which workers may still have requests in flight at which generation. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class Usage:
    """Workers by number. A worker uses a generation from the moment it is told its route until it says Drained."""

    def __init__(self) -> None:
        self._users: dict[int, set[int]] = {}  # generation -> workers

    def told(self, worker: int, generations: Iterable[int]) -> None:
        for generation in generations:
            self._users.setdefault(generation, set()).add(worker)

    def drained(self, worker: int, generation: int) -> None:
        self._users.get(generation, set()).discard(worker)

    def worker_gone(self, worker: int) -> None:
        """Its requests went with it."""
        for users in self._users.values():
            users.discard(worker)

    def generation_gone(self, generation: int) -> None:
        self._users.pop(generation, None)

    def is_used(self, generation: int) -> bool:
        return bool(self._users.get(generation))
