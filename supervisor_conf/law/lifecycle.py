"""THE LAW of an app's life. Pure: events and the time come in, commands come out.

1. A process is a *generation* in a *slot*; each has a row with a state of its own. Nothing but `_move`
   changes it, and only along TRANSITIONS. The app's state is derived from its rows and its holds.
2. An app has as many *places* as processes, and a place has two slots, so that a successor can stand beside
   the one that goes. A slot is started only when no row is in it: never two starts of one slot at once.
   Whatever order things happen in: of two in one place, the older goes as soon as the newer is ready.
3. Nothing starts under a hold (stopped by an administrator, failed too often, offline), nor at the end, nor
   before the pause after a failure is over.
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
from typing import Final, assert_never

from supervisor_conf.control.messages import Report
from supervisor_conf.law import commands, events, journey
from supervisor_conf.law.commands import Command, State
from supervisor_conf.law.events import EndStage, Event, Hold
from supervisor_conf.law.journey import Failure, Journey, StartStep
from supervisor_conf.law.past import STARTS_REMEMBERED, Past
from supervisor_conf.law.rapidfail import RapidFails
from supervisor_conf.law.rows import TRANSITIONS, Cause, Row, Rules
from supervisor_conf.slots import place_of, slots_of

START_ATTEMPTS: Final = 2
"""As ANCM: one bad port or one unlucky moment is forgiven, each attempt with the whole startup time limit."""

SHORTEST_START: Final = 0.25
"""Seconds. A startup time limit of 0 is not «never» and not «for ever», but one look, which ANCM takes then."""

SUSPECT_LIMIT: Final = 1.0
"""Seconds that a generation which refused a connection has to be found listening again (a server may be
replacing its listener). It gets no requests meanwhile."""

KILL_AGAIN: Final = 5.0
"""Seconds between SIGKILL and the next one. The first is enough, unless its message was lost."""


class LawBroken(AssertionError):
    """A move that TRANSITIONS does not know: a mistake in this file."""


@dataclass(slots=True)
class Lifecycle:
    """One app under the law."""

    rules: Rules
    rows: list[Row] = field(default_factory=list)
    holds: set[Hold] = field(default_factory=set)
    ending: EndStage | None = None
    start_seconds: list[float] = field(default_factory=list)
    starts: int = 0
    crashes: int = 0
    recycling: bool = False
    _fails: RapidFails = field(init=False)
    _paused_until: float | None = None  # something is to be started then
    _askers: dict[int, None] = field(default_factory=dict)  # in the order they came
    _wanted_anyway: bool = False
    _published: commands.Publish | None = None
    _out: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fails = RapidFails(self.rules.rapid_fails_per_minute)

    # ---------------------------------------------------------------------------------------------------
    # What can be seen from outside

    def change(self, rules: Rules) -> None:
        """Other rules from now on; what follows from them is done with the next event. What waits for a date keeps
        it."""
        self.rules = rules
        self._fails.limit = rules.rapid_fails_per_minute

    def resume(self, past: Past, now: float) -> None:
        """What the last keeper knew, before anything else is told. What runs is told by Found."""
        self.starts, self.crashes = past.starts, past.crashes
        self.start_seconds = list(past.start_seconds)
        self._fails.restore(past.fails, now)
        if self._fails.is_open(now):
            self.holds.add(Hold.FAILED)

    @property
    def past(self) -> Past:
        return Past(
            self._fails.at,
            tuple(self.start_seconds),
            self.starts,
            self.crashes,
            tuple(row.generation for row in self.rows if row.generation and row.was_ready),
            tuple((row.generation, row.obsolete) for row in self.rows if row.generation and row.obsolete),
        )

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
        dates = [row.due for row in self.rows]
        dates += [self._paused_until, self.breaker_closes_at]
        return min((date for date in dates if date is not None), default=None)

    @property
    def breaker_closes_at(self) -> float | None:
        """None: nothing has tripped."""
        return self._fails.closes_at if Hold.FAILED in self.holds else None

    def fails_within_window(self, now: float) -> int:
        return self._fails.within_window(now)

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
        self._close_breaker(now)
        self._retire_surplus(now)
        self._retire_without_overlap(now)
        self._start_what_is_wanted(now)
        self._end_recycle()
        if self._refusal:
            self._refuse(self._refusal)
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
                self._lifted(hold)
            case events.Recycle():
                self._recycle(event, now)
            case events.Idle():
                self._idle(now)
            case events.Unwell(generation, summary):
                self._unwell(generation, summary, now)
            case events.Well(generation):
                self._well(generation)
            case events.Ending(stage):
                self._end(stage, now)
            case events.TimePassed():
                self._time_passed(now)
            case (
                events.Executed()
                | events.Listening()
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
            self._lifted(Hold.STOPPED)
            self._lifted(Hold.FAILED)
        row = next((row for row in self.rows if row.slot == event.slot and row.generation == 0), None)
        if row is None:
            row = self._new_row(event.slot, now, attempt=1)
        row.generation, row.pid = event.generation, event.pid
        row.journey = replace(row.journey, address=event.address)
        row.journey = row.journey.reach(StartStep.SPAWNED, now, f"pid {event.pid}")
        if row.state is State.STOPPING:
            hurry = row.failure is not None or self.rules.shutdown_time_limit <= 0
            self._signal(row, signal.SIGKILL if hurry else signal.SIGTERM)
        elif not self._may_run:
            self._stop(row, now)
        else:
            self._out.append(commands.Probe(row.generation))

    def _found(self, event: events.Found, now: float) -> None:
        row = self._new_row(event.slot, now, START_ATTEMPTS, Cause.FOUND)
        row.generation, row.pid, row.was_ready = event.generation, event.pid, event.was_ready
        row.obsolete = event.obsolete
        self.recycling = self.recycling or bool(event.obsolete)
        row.journey = replace(row.journey, address=event.address).reach(
            StartStep.SPAWNED, now, "found running"
        )
        if self._must_stop:
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
        event: events.Executed
        | events.Listening
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
            case events.Executed(), State.STARTING:
                row.journey = row.journey.reach(StartStep.EXEC, now)
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
        if row.ready_at is None:
            row.ready_at = now
            self._count_start(row, now)
        row.was_ready = True
        self._move(row, Cause.ANSWERED, now)
        if row.guarded is None:
            self._out.append(commands.AskGuard(row.generation))
        self._settle_place(row.place, now)
        self._release()

    def _count_start(self, row: Row, now: float) -> None:
        if not row.was_ready:
            self.starts += 1
            self.start_seconds = [*self.start_seconds, row.journey.seconds(now)][-STARTS_REMEMBERED:]

    def _settle_place(self, place: int, now: float) -> None:
        """Of two in one place the older goes as soon as the newer is ready."""
        here = [row for row in self.rows if row.place == place and row.generation]
        newest = max(row.generation for row in here if row.state is State.READY)
        for row in here:
            if row.generation < newest and row.state in (State.STARTING, State.READY):
                self._stop(row, now, Cause.RECYCLED)
        if len(here) > 1:
            ready = next(row for row in here if row.generation == newest)
            self._out.append(commands.Promote(ready.slot, ready.generation))

    def _exited(self, event: events.Exited, now: float) -> None:
        row = self.row(event.generation)
        if row is None:
            return
        was = row.state
        self._move(row, Cause.EXITED, now)
        self._out.append(commands.Sweep(row.generation))
        # An administrator's stop is no failure. What it holds was told before, by Held: where it was not, somebody has
        # started the app again since, while there was no keeper.
        if row.failure is None and not event.administrative and was in (State.STARTING, State.READY):
            row.failure = (
                journey.crashed(event.status)
                if row.was_ready
                else journey.ended_early(row.journey, event.status, event.left_behind)
            )
        if row.failure is None:
            return
        told = self._report(row, now, status=event.status, last_output=event.last_output)
        if row.was_ready and row.failure.step is None:
            self._crashed(told, now)
        else:
            self._start_failed(row, now, told)

    def _held(self, event: events.Held, now: float) -> None:
        """`supervisorctl stop` means at once: what supervisord does not signal itself is signalled from here."""
        self._hold(event.hold, now)
        for row in list(self.rows):
            if not event.already_signalled:
                self._stop(row, now)
            elif event.slot in (None, row.slot):
                self._leave_to_supervisord(row, now)
            elif row.state is not State.STOPPING:
                self._move(row, Cause.SUPERVISORCTL, now)
                row.start_due = None
                self._begin_stop(row, now)

    def _lifted(self, hold: Hold) -> None:
        self.holds.discard(hold)
        if hold is Hold.FAILED:
            self._fails.reset()
        if self.rules.eager and self._may_start and not any(not row.leaves for row in self.rows):
            self._wanted_anyway = True

    def _close_breaker(self, now: float) -> None:
        if Hold.FAILED in self.holds and not self._fails.is_open(now):
            self.holds.discard(Hold.FAILED)
            self._wanted_anyway = self._wanted_anyway or (self.rules.eager and self._may_start)

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

    @property
    def _may_run(self) -> bool:
        """A tripped rapid-fail stops nothing that was started before."""
        return not self.holds - {Hold.FAILED} and self.ending is None

    @property
    def _must_stop(self) -> bool:
        return bool(self.holds - {Hold.FAILED}) or self.ending is EndStage.APPS

    def _start_what_is_wanted(self, now: float) -> None:
        self._paused_until = None
        slots = self._slots_to_start() if self._may_start else ()
        if slots and now < self._fails.pause_until:
            self._paused_until = self._fails.pause_until
            return
        for slot in slots:
            self._start(slot, now, attempt=1)
        if any(row.state is State.STARTING for row in self.rows):
            self._wanted_anyway = False

    def _slots_to_start(self) -> tuple[int, ...]:
        """A slot for each empty place if the app is to run; else one for the next successor."""
        ready = any(row.state is State.READY for row in self.rows)
        empty = [place for place in range(self.rules.processes) if self._is_empty(place)]
        if empty and (ready or self._askers or self._wanted_anyway):
            slots = [self._free_slot(place) for place in empty]
        else:
            old = self._next_obsolete() if self.rules.overlap else None
            slots = [] if old is None else [self._free_slot(old.place)]
        return tuple(slot for slot in slots if slot is not None)

    def _is_empty(self, place: int) -> bool:
        """Nobody in it who stays; where two must not run side by side, nobody at all."""
        return all(row.leaves and self.rules.overlap for row in self.rows if row.place == place)

    def _free_slot(self, place: int) -> int | None:
        taken = {row.slot for row in self.rows}
        slots = slots_of(place) if self.rules.overlap else slots_of(place)[:1]
        return next((slot for slot in slots if slot not in taken), None)

    def _start(self, slot: int, now: float, attempt: int) -> None:
        if any(row.slot == slot for row in self.rows):
            raise LawBroken(f"slot {slot} of {self.rules.app} was to be started while it is in use")
        self._new_row(slot, now, attempt)
        self._out.append(commands.Spawn(slot))

    def _new_row(self, slot: int, now: float, attempt: int, because: Cause = Cause.WANTED) -> Row:
        limit = max(self.rules.startup_time_limit, SHORTEST_START)
        row = Row(slot, place_of(slot), Journey(self.rules.app, now, attempt), start_due=now + limit)
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
            and not self._is_surplus(row)
            and (self.rules.overlap or self._is_empty(row.place))
            and bool(self._askers or self.rules.eager or self.recycling or self.state is State.READY)
        )
        self._out.append(commands.Record(told, crash=False, again=again))
        if again:
            self._start(row.slot, now, row.journey.attempt + 1)
            return
        self._count_failure(now)
        if self.state not in (State.READY, State.STARTING):
            self._refuse(row.failure.why, told)
        self._give_up_recycle(told)
        if self.rules.eager and self._may_start:
            self._wanted_anyway = True

    def _crashed(self, told: Report, now: float) -> None:
        self._out.append(commands.Record(told, crash=True))
        self.crashes += 1
        self._count_failure(now)
        if self.rules.eager and self._may_start:
            self._wanted_anyway = True

    def _count_failure(self, now: float) -> None:
        self._fails.failed(now)
        if self._fails.is_open(now):
            self.holds.add(Hold.FAILED)
            self._wanted_anyway = False

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
    # Recycling: whoever is obsolete is replaced, one at a time, the new one first

    def _recycle(self, event: events.Recycle, now: float) -> None:
        for row in list(self.rows):
            named = not event.generations or row.generation in event.generations
            if named and row.generation and row.state in (State.STARTING, State.READY):
                row.obsolete = row.obsolete or event.why
                self.recycling = True
                if event.useless:
                    self._wanted_anyway = self._may_start
                    self._stop(row, now)

    def _next_obsolete(self) -> Row | None:
        """The row that is replaced next: when nothing is being started, and nobody has a second one beside it."""
        crowded = len({row.place for row in self.rows}) < len(self.rows)
        if crowded or any(row.state is State.STARTING for row in self.rows):
            return None
        return next(
            (
                row
                for row in self.rows
                if row.obsolete and row.state is State.READY and not self._is_surplus(row)
            ),
            None,
        )

    def _is_surplus(self, row: Row) -> bool:
        """`processes` was more when it was started: its place is there no more."""
        return row.place >= self.rules.processes

    def _retire_surplus(self, now: float) -> None:
        """They go when somebody who stays is ready: until then they are better than nobody."""
        if any(row.state is State.READY and not self._is_surplus(row) for row in self.rows):
            for row in [row for row in self.rows if self._is_surplus(row)]:
                self._stop(row, now)

    def _retire_without_overlap(self, now: float) -> None:
        """`overlap = false`: the old one goes first, and requests wait."""
        complete = len(self.rows) == self.rules.processes
        if self.rules.overlap or not self._may_start or not complete or now < self._fails.pause_until:
            return
        old = self._next_obsolete()
        if old is not None:
            self._stop(old, now, Cause.RECYCLED)
            self._wanted_anyway = True

    def _give_up_recycle(self, told: Report | None, why: str = "start-failed") -> None:
        """What runs stays as it is."""
        if self.recycling:
            self.recycling = False
            for row in self.rows:
                row.obsolete = ""
            self._out.append(commands.RecycleEnded(why, told))

    def _end_recycle(self) -> None:
        if not self.recycling:
            return
        old = [row for row in self.rows if row.obsolete and row.state in (State.STARTING, State.READY)]
        if not self._may_run:
            self._give_up_recycle(None, self._refusal or "ending")
        elif not old and (self.state is State.READY or not (self.rows or self._wanted_anyway)):
            self.recycling = False
            self._out.append(commands.RecycleEnded("", None))

    def _idle(self, now: float) -> None:
        if all(row.state is State.READY or row.leaves for row in self.rows) and not self._askers:
            for row in list(self.rows):
                self._stop(row, now)

    def _unwell(self, generation: int, summary: str, now: float) -> None:
        """It is to be replaced; meanwhile others of the app are preferred to it."""
        row = self.row(generation)
        if row is None or row.state is not State.READY or row.obsolete:
            return
        row.healthy = False
        row.obsolete = row.obsolete or "unwell"
        self.recycling = True
        failure = journey.unwell(summary)
        told = journey.report(row.journey, failure, now, generation=row.generation, pid=row.pid)
        self._out.append(commands.Ailing(told))

    def _well(self, generation: int) -> None:
        row = self.row(generation)
        if row is not None:
            row.healthy = True

    # ---------------------------------------------------------------------------------------------------
    # Stopping: drained, shutdown message, SIGTERM, SIGKILL

    def _hold(self, hold: Hold, now: float) -> None:
        self.holds.add(hold)
        self._wanted_anyway = False
        self._refuse(self._refusal)

    def _stop(self, row: Row, now: float, cause: Cause = Cause.STOP) -> None:
        match row.state:
            case State.READY:
                self._drain(row, cause, now)
            case State.STARTING if row.was_ready:
                row.start_due = None
                self._drain(row, Cause.STOP_AFTER_USE, now)
            case State.STARTING:
                row.start_due = None
                self._move(row, Cause.STOP, now)
                self._begin_stop(row, now)
            case _:
                pass  # it is on its way out

    def _drain(self, row: Row, cause: Cause, now: float) -> None:
        self._move(row, cause, now)
        row.drain_due = now + self.rules.drain_limit
        self._out.append(commands.Drain(row.generation))

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
            commands.Route(row.generation, bool(row.guarded), row.healthy)
            for row in self.rows
            if row.state is State.READY
        )
        view = commands.Publish(self.state, routes, self._refusal)
        if view != self._published:
            self._published = view
            self._out.append(view)

    @property
    def _refusal(self) -> str:
        """Why whoever asks now is refused; "" if not."""
        for hold in (Hold.OFFLINE, Hold.STOPPED):
            if hold in self.holds:
                return hold
        if Hold.FAILED in self.holds and self.state not in (State.READY, State.STARTING):
            return Hold.FAILED
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
