"""When a generation has served long enough, or an app has been idle long enough. Pure.

Numbers come from the workers' Counters, about once a second, and from /proc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from supervisor_conf.control.messages import Counters, Served

JITTER: Final = 0.1
"""A limit is reached somewhere between itself and this share more: processes that were started together are not
recycled together."""

SILENCES_REMEMBERED: Final = 100
"""`health_failures` is not larger."""


@dataclass(slots=True)
class Wear:
    """One generation. `limits`: `recycle_after` (requests, age in seconds, memory in bytes). `chance`: 0 … 1."""

    limits: Mapping[str, float]
    since: float  # monotonic, when it was ready
    chance: float
    requests: int = 0
    memory: int = 0  # bytes, of all its processes together

    def why(self, now: float) -> str:
        """Which limit is reached, in a few words; "" if none."""
        if self._reached("requests", self.requests):
            return f"{self.requests} requests"
        if self._reached("age", now - self.since):
            return f"age {now - self.since:.0f} s"
        if self._reached("memory", self.memory):
            return f"memory {self.memory / 1024 / 1024:.0f} MiB"
        return ""

    def _reached(self, name: str, value: float) -> bool:
        limit = self.limits.get(name)
        return limit is not None and value >= limit * (1 + JITTER * self.chance)


@dataclass(slots=True)
class Use:
    """Of one app, by all workers. `silent`: when the requests were given up that a generation has left without an
    answer since its last one, the latest hundred. All times monotonic."""

    requests: int = 0
    last: float = float("-inf")  # when it was used last
    silent: dict[int, list[float]] = field(default_factory=dict)  # generation ->
    _answered: dict[int, float] = field(default_factory=dict)  # generation ->
    _now: dict[int, Counters] = field(default_factory=dict)  # worker ->

    def counted(self, worker: int, counters: Counters, now: float) -> None:
        self._now[worker] = counters
        self.requests += counters.requests
        if counters.requests or counters.in_flight or counters.waiting:
            self.last = now
        for served in counters.generations:
            self._count_silence(served, now)

    def _count_silence(self, served: Served, now: float) -> None:
        """Silence is told at once, answers about a second later: one that came before is no end of it."""
        generation = served.generation
        if served.answered:
            self._answered[generation] = max(self._answered.get(generation, 0.0), served.answered_at)
        answered = self._answered.get(generation, 0.0)
        given_up = [*self.silent.get(generation, ()), *[now] * served.silent]
        self.silent[generation] = [at for at in given_up if at > answered][-SILENCES_REMEMBERED:]

    def worker_gone(self, worker: int) -> None:
        self._now.pop(worker, None)

    def generations_gone(self, present: Iterable[int]) -> None:
        """Only these are left."""
        left = set(present)
        self.silent = {number: times for number, times in self.silent.items() if number in left}
        self._answered = {number: at for number, at in self._answered.items() if number in left}

    @property
    def in_flight(self) -> int:
        return sum(counters.in_flight for counters in self._now.values())

    @property
    def waiting(self) -> int:
        return sum(counters.waiting for counters in self._now.values())

    def is_idle(self, limit: float, ready_since: float, now: float) -> bool:
        """Nobody has used it for `limit` seconds, since it was ready."""
        if not limit or self.in_flight or self.waiting:
            return False
        return now - max(self.last, ready_since) >= limit


def shares(limit: int, workers: int) -> list[int]:
    """`queue_limit` among so many workers: together the limit, but each at least one."""
    each, rest = divmod(limit, max(workers, 1))
    return [max(each + (number < rest), 1) for number in range(workers)]
