"""The numbers under which the ASP.NET Core Module logs what Portico's events tell: whoever filters by them finds them
in the field `ancm`. docs/events.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ALWAYS: Final = {
    "app.rapid-fail": 1003,
    "app.killed": 1005,
    "app.offline": 1012,
    "app.log-problem": 1004,
    "app.shutdown-message": 1006,
    "app.exited": 1030,
    "watch.without-inotify": 1024,
}
"""Events that have one number, whatever their fields."""


def number(event: Mapping[str, Any]) -> int | None:
    """Of a structlog event, its name under "event"; None if ANCM has no counterpart."""
    name = event.get("event")
    match name:
        case "app.start-failed":
            return 1000 if event.get("again") else 1020
        case "app.recycled":
            return 1022 if event.get("problem") else 1021
        case "app.moved":
            return _of_move(str(event.get("was", "")), str(event.get("now", "")))
        case _:
            return _ALWAYS.get(str(name))


def _of_move(was: str, now: str) -> int | None:
    if (was, now) == ("STARTING", "READY"):
        return 1001
    return 1033 if (was, now) == ("STOPPING", "STOPPED") else None
