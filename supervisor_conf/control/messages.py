"""What the parts of Portico say to each other, word by word.

Two links speak this language with one codec (`codec.py`):

* the **control socket** (a Unix stream in the run directory): workers and operators on one side, the keeper on
  the other;
* the **plugin link** (a socketpair on descriptor 3 of the keeper): the plugin inside supervisord, and the keeper.

Every message is a frozen dataclass of JSON scalars, tuples of them, or tuples of other messages. A kind that a
reader does not know is ignored by it; a version it does not know ends the connection with a sentence.
Times are seconds; `at` is wall clock (for people), every other time is a duration.
"""

from __future__ import annotations

from dataclasses import dataclass, field

VERSION = 1

WORKER_FRAME_LIMIT = 8 * 1024 * 1024
"""What the keeper tells workers may be so long: app_offline.htm is in it."""

PLUGIN_LINK_FRAME_LIMIT = 16 * 1024 * 1024
"""Both ends of the plugin link give it to the codec: Memory tells everything at once."""

CREDENTIALS_LIMIT = 192 * 1024
"""Bytes of a delegated credential cache. What Windows puts into one ticket is 64 KiB at most."""

CREDENTIALS_PIECE = 32 * 1024
"""So many bytes of it go into one message: in base64 they fit into a frame."""

# --------------------------------------------------------------------------------------------------------------
# Values carried by messages


@dataclass(frozen=True, slots=True)
class Route:
    """Where one generation of an app answers, and the token it wants to see. Given to workers only."""

    generation: int
    pid: int
    host: str  # "" when the app listens on `socket`
    port: int  # 0 when the app listens on `socket`
    socket: str  # path of a Unix socket, or ""
    token: str
    guarded: bool = False
    healthy: bool = True
    path: str = "/"  # of the app, as its process was told

    def __repr__(self) -> str:
        where = self.socket or f"{self.host}:{self.port}"
        return f"Route(generation={self.generation}, pid={self.pid}, {where})"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a start: its name (`law/journey.py`), seconds since the start was asked for, what was seen."""

    name: str
    after: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The story of a start that failed or a process that ended: what `app why` and the 502.5 page show.

    `app why` tells a start that went well in the same shape.
    """

    app: str
    generation: int
    pid: int  # 0 when there never was a process
    summary: str  # one sentence: what happened
    failed_step: str  # "", or the step that was not reached
    steps: tuple[Step, ...] = ()
    exit: str = ""  # exit status or signal in words: "exit status 3", "killed by SIGKILL"
    seconds: float = 0.0  # time spent
    last_lines: str = ""  # the app's last output, undecodable bytes replaced
    advice: tuple[str, ...] = ()  # what to try, one sentence each
    at: float = 0.0  # wall clock


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why requests for an app are answered without asking it, or a waiting request is given up."""

    status: int  # 502 or 503
    why: str  # one word for logs: "stopped", "start-failed", "offline", "rapid-fail", "unguarded", "ending"
    sentence: str  # for the page
    retry_after: int = 0  # seconds; 0: no Retry-After
    report: Report | None = None
    body: str = ""  # app_offline.htm; bytes that are not UTF-8 are surrogates (PEP 383)
    verbatim: bool = False  # answer with `body` as it is, be it empty
    counts_down: bool = False  # `retry_after` is to a date, counted from when this was said


# --------------------------------------------------------------------------------------------------------------
# Control socket: worker -> keeper


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of every peer. Its pid and uid come from the socket's credentials, never from here."""

    role: str  # "worker" | "operator"
    name: str = ""  # process name, for logs
    using: tuple[
        tuple[str, int], ...
    ] = ()  # app, generation: to whom a worker has a route or a request in flight


@dataclass(frozen=True, slots=True)
class Need:
    """Requests wait for `app`: start it if it may be started. One a worker, however many wait."""

    app: str


@dataclass(frozen=True, slots=True)
class Bad:
    """This generation refused a connection: take its route away, look at it, and say what is ready instead."""

    app: str
    generation: int
    why: str


@dataclass(frozen=True, slots=True)
class Drained:
    """No request of this worker is in flight at `generation` any more (sent once its route was withdrawn)."""

    app: str
    generation: int
    serial: int = 0  # of the last AppRoutes of this app that the worker had read


@dataclass(frozen=True, slots=True)
class Served:
    """What one generation did for a worker since its last Counters."""

    generation: int
    answered: int  # requests
    silent: int  # requests that ran into request_timeout: since the last one that was answered
    in_flight: int  # now
    answered_at: float = 0.0  # when the last one was, by the machine's monotonic clock; 0: none was


