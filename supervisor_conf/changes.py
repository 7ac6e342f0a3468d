"""What differs between two Settings, and what it takes that what runs with the one runs with the other. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from functools import reduce
from operator import or_
from typing import Final

from supervisor_conf.settings import AppSettings, FrontSettings, Settings


class Needs(Flag):
    """What a changed key takes, beyond the keeper and supervisord, who do otherwise at once."""

    NOTHING = 0
    WORKERS = auto()  # new workers
    PROCESS = auto()  # new processes of the app
    RESTART = auto()  # Portico ended and started again


NEEDS_OF_FRONT: Final[Mapping[str, Needs]] = {
    "listen": Needs.RESTART,
    "run_directory": Needs.RESTART,
    "user": Needs.RESTART,
    "event_log_format": Needs.RESTART,
    "workers": Needs.NOTHING,  # some come or go, the others stay
    "reload_on_change": Needs.NOTHING,
}
"""What is bound, locked, made and owned at the start stays. Keys that are not named here need new workers."""

NEEDS_OF_APP: Final[Mapping[str, Needs]] = {
    "command": Needs.PROCESS,
    "directory": Needs.PROCESS,
    "path": Needs.PROCESS | Needs.WORKERS,
    "hosts": Needs.WORKERS,
    "methods": Needs.WORKERS,
    "modules": Needs.WORKERS,
    "user": Needs.PROCESS,
    "environment": Needs.PROCESS,
    "environment_file": Needs.PROCESS,
    "environment_with_port": Needs.PROCESS,
    "transport": Needs.PROCESS,
    "port": Needs.PROCESS,
    "processes": Needs.NOTHING,  # some come or go, the others stay
    "start": Needs.NOTHING,
    "startup_time_limit": Needs.NOTHING,
    "shutdown_time_limit": Needs.NOTHING,
    "request_timeout": Needs.WORKERS,
    "rapid_fails_per_minute": Needs.NOTHING,
    "queue_limit": Needs.NOTHING,  # the keeper tells each worker its share
    "queue_timeout": Needs.WORKERS,
    "idle_stop": Needs.NOTHING,
    "ready": Needs.NOTHING,
    "warm_up": Needs.NOTHING,
    "health": Needs.NOTHING,
    "health_interval": Needs.NOTHING,
    "health_failures": Needs.NOTHING,
    "tunnel_idle_timeout": Needs.WORKERS,
    "require_pairing": Needs.PROCESS,  # so that one which is not guarded is found out
    "forward_credentials": Needs.WORKERS,
    "stdout_log": Needs.NOTHING,  # supervisord has the other end of the pipe
    "stdout_log_max_bytes": Needs.NOTHING,
    "stdout_log_keep": Needs.NOTHING,
    "startup_error_page": Needs.WORKERS,
    "startup_error_link": Needs.WORKERS,
    "shim": Needs.PROCESS,
    "overlap": Needs.NOTHING,
    "recycle_after": Needs.NOTHING,
    "remote_user_header": Needs.WORKERS,
    "http_auth": Needs.PROCESS,
    "schemes": Needs.PROCESS,
}
"""Keys that are not named here need everything."""


def needs_of_front(key: str) -> Needs:
    return NEEDS_OF_FRONT.get(key, Needs.WORKERS)


def needs_of_app(key: str) -> Needs:
    return NEEDS_OF_APP.get(key, Needs.PROCESS | Needs.WORKERS)


@dataclass(frozen=True, slots=True)
class Changes:
    """From one Settings to another. Names of apps in the order of the file they stand in."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    recycled: tuple[str, ...] = ()  # of the changed ones: need new processes
    moved: tuple[
        str, ...
    ] = ()  # of the recycled ones: to another path, where their old processes are of no use
    front: tuple[str, ...] = ()  # keys
    workers: bool = False  # have to be replaced to know
    counts: tuple[str, ...] = ()  # keys of numbers of processes that supervisord has to have more or fewer of
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


def compare(old: Settings, new: Settings, touched: Collection[str] = ()) -> Changes:
    """What has to be done so that what runs with `old` runs with `new`.

    `touched`: apps that want new processes whatever their keys say: their `environment_file` holds something else than
    it did, or their web.config was written anew.
    """
    before = {app.name: app for app in old.apps}
    after = {app.name: app for app in new.apps}
    keys = {name: _differing(before[name], app) for name, app in after.items() if name in before}
    keys |= {name: (*keys[name], "environment_file") for name in touched if name in keys}
    front = _differing(old.front, new.front)
    added = tuple(name for name in after if name not in before)
    removed = tuple(name for name in before if name not in after)
    needs = {name: _together(needs_of_app(key) for key in changed) for name, changed in keys.items()}
    needs_of_all = _together((*needs.values(), *(needs_of_front(key) for key in front)))
    counts = [f"[apps.{name}] processes" for name, changed in keys.items() if "processes" in changed]
    return Changes(
        added=added,
        removed=removed,
        changed=tuple(name for name in after if keys.get(name)),
        recycled=tuple(name for name, needed in needs.items() if Needs.PROCESS in needed),
        moved=tuple(name for name, changed in keys.items() if "path" in changed),
        front=front,
        # The order of the apps is nothing to them: the longest path wins, and no two apps have the same.
        workers=bool(added or removed) or Needs.WORKERS in needs_of_all,
        counts=tuple(counts) + (("[front] workers",) if "workers" in front else ()),
        refused=tuple(
            f"[front] {key} cannot change while Portico runs: end it and start it again."
            for key in front
            if Needs.RESTART in needs_of_front(key)
        ),
    )


def _together(needs: Iterable[Needs]) -> Needs:
    return reduce(or_, needs, Needs.NOTHING)


def _differing(old: FrontSettings | AppSettings, new: FrontSettings | AppSettings) -> tuple[str, ...]:
    names = (field.name for field in dataclasses.fields(new))
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))
