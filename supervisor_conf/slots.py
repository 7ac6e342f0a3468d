"""Where the processes of an app stand: its places 0 … `processes` - 1, and the two slots of each, so that a successor
can stand beside the one that goes. Pure.

The numbers do not depend on how many places there are: they mean the same before and after `processes` has changed.
"""

from __future__ import annotations

from typing import Final

_OF_A_PLACE: Final = 2


def place_of(slot: int) -> int:
    return slot // _OF_A_PLACE


def slots_of(place: int) -> tuple[int, int]:
    """The one that is used first, the other one."""
    return place * _OF_A_PLACE, place * _OF_A_PLACE + 1
