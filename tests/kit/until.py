"""Wait for a fact of the outside world by looking at it again and again. For tests of real processes only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.kit import procfs

T = TypeVar("T")

LIMIT = 20.0  # seconds; only a failing test ever waits so long
PAUSE = 0.02  # seconds between two looks


def wait_until(fact: Callable[[], T], what: str, limit: float = LIMIT) -> T:
    """The first true value of `fact()`; after `limit` seconds AssertionError naming `what`."""
    deadline = time.monotonic() + limit
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not seen in {limit:g} s: {what} (last look: {value!r})")
        time.sleep(PAUSE)


def wait_for_end(pid: int) -> None:
    """Wait until nothing of a process runs any more."""
    wait_until(lambda: not procfs.alive(pid), f"the end of process {pid}")
