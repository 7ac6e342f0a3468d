"""How fast a client has to be, on average: so slow that it would hold an app's thread for hours, and each byte is in
time for `request_timeout`, it is told to go (Kestrel's MinRequestBodyDataRate and MinResponseDataRate).

Only the time counts in which we wait for the client; an app that takes its time costs it nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from proxy.streams import TimedOut

#: Seconds of waiting that everybody has, whatever comes of it: Kestrel's grace period.
GRACE = 5.0

Read = TypeVar("Read", bytes, int)


class TooSlow(TimedOut):
    """Slower than the rate."""


class Pace:
    """`rate`: bytes a second, 0 for none. `now`: monotonic clock. `moved`: bytes that count already; less than none
    where a counter of the caller's, which is given to `patience`, did not begin at 0."""

    __slots__ = ("_moved", "_now", "_rate", "_waited")

    def __init__(self, rate: int, now: Callable[[], float], moved: int = 0) -> None:
        self._rate = rate
        self._now = now
        self._moved = moved
        self._waited = 0.0

    def patience(self, timeout: float | None, counted: int = 0) -> float | None:
        """How long the client may be waited for now; at most `timeout`. Raises TooSlow."""
        if not self._rate:
            return timeout
        left = GRACE + (self._moved + counted) / self._rate - self._waited
        if left <= 0:
            raise TooSlow
        return left if timeout is None else min(left, timeout)

    def waited(self, since: float, moved: int = 0) -> None:
        """The client was waited for from `since` until now, and so many bytes moved meanwhile."""
        self._waited += self._now() - since
        self._moved += moved

    def read(self, read: Callable[[float | None], Read], timeout: float | None) -> Read:
        """What `read(timeout)` gets. Raises TooSlow, TimedOut when the client was silent for `timeout`, and what
        `read` raises."""
        patience = self.patience(timeout)
        began = self._now()
        try:
            got = read(patience)
        except TimedOut:
            self.waited(began)
            self.patience(timeout)
            raise
        self.waited(began, got if isinstance(got, int) else len(got))
        return got
