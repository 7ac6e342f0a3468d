"""One generation of an app as the law sees it: its states, why it moves from one to another, its dates. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from supervisor_conf.law.commands import State
from supervisor_conf.law.journey import Failure, Journey


class Cause(StrEnum):
    """Why a row moves."""

    WANTED = "wanted"  # a row begins
    FOUND = "found running"  # by a new keeper
    SPAWN_FAILED = "spawn failed"
    ANSWERED = "answered"
    SUSPECTED = "refused a connection"
    START_FAILED = "start failed"
    TIME = "time limit"
    EXITED = "exited"
    STOP = "stop"
    DRAINED = "drained"
    STOP_AFTER_USE = "stop after use"  # of one that is looked at again: requests may still be in flight there
    RECYCLED = "recycled"  # another one takes its place
    SUPERVISORCTL = "supervisorctl stop"


TRANSITIONS: Final = {
    (State.STARTING, Cause.SPAWN_FAILED): State.STOPPED,
    (State.STARTING, Cause.ANSWERED): State.READY,
    (State.STARTING, Cause.START_FAILED): State.STOPPING,
    (State.STARTING, Cause.TIME): State.STOPPING,
    (State.STARTING, Cause.EXITED): State.STOPPED,
    (State.STARTING, Cause.STOP): State.STOPPING,
    (State.STARTING, Cause.STOP_AFTER_USE): State.DRAINING,
    (State.STARTING, Cause.SUPERVISORCTL): State.STOPPING,
    (State.READY, Cause.SUSPECTED): State.STARTING,
    (State.READY, Cause.EXITED): State.STOPPED,
    (State.READY, Cause.STOP): State.DRAINING,
    (State.READY, Cause.RECYCLED): State.DRAINING,
    (State.READY, Cause.SUPERVISORCTL): State.STOPPING,
    (State.DRAINING, Cause.DRAINED): State.STOPPING,
    (State.DRAINING, Cause.TIME): State.STOPPING,
    (State.DRAINING, Cause.EXITED): State.STOPPED,
    (State.DRAINING, Cause.SUPERVISORCTL): State.STOPPING,
    (State.STOPPING, Cause.EXITED): State.STOPPED,
    (State.STOPPING, Cause.SPAWN_FAILED): State.STOPPED,
    (State.STOPPING, Cause.TIME): State.STOPPED,  # at the end, a start that supervisord never answered
}
"""A row begins as STARTING and is forgotten when it is STOPPED. FAILED and OFFLINE are states of apps."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the law needs of an app's settings. Seconds."""

    app: str
    processes: int = 1
    eager: bool = False
    startup_time_limit: float = 120.0
    shutdown_time_limit: float = 10.0
    drain_limit: float = 30.0
    require_pairing: bool = False
    overlap: bool = True  # a successor may run beside the one that goes
    rapid_fails_per_minute: int = 10


@dataclass(slots=True)
class Row:
    """One generation. Only Lifecycle writes it."""

    slot: int
    place: int
    journey: Journey
    state: State = State.STARTING
    generation: int = 0  # 0 until it is spawned
    pid: int = 0
    guarded: bool | None = None
    was_ready: bool = False
    ours: bool = False  # its listener was seen to be a process of this generation, and no doubt arose since
    healthy: bool = True
    obsolete: str = ""  # why it is to be replaced
    failure: Failure | None = None
    start_due: float | None = None
    drain_due: float | None = None
    term_due: float | None = None
    kill_due: float | None = None
    ready_at: float | None = None

    @property
    def leaves(self) -> bool:
        """It is on its way out, and nobody waits for what becomes of it."""
        return self.state is State.DRAINING or (self.state is State.STOPPING and self.failure is None)

    @property
    def due(self) -> float | None:
        dates = (self.start_due, self.drain_due, self.term_due, self.kill_due)
        return min((date for date in dates if date is not None), default=None)
