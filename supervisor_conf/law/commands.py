"""What the law wants done, in order. Whoever carries it out decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from supervisor_conf.control.messages import Report


class State(StrEnum):
    """Of one generation, and (derived from its generations and holds) of an app."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    READY = "READY"
    DRAINING = "DRAINING"  # no new requests; what is in flight may finish
    STOPPING = "STOPPING"
    FAILED = "FAILED"  # held: it failed too often
    OFFLINE = "OFFLINE"  # held: taken offline


@dataclass(frozen=True, slots=True)
class Spawn:
    slot: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out whether the generation is ready, until it leaves STARTING."""

    generation: int


@dataclass(frozen=True, slots=True)
class AskGuard:
    """Ask a generation that is ready already whether it is guarded."""

    generation: int


@dataclass(frozen=True, slots=True)
class Route:
    """A generation that may be given requests."""

    generation: int
    guarded: bool
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell every worker. `refusal` is a `why` of the control protocol, or ""."""

    state: State
    routes: tuple[Route, ...]
    refusal: str


@dataclass(frozen=True, slots=True)
class Drain:
    """The generation has no route any more: say Drained as soon as nobody uses it."""

    generation: int


@dataclass(frozen=True, slots=True)
class Release:
    """These waited, or ask for what is ready already: what was published last is their answer."""

    askers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """These are given up."""

    askers: tuple[int, ...]
    why: str
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class SendShutdown:
    """Send the shutdown message, and say ShutdownAnswered within `limit` seconds."""

    generation: int
    limit: float


@dataclass(frozen=True, slots=True)
class Signal:
    """To the process group of the generation."""

    slot: int
    generation: int
    signal: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Kill whatever is left of the generation: its process group, and who carries its nonce."""

    generation: int


@dataclass(frozen=True, slots=True)
class Record:
    """Remember this report for `app why`. `again`: another attempt follows at once."""

    report: Report
    crash: bool
    again: bool = False


@dataclass(frozen=True, slots=True)
class Promote:
    """The generation is ready while an older one is still there: it takes the name of its place in supervisord."""

    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class RecycleEnded:
    """`why` is "" if everything obsolete was replaced; else a `why` of the control protocol, and what runs stays."""

    why: str
    report: Report | None


@dataclass(frozen=True, slots=True)
class Ailing:
    """A generation is not well and will be replaced: remember the report for `app why`."""

    report: Report


@dataclass(frozen=True, slots=True)
class Moved:
    """One line for the log: a generation went from one state to another."""

    slot: int
    generation: int
    was: State
    now: State
    because: str
    seconds: float  # since its start was asked for
    failed: bool = False  # it moves because its start failed, or it crashed: a Record tells more


Command = (
    Spawn
    | Probe
    | AskGuard
    | Publish
    | Drain
    | Release
    | Refuse
    | SendShutdown
    | Signal
    | Sweep
    | Record
    | Promote
    | RecycleEnded
    | Ailing
    | Moved
)
