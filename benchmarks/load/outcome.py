"""What a load has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`operations` may be a fraction (bodies counted by bytes); `seconds` of wall clock; `errors`: answers that
    were not 2xx, connections that broke, answers that did not come."""

    operations: float
    seconds: float
    errors: int
