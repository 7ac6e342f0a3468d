"""What was refused, for the log: whoever knocks a thousand times a second is told of once a minute."""

from __future__ import annotations

from collections.abc import Callable

import structlog

#: Seconds for which what was refused for one reason is counted before it is told again.
TOLD_EVERY = 60.0


class Refusals:
    """Refused connections, by reason: each reason is told once as `event`, then again with a count."""

    def __init__(self, event: str, now: Callable[[], float]) -> None:
        self._event = event
        self._now = now
        self._untold: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def count(self, reason: str, address: str) -> None:
        """`address`: of the peer that is told with it; "" for a Unix socket's."""
        now = self._now()
        self._untold[reason] = self._untold.get(reason, 0) + 1
        if now - self._told.get(reason, -TOLD_EVERY) >= TOLD_EVERY:
            self._told[reason] = now
            times = self._untold.pop(reason)
            structlog.get_logger().warning(self._event, reason=reason, peer=address or "unix", times=times)
