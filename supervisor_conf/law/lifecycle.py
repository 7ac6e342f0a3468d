"""THE LAW of an app's life. Pure: events and the time come in, commands come out.

1. A process is a *generation* in a *slot*; each has a row with a state of its own. Nothing but `_move`
   changes it, and only along TRANSITIONS. The app's state is derived from its rows and its holds.
2. A slot is started only when no row is in it: never two starts of one slot at once.
3. Nothing starts under a hold (stopped by an administrator, failed too often, offline), nor at the end.
4. Whoever asks is released or refused exactly once.
5. A route is published only for a generation whose listener was seen to be ours, and is withdrawn before
   anything else is done to that generation.
6. Every stop has a date by which SIGKILL is sent, and sent again.

`now` is monotonic. `due` is when TimePassed must be brought, and it may be brought too early or too often.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, assert_never

from supervisor_conf.control.messages import Report
from supervisor_conf.law import commands, events, journey
from supervisor_conf.law.commands import Command, State
from supervisor_conf.law.events import EndStage, Event, Hold
from supervisor_conf.law.journey import Failure, Journey, StartStep

START_ATTEMPTS: Final = 2
"""As ANCM: one bad port or one unlucky moment is forgiven, each attempt with the whole startup time limit."""

SHORTEST_START: Final = 0.25
"""Seconds. A startup time limit of 0 is not «never» and not «for ever», but one look, which ANCM takes then."""

SUSPECT_LIMIT: Final = 1.0
"""Seconds that a generation which refused a connection has to be found listening again (a server may be
replacing its listener). It gets no requests meanwhile."""

KILL_AGAIN: Final = 5.0
"""Seconds between SIGKILL and the next one. The first is enough, unless its message was lost."""


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
    SUPERVISORCTL = "supervisorctl stop"


TRANSITIONS: Final = {
    (State.STARTING, Cause.SPAWN_FAILED): State.STOPPED,
    (State.STARTING, Cause.ANSWERED): State.READY,
    (State.STARTING, Cause.START_FAILED): State.STOPPING,
    (State.STARTING, Cause.TIME): State.STOPPING,
    (State.STARTING, Cause.EXITED): State.STOPPED,
    (State.STARTING, Cause.STOP): State.STOPPING,
    (State.STARTING, Cause.SUPERVISORCTL): State.STOPPING,
    (State.READY, Cause.SUSPECTED): State.STARTING,
    (State.READY, Cause.EXITED): State.STOPPED,
    (State.READY, Cause.STOP): State.DRAINING,
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


class LawBroken(AssertionError):
    """A move that TRANSITIONS does not know: a mistake in this file."""


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


@dataclass(slots=True)
class Row:
    """One generation. Only Lifecycle writes it."""

    slot: int
    journey: Journey
    state: State = State.STARTING
    generation: int = 0  # 0 until it is spawned
    pid: int = 0
    guarded: bool | None = None
    was_ready: bool = False
    ours: bool = False  # its listener was seen to be a process of this generation, and no doubt arose since
    failure: Failure | None = None
    start_due: float | None = None
    drain_due: float | None = None
    term_due: float | None = None
    kill_due: float | None = None
    ready_at: float | None = None

    @property
    def due(self) -> float | None:
        dates = (self.start_due, self.drain_due, self.term_due, self.kill_due)
        return min((date for date in dates if date is not None), default=None)


@dataclass(slots=True)
class Lifecycle:
    """One app under the law."""

    rules: Rules
    rows: list[Row] = field(default_factory=list)
    holds: set[Hold] = field(default_factory=set)
    ending: EndStage | None = None
    _askers: dict[int, None] = field(default_factory=dict)  # in the order they came
    _wanted_anyway: bool = False
    _published: commands.Publish | None = None
    _out: list[Command] = field(default_factory=list)

    # ---------------------------------------------------------------------------------------------------
    # What can be seen from outside

    @property
    def state(self) -> State:
        states = {row.state for row in self.rows}
        for live in (State.READY, State.STARTING, State.DRAINING, State.STOPPING):
            if live in states:
                return live
        if Hold.OFFLINE in self.holds:
            return State.OFFLINE
        return State.FAILED if Hold.FAILED in self.holds else State.STOPPED

    @property
    def due(self) -> float | None:
        return min((row.due for row in self.rows if row.due is not None), default=None)

    @property
    def waiting(self) -> int:
        return len(self._askers)

    def row(self, generation: int) -> Row | None:
        return next((row for row in self.rows if row.generation == generation > 0), None)

    def starting_due(self, now: float) -> tuple[int, ...]:
        """Generations whose start is about to be given up: the moment to look where they listen instead."""
        return tuple(
            row.generation
            for row in self.rows
            if row.generation and row.start_due is not None and row.start_due <= now
        )

    def handle(self, event: Event, now: float) -> tuple[Command, ...]:
        """What to do about `event`, in order. An event about a generation that is gone changes nothing."""
        self._out = []
        self._react(event, now)
        self._start_what_is_wanted(now)
        self._publish()
        return tuple(self._out)

    # ---------------------------------------------------------------------------------------------------
    # Events

    def _react(self, event: Event, now: float) -> None:
        match event:
            case events.Wanted(asker):
                self._wanted(asker)
            case events.WantedAlways():
                self._wanted_anyway = self._may_start and not self.rows
            case events.AskerGone(asker):
                self._askers.pop(asker, None)
            case events.Spawned():
                self._spawned(event, now)
            case events.Found():
                self._found(event, now)
            case events.SpawnFailed():
                self._spawn_failed(event, now)
            case events.Exited():
                self._exited(event, now)
            case events.Held():
                self._held(event, now)
            case events.Lifted(hold):
                self.holds.discard(hold)
            case events.Ending(stage):
                self._end(stage, now)
            case events.TimePassed():
                self._time_passed(now)
            case (
                events.Listening()
                | events.Ours()
                | events.Foreign()
                | events.Noticed()
                | events.Answered()
                | events.GuardSeen()
                | events.Suspected()
                | events.Drained()
                | events.ShutdownAnswered()
            ):
                row = self.row(event.generation)
                if row is not None:
                    self._seen(row, event, now)
            case _:
                assert_never(event)

    def _wanted(self, asker: int) -> None:
        if self._refusal:
            self._out.append(commands.Refuse((asker,), self._refusal))
        elif self.state is State.READY:
            self._out.append(commands.Release((asker,)))
        else:
            self._askers[asker] = None

    def _spawned(self, event: events.Spawned, now: float) -> None:
        if not event.asked:
            # `supervisorctl start` is an administrator's word: it lifts what an administrator's stop, or a
            # tripped rapid-fail, had put there.
            self.holds -= {Hold.STOPPED, Hold.FAILED}
        row = next((row for row in self.rows if row.slot == event.slot and row.generation == 0), None)
        if row is None:
            row = self._new_row(event.slot, now, attempt=1)
        row.generation, row.pid = event.generation, event.pid
        row.journey = replace(row.journey, address=event.address)
        row.journey = row.journey.reach(StartStep.SPAWNED, now, f"pid {event.pid}")
        if row.state is State.STOPPING:
            hurry = row.failure is not None or self.rules.shutdown_time_limit <= 0
            self._signal(row, signal.SIGKILL if hurry else signal.SIGTERM)
        elif not self._may_start:
            self._stop(row, now)
        else:
            self._out.append(commands.Probe(row.generation))

    def _found(self, event: events.Found, now: float) -> None:
        row = self._new_row(event.slot, now, START_ATTEMPTS, Cause.FOUND)
        row.generation, row.pid, row.was_ready = event.generation, event.pid, True
        row.journey = replace(row.journey, address=event.address).reach(
            StartStep.SPAWNED, now, "found running"
        )
        if self.holds or self.ending is EndStage.APPS:
            self._stop(row, now)
        else:
            self._out.append(commands.Probe(row.generation))

    def _spawn_failed(self, event: events.SpawnFailed, now: float) -> None:
        row = next((row for row in self.rows if row.slot == event.slot and row.generation == 0), None)
        if row is not None:
            wanted = row.state is State.STARTING or row.failure is not None
            row.failure = journey.not_spawned(event.sentence)
            self._move(row, Cause.SPAWN_FAILED, now)
            if wanted:
                self._start_failed(row, now)

    def _seen(
        self,
        row: Row,
        event: events.Listening
        | events.Ours
        | events.Foreign
        | events.Noticed
        | events.Answered
        | events.GuardSeen
        | events.Suspected
        | events.Drained
        | events.ShutdownAnswered,
        now: float,
    ) -> None:
        match event, row.state:
            case events.Listening(), State.STARTING:
                row.journey = row.journey.reach(StartStep.LISTENING, now)
            case events.Ours(note=note), State.STARTING:
                row.ours = True
                row.journey = row.journey.reach(StartStep.OURS, now, note)
            case events.Noticed(elsewhere=elsewhere, note=note), State.STARTING:
                row.journey = replace(row.journey, elsewhere=elsewhere, noticed=note or row.journey.noticed)
            case events.Foreign(holder=holder), State.STARTING:
                self._give_up_start(
                    row, Cause.START_FAILED, journey.foreign_listener(row.journey, holder), now
                )
            case events.Answered(guarded=guarded), State.STARTING if row.ours:
                self._answered(row, guarded, now)
            case events.GuardSeen(guarded=guarded), _:
                row.guarded = guarded
            case events.Suspected(), State.READY:
                row.ours = False
                self._move(row, Cause.SUSPECTED, now)
                row.start_due = now + SUSPECT_LIMIT
                self._out.append(commands.Probe(row.generation))
            case events.Drained(), State.DRAINING:
                self._move(row, Cause.DRAINED, now)
                self._begin_stop(row, now)
            case events.ShutdownAnswered(accepted=False), State.STOPPING if row.term_due is not None:
                row.term_due = None
                self._signal(row, signal.SIGTERM)
            case _:
                pass  # too late: the row has moved on

    def _answered(self, row: Row, guarded: bool | None, now: float) -> None:
        row.guarded = guarded if guarded is not None else row.guarded
        if self.rules.require_pairing and not row.guarded:
            self._give_up_start(row, Cause.START_FAILED, journey.unguarded(), now)
            return
        row.journey = row.journey.reach(StartStep.READY, now)
        row.start_due = None
        row.was_ready = True
        row.ready_at = now if row.ready_at is None else row.ready_at
        self._move(row, Cause.ANSWERED, now)
        if row.guarded is None:
            self._out.append(commands.AskGuard(row.generation))
        self._release()

    def _exited(self, event: events.Exited, now: float) -> None:
        row = self.row(event.generation)
        if row is None:
            return
        was = row.state
        self._move(row, Cause.EXITED, now)
        self._out.append(commands.Sweep(row.generation))
        if event.administrative and was in (State.STARTING, State.READY):
            self._hold(Hold.STOPPED, now)
        elif row.failure is None and was in (State.STARTING, State.READY):
            row.failure = (
                journey.crashed(event.status)
                if row.was_ready
                else journey.ended_early(row.journey, event.status, event.left_behind)
            )
        if row.failure is None:
            return
        told = self._report(row, now, status=event.status, last_output=event.last_output)
        if row.was_ready and row.failure.step is None:
            self._crashed(told)
        else:
            self._start_failed(row, now, told)

    def _held(self, event: events.Held, now: float) -> None:
        self._hold(event.hold, now)
        for row in list(self.rows):
            if event.already_signalled:
                self._leave_to_supervisord(row, now)
            else:
                self._stop(row, now)

    def _end(self, stage: EndStage, now: float) -> None:
        self.ending = stage
        self._wanted_anyway = False
        self._refuse("ending")
        if stage is EndStage.APPS:
            for row in list(self.rows):
                self._stop(row, now)

    def _time_passed(self, now: float) -> None:
        for row in list(self.rows):
            if row.start_due is not None and row.start_due <= now:
                self._start_took_too_long(row, now)
            elif row.drain_due is not None and row.drain_due <= now:
                self._move(row, Cause.TIME, now)
                self._begin_stop(row, now)
            elif row.kill_due is not None and row.kill_due <= now:
                if row.generation:
                    self._kill(row, now)
                else:
                    self._supervisord_is_mute(row, now)
            elif row.term_due is not None and row.term_due <= now:
                row.term_due = None
                self._signal(row, signal.SIGTERM)

    # ---------------------------------------------------------------------------------------------------
    # Starting

    @property
    def _may_start(self) -> bool:
        return not self.holds and self.ending is None

    def _start_what_is_wanted(self, now: float) -> None:
        if not self._may_start or not (self._askers or self._wanted_anyway):
            return
        taken = {row.slot for row in self.rows}
        for slot in range(self.rules.processes):
            if slot not in taken:
                self._start(slot, now, attempt=1)
        if not taken:
            self._wanted_anyway = False

    def _start(self, slot: int, now: float, attempt: int) -> None:
        if any(row.slot == slot for row in self.rows):
            raise LawBroken(f"slot {slot} of {self.rules.app} was to be started while it is in use")
        self._new_row(slot, now, attempt)
        self._out.append(commands.Spawn(slot))

    def _new_row(self, slot: int, now: float, attempt: int, because: Cause = Cause.WANTED) -> Row:
        limit = max(self.rules.startup_time_limit, SHORTEST_START)
        row = Row(slot, Journey(self.rules.app, now, attempt), start_due=now + limit)
        self.rows.append(row)
        self._out.append(commands.Moved(slot, 0, State.STOPPED, State.STARTING, because, 0.0))
        self._publish()
        return row

    def _start_took_too_long(self, row: Row, now: float) -> None:
        if row.journey.has(StartStep.READY):
            failure = journey.deaf()
        else:
            failure = journey.timed_out(row.journey, self.rules.startup_time_limit)
        self._give_up_start(row, Cause.TIME, failure, now)

    def _give_up_start(self, row: Row, cause: Cause, failure: Failure, now: float) -> None:
        """Kill it; the report is made when it is gone, with its exit and its last lines."""
        row.failure = failure
        row.start_due = None
        self._move(row, cause, now)
        self._kill(row, now)

    def _start_failed(self, row: Row, now: float, told: Report | None = None) -> None:
        assert row.failure is not None
        told = told or self._report(row, now)
        again = (
            not row.failure.final
            and row.journey.attempt < START_ATTEMPTS
            and self._may_start
            and bool(self._askers or self.rules.eager)
        )
        self._out.append(commands.Record(told, crash=False, again=again))
        if again:
            self._start(row.slot, now, row.journey.attempt + 1)
        else:
            self._refuse(row.failure.why, told)

    def _crashed(self, told: Report) -> None:
        self._out.append(commands.Record(told, crash=True))
        self._wanted_anyway = self.rules.eager and self._may_start

    def _report(self, row: Row, now: float, *, status: int | None = None, last_output: str = "") -> Report:
        assert row.failure is not None
        return journey.report(
            row.journey,
            row.failure,
            now,
            generation=row.generation,
            pid=row.pid,
            status=status,
            last_output=last_output,
        )

    # ---------------------------------------------------------------------------------------------------
    # Stopping: drained, shutdown message, SIGTERM, SIGKILL

    def _hold(self, hold: Hold, now: float) -> None:
        self.holds.add(hold)
        self._wanted_anyway = False
        self._refuse(self._refusal)

    def _stop(self, row: Row, now: float) -> None:
        match row.state:
            case State.READY:
                self._move(row, Cause.STOP, now)
                row.drain_due = now + self.rules.drain_limit
                self._out.append(commands.Drain(row.generation))
            case State.STARTING:
                row.start_due = None
                self._move(row, Cause.STOP, now)
                self._begin_stop(row, now)
            case _:
                pass  # it is on its way out

    def _begin_stop(self, row: Row, now: float) -> None:
        row.drain_due = None
        limit = self.rules.shutdown_time_limit
        row.kill_due = now + limit
        if limit <= 0:
            self._kill(row, now)
        elif row.guarded and row.generation:
            row.term_due = now + limit / 2
            self._out.append(commands.SendShutdown(row.generation, limit))
        else:
            self._signal(row, signal.SIGTERM)

    def _leave_to_supervisord(self, row: Row, now: float) -> None:
        if row.state is not State.STOPPING:
            row.start_due = row.drain_due = None
            self._move(row, Cause.SUPERVISORCTL, now)
            row.kill_due = now + self.rules.shutdown_time_limit

    def _kill(self, row: Row, now: float) -> None:
        row.term_due = None
        row.kill_due = now + KILL_AGAIN
        self._signal(row, signal.SIGKILL)

    def _supervisord_is_mute(self, row: Row, now: float) -> None:
        """It never said what became of a start. Nobody waits for it any longer, but its slot stays taken."""
        row.failure = row.failure or journey.never_spawned(self.rules.startup_time_limit)
        row.kill_due = now + KILL_AGAIN
        if self.ending is EndStage.APPS:
            self._move(row, Cause.TIME, now)
        if self._askers:
            told = self._report(row, now)
            self._out.append(commands.Record(told, crash=False))
            self._refuse(row.failure.why, told)

    def _signal(self, row: Row, number: signal.Signals) -> None:
        if row.generation:
            self._out.append(commands.Signal(row.slot, row.generation, number))

    # ---------------------------------------------------------------------------------------------------
    # The two doors: states, and what workers are told

    def _move(self, row: Row, cause: Cause, now: float) -> None:
        was = row.state
        target = TRANSITIONS.get((was, cause))
        if target is None:
            raise LawBroken(f"{self.rules.app}: {was} does not move because of «{cause}»")
        row.state = target
        if target is State.STOPPED:
            self.rows.remove(row)
        seconds = row.journey.seconds(now)
        failed = row.failure is not None
        self._out.append(commands.Moved(row.slot, row.generation, was, target, cause, seconds, failed))
        self._publish()

    def _publish(self) -> None:
        routes = tuple(
            commands.Route(row.generation, bool(row.guarded)) for row in self.rows if row.state is State.READY
        )
        view = commands.Publish(self.state, routes, self._refusal)
        if view != self._published:
            self._published = view
            self._out.append(view)

    @property
    def _refusal(self) -> str:
        """Why whoever asks now is refused; "" if not."""
        for hold in (Hold.OFFLINE, Hold.STOPPED, Hold.FAILED):
            if hold in self.holds:
                return hold
        return "ending" if self.ending is not None and self.state is not State.READY else ""

    def _release(self) -> None:
        self._empty_queue(commands.Release)

    def _refuse(self, why: str, told: Report | None = None) -> None:
        self._empty_queue(lambda askers: commands.Refuse(askers, why, told))

    def _empty_queue(self, answer: Callable[[tuple[int, ...]], Command]) -> None:
        askers = tuple(self._askers)
        self._askers.clear()
        if askers:
            self._out.append(answer(askers))
