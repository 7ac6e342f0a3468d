"""What differs between two Settings, and what of it can be taken over while everything runs. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from supervisor_conf.settings import AppSettings, FrontSettings, Settings

FIXED_FRONT: Final = ("listen", "run_directory", "user", "workers")
"""Keys of `[front]` that are the instance's own: what is bound, locked, made and owned at its start."""
FIXED_APP: Final = ("processes",)
"""The processes of an app have their places and names in supervisord from the start of the instance, or of the app."""

NOT_FOR_WORKERS: Final = frozenset(
    {
        "command",
        "directory",
        "environment",
        "environment_file",
        "environment_with_port",
        "user",
        "transport",
        "port",
        "start",
        "startup_time_limit",
        "shutdown_time_limit",
        "rapid_fails_per_minute",
        "idle_stop",
        "ready",
        "warm_up",
        "health",
        "health_interval",
        "health_failures",
        "require_pairing",
        "stdout_log",
        "stdout_log_max_bytes",
        "stdout_log_keep",
        "shim",
        "overlap",
        "recycle_after",
    }
)
"""Keys of an app that a worker never looks at. Any other one replaces the workers when it changes."""


@dataclass(frozen=True, slots=True)
class Changes:
    """From one Settings to another. Names of apps in the order of the file they stand in."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    front: tuple[str, ...] = ()  # keys
    workers: bool = False  # have to be replaced to know
    refused: tuple[str, ...] = ()  # sentences: what only a new start can change

    @property
    def nothing(self) -> bool:
        return not (self.added or self.removed or self.changed or self.front)

    @property
    def summary(self) -> str:
        """One line, for people."""
        said = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
                ("changed in [front]:", self.front),
            )
            if names
        ]
        return "; ".join(said) or "nothing has changed"


def compare(old: Settings, new: Settings) -> Changes:
    """What has to be done so that what runs with `old` runs with `new`."""
    before = {app.name: app for app in old.apps}
    after = {app.name: app for app in new.apps}
    changed = tuple(name for name, app in after.items() if name in before and app != before[name])
    front = _differing(old.front, new.front)
    refused = [
        f"[front] {key} cannot change while Portico runs: end it and start it again."
        for key in front
        if key in FIXED_FRONT
    ]
    refused += [
        f"[apps.{name}] {key} cannot change while Portico runs: end it and start it again."
        for name in changed
        for key in _differing(before[name], after[name])
        if key in FIXED_APP
    ]
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=changed,
        front=front,
        workers=_seen_by_workers(old) != _seen_by_workers(new),
        refused=tuple(refused),
    )


def _differing(old: FrontSettings | AppSettings, new: FrontSettings | AppSettings) -> tuple[str, ...]:
    names = (field.name for field in dataclasses.fields(new))
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))


def _seen_by_workers(settings: Settings) -> object:
    """The order of the apps is nothing to them: the longest path wins, and no two apps have the same."""
    front = dataclasses.replace(settings.front, reload_on_change=False)
    names = [field.name for field in dataclasses.fields(AppSettings) if field.name not in NOT_FOR_WORKERS]
    return front, {app.name: [getattr(app, name) for name in names] for app in settings.apps}
