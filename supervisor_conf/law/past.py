"""What of an app's life must outlive the keeper, and how it is written down. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

STARTS_REMEMBERED: Final = 10
"""So many starts make the median that Retry-After and `app status` show."""

FALLBACK_RETRY: Final = 5
"""Seconds of Retry-After while no start has succeeded yet."""


@dataclass(frozen=True, slots=True)
class Past:
    """`fails`: monotonic times of the failures within the last minute. `ready`: generations that run and have been
    ready. `obsolete`: generations that run and are to be replaced, and why."""

    fails: tuple[float, ...] = ()
    start_seconds: tuple[float, ...] = ()  # of the last starts, the newest last
    starts: int = 0
    crashes: int = 0
    ready: tuple[int, ...] = ()
    obsolete: tuple[tuple[int, str], ...] = ()

    @property
    def median_start(self) -> float | None:
        """Seconds."""
        return median(self.start_seconds) if self.start_seconds else None

    @property
    def retry_after(self) -> int:
        """Whole seconds in which a start is likely to be over."""
        usual = self.median_start
        return FALLBACK_RETRY if usual is None else max(math.ceil(usual), 1)

    def why_obsolete(self, generation: int) -> str:
        return dict(self.obsolete).get(generation, "")

    def to_text(self) -> str:
        return json.dumps([getattr(self, name) for name in _FIELDS], separators=(",", ":"))


_FIELDS: Final = ("fails", "start_seconds", "starts", "crashes", "ready", "obsolete")


def read_past(text: str) -> Past:
    """What `to_text` wrote; nothing remembered if another version did."""
    try:
        fails, start_seconds, starts, crashes, ready, obsolete = json.loads(text)
        return Past(
            tuple(map(float, fails)),
            tuple(map(float, start_seconds)),
            int(starts),
            int(crashes),
            tuple(map(int, ready)),
            tuple(map(_mark, obsolete)),
        )
    except (ValueError, TypeError):
        return Past()


def _mark(entry: Any) -> tuple[int, str]:
    generation, why = entry
    return int(generation), str(why)
