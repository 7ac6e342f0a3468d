"""How many examples a slow property is tried with."""

from __future__ import annotations

from hypothesis import settings

#: Of the profile `fast`: no property is tried with fewer because it is slow.
LEAST = 100


def one_in(share: int) -> int:
    """Of the examples of the profile in force one in `share`, for a property whose examples take long."""
    examples = settings.default.max_examples
    return max(examples // share, min(examples, LEAST))
