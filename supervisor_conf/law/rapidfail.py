"""Failing too often: a window that slides over crashes and failed starts, and the pauses before what comes next.

Pure. ANCM counts in fixed minutes and crashes only; here any 60 seconds count, and failed starts too, so that an
app which never comes up is not forked for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

WINDOW: Final = 60.0
"""Seconds."""

PAUSES: Final = (0.0, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
"""Seconds before the next start after no, one, two, … failures within the window. The first is forgiven: whoever
waits for an app that crashed once waits for its start and nothing else."""


@dataclass(slots=True)
class RapidFails:
    """`limit`: more failures than this within the window and the breaker is open; 0 opens it at the first."""

    limit: int
    _at: list[float] = field(default_factory=list)  # monotonic, oldest first
    _pause_until: float = float("-inf")

    def failed(self, now: float) -> None:
        self._forget_old(now)
        self._at.append(now)
        self._pause_until = now + PAUSES[min(len(self._at), len(PAUSES) - 1)]

    def restore(self, at: Iterable[float], now: float) -> None:
        """What another keeper had counted, on the same monotonic clock (CLOCK_MONOTONIC is the machine's)."""
        self._at = sorted(moment for moment in at if moment <= now)
        self._forget_old(now)

    def reset(self) -> None:
        self._at.clear()
        self._pause_until = float("-inf")

    def is_open(self, now: float) -> bool:
        return now < self.closes_at

    @property
    def closes_at(self) -> float:
        """When so many failures have left the window that `limit` are in it; -inf if it is not open."""
        if len(self._at) <= self.limit:
            return float("-inf")
        return self._at[-self.limit - 1] + WINDOW

    @property
    def pause_until(self) -> float:
        """Nothing is to be started before."""
        return self._pause_until

    @property
    def at(self) -> tuple[float, ...]:
        return tuple(self._at)

    def within_window(self, now: float) -> int:
        return sum(moment > now - WINDOW for moment in self._at)

    def _forget_old(self, now: float) -> None:
        self._at = [moment for moment in self._at if moment > now - WINDOW]
