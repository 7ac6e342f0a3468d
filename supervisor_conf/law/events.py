"""What can happen to an app. The law hears of it as one of these values, and of nothing else.

`slot` is where one process of the app stands (`supervisor_conf/slots.py`); `generation` is the number that the
plugin gave to what runs there. An asker is whoever waits for the app, a worker or an operator, as a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Hold(StrEnum):
    """Why nothing of an app may be started. The values are the `why` of the refusals."""

    STOPPED = "stopped"  # by an administrator
    FAILED = "rapid-fail"  # it failed too often
    OFFLINE = "offline"  # app_offline.htm, `app offline`


class EndStage(StrEnum):
    FRONT = "front"  # start nothing more, give up who waits
    APPS = "apps"  # stop everything


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody waits for the app."""

    asker: int


@dataclass(frozen=True, slots=True)
class WantedAlways:
    """`start = "eager"`: the app is to run though nobody waits."""


@dataclass(frozen=True, slots=True)
class AskerGone:
    asker: int


@dataclass(frozen=True, slots=True)
class Spawned:
    """`asked`: the keeper asked for it; otherwise an administrator started it by supervisorctl."""

    slot: int
    generation: int
    pid: int
    address: str
    asked: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A new keeper was told of a process that the old one had started: how far it had come is not known."""

    slot: int
    generation: int
    pid: int
    address: str
    was_ready: bool = True  # before; False: it was still starting
    obsolete: str = ""  # why it was to be replaced


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    slot: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Executed:
    """The generation's process was seen to be the app's command, and the launcher no longer."""

    generation: int


@dataclass(frozen=True, slots=True)
class Listening:
    """Somebody listens where the generation was told to listen; whether it is ours comes next."""

    generation: int


@dataclass(frozen=True, slots=True)
class Ours:
    """The listener is a process of this generation. `note`: which."""

    generation: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Foreign:
    """The listener is somebody else: `holder` in words."""

    generation: int
    holder: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """What a probe sees while it waits: where the generation listens instead, the last answer in words."""

    generation: int
    elsewhere: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The generation is ready. `guarded` is None as long as the guard question was not asked."""

    generation: int
    guarded: bool | None = None


@dataclass(frozen=True, slots=True)
class GuardSeen:
    """The guard question's answer, when it came after the route was published."""

    generation: int
    guarded: bool


@dataclass(frozen=True, slots=True)
class Suspected:
    """A worker's connection to the generation was refused."""

    generation: int


@dataclass(frozen=True, slots=True)
class Exited:
    """`status` is the raw wait status. `left_behind`: descendants that were seen alive after it."""

    generation: int
    status: int
    last_output: str = ""
    administrative: bool = False
    left_behind: int = 0


@dataclass(frozen=True, slots=True)
class Drained:
    """No request is in flight at the generation any more."""

    generation: int


@dataclass(frozen=True, slots=True)
class ShutdownAnswered:
    """What became of the shutdown message: `accepted` is a 202."""

    generation: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing may be started from now on; what runs is stopped, drained first.

    `already_signalled`: supervisord is stopping it itself (`supervisorctl stop`): nothing to drain for. `slot`:
    the one that it is stopping; None: all of them.
    """

    hold: Hold
    already_signalled: bool = False
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Lifted:
    hold: Hold


@dataclass(frozen=True, slots=True)
class Recycle:
    """Replace these generations, none: all of now. `why`: a few words for the log. `useless`: nobody can use them any
    more, so they do not wait for their successors."""

    why: str
    generations: tuple[int, ...] = ()
    useless: bool = False


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody has used the app for `idle_stop`."""


@dataclass(frozen=True, slots=True)
class Unwell:
    """A ready generation has failed too many health checks, or left too many requests without an answer."""

    generation: int
    summary: str


@dataclass(frozen=True, slots=True)
class Well:
    """A health check of a generation went well."""

    generation: int


@dataclass(frozen=True, slots=True)
class Ending:
    stage: EndStage


@dataclass(frozen=True, slots=True)
class TimePassed:
    """`Lifecycle.due` has come."""


Event = (
    Wanted
    | WantedAlways
    | AskerGone
    | Spawned
    | Found
    | SpawnFailed
    | Executed
    | Listening
    | Ours
    | Foreign
    | Noticed
    | Answered
    | GuardSeen
    | Suspected
    | Exited
    | Drained
    | ShutdownAnswered
    | Held
    | Lifted
    | Recycle
    | Idle
    | Unwell
    | Well
    | Ending
    | TimePassed
)
