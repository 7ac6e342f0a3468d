"""The law's properties hold for any sequence of events, with a supervisord that may be slow or refuse, and a keeper
that may be killed between any two of them."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from supervisor_conf.law import commands, events
from supervisor_conf.law.commands import State
from supervisor_conf.law.events import EndStage, Hold
from supervisor_conf.law.lifecycle import Lifecycle
from supervisor_conf.law.past import read_past
from supervisor_conf.law.rows import Cause, Rules
from supervisor_conf.slots import place_of, slots_of
from tests.kit.examples import one_in


class LifecycleMachine(RuleBasedStateMachine):
    """Plays supervisord, the probes, the workers and the operators around one Lifecycle."""

    running = Bundle("running")  # generations that were spawned (they may have exited since)

    @initialize(
        processes=st.integers(1, 3),
        eager=st.booleans(),
        require_pairing=st.booleans(),
        shutdown_time_limit=st.sampled_from([0.0, 10.0]),
        overlap=st.booleans(),
        rapid_fails_per_minute=st.sampled_from([0, 1, 3, 10]),
    )
    def begin(self, processes: int, **rules: Any) -> None:
        self.rules = Rules("shop", processes=processes, **rules)
        self.processes = processes
        self.law = Lifecycle(self.rules)
        self.now = 0.0
        self.next_generation = 1
        self.next_asker = 1
        self.waiting: set[int] = set()
        self.starting: set[int] = set()  # slots that supervisord was asked to start and has not answered for
        self.alive: dict[int, int] = {}  # generation -> slot
        self.ours: set[int] = set()
        self.killed: set[int] = set()
        self.routes: tuple[int, ...] = ()
        self.refusal = ""
        self.held: set[Hold] = set()
        self.ending: EndStage | None = None
        self.failures: list[float] = []

    @property
    def may_start(self) -> bool:
        """What the law may do, judged by what it was told and by the failures it has reported."""
        lately = [moment for moment in self.failures if moment > self.now - 60.0]
        return not self.held and self.ending is None and len(lately) <= self.rules.rapid_fails_per_minute

    # ---- the one door to the law: every command is judged here

    def tell(self, event: events.Event) -> None:
        for command in self.law.handle(event, self.now):
            match command:
                case commands.Spawn(slot):
                    assert self.may_start, f"started under {self.law.holds}, {self.law.ending}"
                    assert slot not in self.starting, "two starts of one slot at once"
                    assert slot not in self.alive.values(), "a slot was started while its process lives"
                    assert 0 <= place_of(slot) < self.processes
                    if not self.rules.overlap:
                        beside = {place_of(one) for one in (*self.alive.values(), *self.starting)}
                        assert place_of(slot) not in beside, "two at once where one must be alone"
                    self.starting.add(slot)
                case commands.Release(askers):
                    assert self.routes, "released without a route"
                    self.settle(askers)
                case commands.Refuse(askers, why):
                    assert why
                    self.settle(askers)
                case commands.Record(crash=crash, again=again):
                    if crash or not again:
                        self.failures.append(self.now)
                case commands.Moved(slot, generation, because=Cause.RECYCLED) if self.rules.overlap:
                    better = [row.generation for row in self.law.rows if row.place == place_of(slot)]
                    assert max(better) > generation, "withdrawn before its successor was there"
                case commands.Promote(slot, generation):
                    assert self.alive[generation] == slot
                case commands.RecycleEnded():
                    assert not self.law.recycling
                case commands.Publish(routes=routes, refusal=refusal):
                    self.refusal = refusal
                    self.routes = tuple(route.generation for route in routes)
                    assert set(self.routes) <= self.ours, "a route to a listener that was not seen to be ours"
                    assert set(self.routes) <= set(self.alive), "a route to a process that has exited"
                case commands.Signal(slot, generation, number):
                    assert self.alive.get(generation) == slot, "a signal to a process that is gone"
                    assert generation not in self.routes, "a signal to a process that has a route"
                    if number == signal.SIGKILL:
                        self.killed.add(generation)
                case commands.SendShutdown(generation):
                    assert generation in self.alive
                    assert generation not in self.routes
                case commands.Probe(generation) | commands.AskGuard(generation) | commands.Drain(generation):
                    assert generation in self.alive
                case _:
                    pass
        assert not (self.refusal and self.routes), "refused though something could serve"

    def settle(self, askers: tuple[int, ...]) -> None:
        for asker in askers:
            assert asker in self.waiting, "somebody was answered who does not wait (any more)"
            self.waiting.discard(asker)

    def exit(self, generation: int, status: int, administrative: bool = False) -> None:
        del self.alive[generation]
        self.ours.discard(generation)
        self.tell(events.Exited(generation, status, "last words", administrative))

    # ---- workers and operators

    @rule()
    def ask(self) -> None:
        asker, self.next_asker = self.next_asker, self.next_asker + 1
        self.waiting.add(asker)
        self.tell(events.Wanted(asker))

    @rule(data=st.data())
    def ask_again_or_leave(self, data: st.DataObject) -> None:
        if self.waiting:
            asker = data.draw(st.sampled_from(sorted(self.waiting)))
            if data.draw(st.booleans()):
                self.tell(events.Wanted(asker))
            else:
                self.waiting.discard(asker)
                self.tell(events.AskerGone(asker))

    @rule()
    def want_always(self) -> None:
        self.tell(events.WantedAlways())

    @rule(hold=st.sampled_from([Hold.STOPPED, Hold.OFFLINE]))
    def hold(self, hold: Hold) -> None:
        self.held.add(hold)
        self.tell(events.Held(hold))

    @rule(data=st.data())
    def supervisorctl_stop(self, data: st.DataObject) -> None:
        self.held.add(Hold.STOPPED)
        slot = data.draw(st.sampled_from([None, *sorted(self.alive.values())]))
        self.tell(events.Held(Hold.STOPPED, already_signalled=True, slot=slot))

    @rule(hold=st.sampled_from(Hold))
    def lift(self, hold: Hold) -> None:
        self.held.discard(hold)
        if hold is Hold.FAILED:
            self.failures.clear()
        self.tell(events.Lifted(hold))

    @precondition(lambda self: self.ending is None)
    @rule(stage=st.sampled_from(EndStage))
    def end(self, stage: EndStage) -> None:
        self.ending = stage
        self.tell(events.Ending(stage))

    @rule(data=st.data())
    def recycle(self, data: st.DataObject) -> None:
        some = data.draw(st.sets(st.sampled_from(sorted(self.alive)))) if self.alive else set()
        self.tell(events.Recycle("app recycle", tuple(sorted(some))))

    @rule(data=st.data())
    def recycle_what_nobody_can_use(self, data: st.DataObject) -> None:
        useless = data.draw(st.sets(st.sampled_from(sorted(self.alive)), min_size=1)) if self.alive else set()
        if useless:
            self.tell(events.Recycle("another path", tuple(sorted(useless)), useless=True))
            assert not useless & set(self.routes)

    @rule(
        processes=st.integers(1, 3),
        overlap=st.booleans(),
        eager=st.booleans(),
        rapid_fails_per_minute=st.sampled_from([0, 1, 3, 10]),
    )
    def other_rules(self, processes: int, **rules: Any) -> None:
        """A reload: as the keeper does, failures are forgotten."""
        self.processes = processes
        self.rules = dataclasses.replace(self.rules, processes=processes, **rules)
        self.law.change(self.rules)
        self.lift(Hold.FAILED)

    @rule()
    def idle(self) -> None:
        self.tell(events.Idle())

    # ---- the keeper

    @rule(target=running, data=st.data())
    def keeper_dies(self, data: st.DataObject) -> object:
        """Whatever it had asked for is done or not; the next one is told what runs."""
        past = read_past(self.law.past.to_text())
        forked = [self.fork(slot) for slot in sorted(self.starting) if data.draw(st.booleans())]
        self.starting.clear()
        self.waiting.clear()  # workers ask again
        self.ours.clear()
        self.routes = ()
        self.law = Lifecycle(self.rules)
        self.law.resume(past, self.now)
        for hold in sorted(self.held):
            self.tell(events.Held(hold))
        if self.ending is not None:
            self.tell(events.Ending(self.ending))
        for generation, slot in sorted(self.alive.items()):
            known = generation in past.ready, past.why_obsolete(generation)
            self.tell(events.Found(slot, generation, 1000 + generation, "127.0.0.1:2", *known))
        return multiple(*forked)

    # ---- supervisord

    @precondition(lambda self: self.starting)
    @rule(target=running, data=st.data())
    def spawned(self, data: st.DataObject) -> int:
        slot = data.draw(st.sampled_from(sorted(self.starting)))
        self.starting.discard(slot)
        return self.spawn(slot, asked=True)

    @rule(target=running, data=st.data())
    def supervisorctl_start(self, data: st.DataObject) -> object:
        busy = {place_of(slot) for slot in self.alive.values()}
        slots = [
            slot for place in range(self.processes) for slot in slots_of(place)[: 1 + self.rules.overlap]
        ]
        free = [slot for slot in slots if place_of(slot) not in busy and slot not in self.starting]
        if not free:
            return multiple()
        self.held.discard(Hold.STOPPED)
        self.failures.clear()
        return self.spawn(data.draw(st.sampled_from(free)), asked=False)

    def spawn(self, slot: int, asked: bool) -> int:
        generation = self.fork(slot)
        self.tell(events.Spawned(slot, generation, 1000 + generation, "127.0.0.1:2", asked))
        return generation

    def fork(self, slot: int) -> int:
        generation, self.next_generation = self.next_generation, self.next_generation + 1
        self.alive[generation] = slot
        return generation

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def spawn_failed(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.starting)))
        self.starting.discard(slot)
        self.tell(events.SpawnFailed(slot, "No more processes."))

    @rule(
        generation=consumes(running), status=st.sampled_from([0, 3 << 8, 127 << 8, 9, 15]), by=st.booleans()
    )
    def process_exits(self, generation: int, status: int, by: bool) -> None:
        if generation in self.alive:
            self.exit(generation, status, administrative=by)

    # ---- probes; they may speak of a generation that is gone

    @rule(generation=running)
    def seen_ours(self, generation: int) -> None:
        if generation in self.alive:
            self.ours.add(generation)
            self.tell(events.Listening(generation))
            self.tell(events.Ours(generation))

    @rule(generation=running)
    def seen_foreign(self, generation: int) -> None:
        self.tell(events.Foreign(generation, "pid 7 (nc)"))

    @rule(generation=running, guarded=st.sampled_from([None, False, True]))
    def answered(self, generation: int, guarded: bool | None) -> None:
        self.tell(events.Answered(generation, guarded))

    @rule(generation=running, guarded=st.booleans())
    def guard_seen(self, generation: int, guarded: bool) -> None:
        self.tell(events.GuardSeen(generation, guarded))

    @rule(generation=running)
    def suspected(self, generation: int) -> None:
        if generation in self.routes:
            self.ours.discard(generation)
        self.tell(events.Suspected(generation))

    @rule(generation=running, well=st.booleans())
    def health(self, generation: int, well: bool) -> None:
        self.tell(events.Well(generation) if well else events.Unwell(generation, "GET /health answered 500."))

    @rule(generation=running)
    def drained(self, generation: int) -> None:
        self.tell(events.Drained(generation))

    @rule(generation=running, accepted=st.booleans())
    def shutdown_answered(self, generation: int, accepted: bool) -> None:
        self.tell(events.ShutdownAnswered(generation, accepted))

    # ---- time

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.5, 1.0, 5.0, 10.0, 30.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(events.TimePassed())

    # ---- what holds all the time

    @invariant()
    def every_row_that_waits_for_something_has_a_date(self) -> None:
        for row in self.law.rows:
            assert (row.due is None) == (row.state is State.READY), row

    @invariant()
    def nobody_waits_while_the_app_is_ready_or_refused(self) -> None:
        assert self.law.waiting == len(self.waiting)
        if self.waiting:
            assert self.law.state is not State.READY
            assert not self.refusal
            assert self.law.rows or self.law.due is not None, "somebody waits and nothing is under way"

    @invariant()
    def what_is_obsolete_is_being_replaced(self) -> None:
        assert self.law.recycling or not any(row.obsolete for row in self.law.rows)

    @invariant()
    def an_app_that_serves_has_all_its_processes_or_a_reason(self) -> None:
        if State.READY not in {row.state for row in self.law.rows} or not self.may_start:
            return
        stay = {row.place for row in self.law.rows if not row.leaves}
        delayed = self.law.due is not None
        assert stay >= set(range(self.processes)) or delayed, self.law.rows

    @invariant()
    def who_has_no_place_any_more_goes_when_another_is_ready(self) -> None:
        places = range(self.processes)
        if any(row.state is State.READY and row.place in places for row in self.law.rows):
            left = [row for row in self.law.rows if row.place not in places]
            assert all(row.state not in (State.STARTING, State.READY) for row in left)

    @invariant()
    def of_two_in_one_place_only_one_is_ready(self) -> None:
        ready = [row.place for row in self.law.rows if row.state is State.READY]
        assert len(ready) == len(set(ready))

    @invariant()
    def routes_are_what_is_ready(self) -> None:
        assert set(self.routes) == {row.generation for row in self.law.rows if row.state is State.READY}

    def teardown(self) -> None:
        if not hasattr(self, "law"):
            return
        self.everything_ends_by_time_alone()

    def everything_ends_by_time_alone(self) -> None:
        """However things stand: an end asked for now comes, with a process that only SIGKILL impresses."""
        self.ending = EndStage.APPS
        self.tell(events.Ending(EndStage.APPS))
        for _ in range(60):
            if not self.law.rows:
                break
            due = self.law.due
            assert due is not None, self.law.rows
            self.now = max(self.now, due)
            self.tell(events.TimePassed())
            for generation in [one for one in self.alive if one in self.killed]:
                self.exit(generation, signal.SIGKILL)
        assert not self.law.rows, "a stop did not end"
        assert not self.waiting, "somebody waits for ever"


LifecycleMachine.TestCase.settings = settings(
    max_examples=max(150, one_in(2)),  # each is a life of forty events and more
)
TestLifecycleProperties = LifecycleMachine.TestCase