@dataclass(frozen=True, slots=True)
class Counters:
    """What a worker did since its last Counters, and what it does now."""

    app: str
    requests: int
    failures: int
    in_flight: int
    waiting: int
    generations: tuple[Served, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request in flight or queued."""

    id: str
    app: str
    phase: str
    age: float
    client: str
    method: str
    target: str  # without query
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Requests:
    """Answer to AskRequests, in several of these where it is long."""

    question: int
    requests: tuple[RequestLine, ...]
    more: bool = False  # another one follows


@dataclass(frozen=True, slots=True)
class TakeCredentials:
    """A visitor has delegated this Kerberos credential cache to a request that is about to go to this generation: put
    it where that app can read it. In pieces (base64); the last is answered by CredentialsKept."""

    number: int  # the worker's own count
    app: str
    generation: int
    piece: str = field(repr=False)
    more: bool = False  # another piece follows


@dataclass(frozen=True, slots=True)
class DropCredentials:
    """The request is over: remove its cache."""

    number: int


# --------------------------------------------------------------------------------------------------------------
# Control socket: keeper -> worker


@dataclass(frozen=True, slots=True)
class AppRoutes:
    """The whole truth about one app, for workers: what was known of it before is forgotten.

    With `routes`, requests that wait go on. With neither `routes` nor `refusal` the app is not running: ask (Need)
    and wait. A `refusal` answers every request at once, until the next AppRoutes.
    """

    app: str
    state: str
    routes: tuple[Route, ...] = ()
    refusal: Refusal | None = None
    queue_share: int = 0  # requests of this worker that may wait
    retry_after: int = (
        0  # seconds in which a start is usually over: for who is not let into the queue; 0: not known
    )
    serial: int = 0  # counts up with every AppRoutes of this app and keeper
    path: str = "/"  # of the app, as it is now


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Every request that waits for `app` in this worker is answered with `refusal`; later ones ask again."""

    app: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class NewAccessLog:
    """Write the access log here from now on. One descriptor comes with it (unix(7), SCM_RIGHTS)."""


@dataclass(frozen=True, slots=True)
class NewEventLog:
    """The same for the event log, `portico.log`."""


@dataclass(frozen=True, slots=True)
class NewCertificates:
    """Use these for handshakes from now on. The descriptor that comes with it is a memory file with a
    `certificates.Bundle`: private keys never travel in a message."""


@dataclass(frozen=True, slots=True)
class CredentialsKept:
    """Answer to TakeCredentials: where the app finds the cache until DropCredentials; or why it does not."""

    number: int
    path: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AskRequests:
    """List your requests (`app requests`)."""

    question: int
    app: str = ""


# --------------------------------------------------------------------------------------------------------------
# Control socket: operator <-> keeper


@dataclass(frozen=True, slots=True)
class Order:
    """One `app` word of supervisorctl with its arguments, as typed."""

    word: str
    arguments: tuple[str, ...] = ()
    json: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """A line to show while the order is carried out."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The order's end. `status` is the exit status: 0 done, 1 refused or failed, 2 usage."""

    status: int
    text: str = ""  # to stdout if status is 0, else to stderr


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer may not do this, or not in this version; the connection ends after it."""

    sentence: str


# --------------------------------------------------------------------------------------------------------------
# Plugin link: plugin -> keeper


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process of `app` was forked. Also inside Memory, for those that still run."""

    app: str
    process: str  # supervisord's name for it: "shop" or "shop:1"
    slot: int
    generation: int
    pid: int
    host: str  # "" when it answers on `socket`
    port: int  # 0 when it answers on `socket`
    socket: str  # path of a Unix socket, or ""
    token: str
    nonce: str  # PORTICO_NONCE in its environment: how its descendants are recognised
    log: str  # path, or ""
    at: float
    asked: bool  # the keeper asked for it (Start); False: `supervisorctl start` did
    handed: bool = False  # `socket` was bound by the plugin and given to the process (`transport = "fd"`)
    path: str = "/"  # of the app when it was started
    user: str = ""  # whom it runs as; "": as supervisord does
    cgroup: str = ""  # the folder of its cgroup, "" if it has none of its own

    def __repr__(self) -> str:
        where = self.socket or f"port={self.port}"
        return f"Spawned({self.process}, generation={self.generation}, pid={self.pid}, {where})"


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """A start that was asked for did not even fork, or was refused."""

    app: str
    slot: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A process of `app` has ended; `status` is the raw wait status (os.WIFSIGNALED and so on apply)."""

    app: str
    slot: int
    generation: int
    pid: int
    status: int
    last_output: str
    administrative: bool  # `supervisorctl stop` asked for it
    at: float
    first_output: float = -1.0  # seconds from the fork to the first byte it wrote; -1: none


@dataclass(frozen=True, slots=True)
class AdminStopped:
    """`supervisorctl stop` was used on a process of `app`, running or not."""

    app: str
    slot: int


@dataclass(frozen=True, slots=True)
class Output:
    """Answer to AskOutput: the newest output of a generation, undecodable bytes replaced."""

    generation: int
    text: str
    first_after: float = -1.0  # seconds from the fork to the first byte; -1: none yet
    app: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSpawned:
    """A worker was forked: its pid may say Hello as a worker."""

    process: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
    process: str
    pid: int


@dataclass(frozen=True, slots=True)
class FrontRecycled:
    """Answer to RecycleFront, when the last worker was replaced or the attempt was given up (`problem`)."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reopened:
    """The plugin has opened its log files anew: the keeper's and the workers' turn. The answer to Reopen, and the
    consequence of SIGUSR2."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """supervisord is going down. "front": workers are draining, start nothing more and give up who waits;
    "apps": workers are gone, stop every app gracefully and answer AppsStopped when done."""

    stage: str


@dataclass(frozen=True, slots=True)
class Memory:
    """First message to every keeper: what the plugin remembers."""

    instance: str  # random, one a supervisord
    running: tuple[Spawned, ...]
    stopped: tuple[str, ...]  # apps under an administrative stop
    workers: tuple[WorkerSpawned, ...]
    kept: tuple[tuple[str, str], ...]  # what keepers asked to Keep: key, text
    ending: str = ""  # an Ending stage already under way
    outdated: tuple[tuple[str, int], ...] = ()  # as in NewSettings
    leaving: tuple[str, ...] = ()  # as in Leave


@dataclass(frozen=True, slots=True)
class NewSettings:
    """The configuration was read again: from now on these (JSON of the whole Settings, with apps that are to leave)."""

    text: str = field(repr=False)  # holds the apps' secrets
    outdated: tuple[tuple[str, int], ...]  # app, the newest generation that was started with older settings
    changed: tuple[
        str, ...
    ] = ()  # apps whose settings are others, or whose `environment_file` holds something else


@dataclass(frozen=True, slots=True)
class Outdated:
    """More of the same reload: apps that have moved to another path, now that every worker knows it."""

    outdated: tuple[tuple[str, int], ...]  # as in NewSettings


@dataclass(frozen=True, slots=True)
class Leave:
    """No worker knows these apps any more: stop them, forget them, and answer AppGone for each."""

    apps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The end of a reload. `asker`: of the Reload; 0 for a reload that nobody waits for."""

    asker: int
    text: str
    problem: bool = False


# --------------------------------------------------------------------------------------------------------------
# Plugin link: keeper -> plugin


@dataclass(frozen=True, slots=True)
class Start:
    """Fork a new generation in this slot; answered by Spawned or SpawnFailed."""

    app: str
    slot: int


@dataclass(frozen=True, slots=True)
class Promote:
    """This generation takes the name of its place (`shop`) in supervisord, from the older one that is going."""

    app: str
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the process group of a generation. It is a stop: supervisord will show STOPPING."""

    app: str
    slot: int
    generation: int
    signal: int


@dataclass(frozen=True, slots=True)
class AdminStop:
    """`app stop`: from now on remember an administrative stop of `app` (Signal does the stopping)."""

    app: str
    on: bool


@dataclass(frozen=True, slots=True)
class RefuseStart:
    """While `sentence` is not empty, `supervisorctl start` of `app` is refused with it (offline)."""

    app: str
    sentence: str


@dataclass(frozen=True, slots=True)
class AskOutput:
    generation: int
    app: str
    slot: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Remember this text for the next keeper; "" forgets it."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the person at the terminal of `portico run`."""

    text: str


@dataclass(frozen=True, slots=True)
class CertificatesRenewed:
    """What is on disk has been tried, and the workers have it: give it to new ones too."""


@dataclass(frozen=True, slots=True)
class FrontReady:
    """The first worker has its routes and accepts: the URL may be announced. Also tells which worker is ready."""

    pid: int


@dataclass(frozen=True, slots=True)
class RecycleFront:
    """Replace the workers one at a time, each new one first."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the configuration again and take over what has changed (`app reload`). Answered by Reloaded."""

    asker: int


@dataclass(frozen=True, slots=True)
class AppGone:
    """Answer to Leave: nothing of this app runs any more, and nothing is remembered of it."""

    app: str


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open all log files anew: they were moved away. Answered by Reopened."""


@dataclass(frozen=True, slots=True)
class AppsStopped:
    """Answer to Ending("apps"): nothing of any app is left."""
