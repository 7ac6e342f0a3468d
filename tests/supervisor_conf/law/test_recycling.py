"""Replacing what runs, one sentence at a time: the new one first, or alone; and what interrupts it."""

from __future__ import annotations

import signal

from supervisor_conf.law import commands, events
from supervisor_conf.law.commands import State
from supervisor_conf.law.events import Hold
from supervisor_conf.law.lifecycle import SUSPECT_LIMIT, Lifecycle
from supervisor_conf.law.rapidfail import WINDOW
from supervisor_conf.law.rows import Rules


class Play:
    """A supervisord that does at once what it is asked, and processes that are ready when they are told to be."""

    def __init__(self, **rules: object) -> None:
        self.law = Lifecycle(Rules("shop", **rules))  # type: ignore[arg-type]
        self.now = 100.0
        self.newest = 0
        self.asked: list[int] = []  # slots to start
        self.said: list[commands.Command] = []

    def tell(self, *told: events.Event) -> None:
        for event in told:
            for command in self.law.handle(event, self.now):
                if isinstance(command, commands.Spawn):
                    self.asked.append(command.slot)
                self.said.append(command)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tell(events.TimePassed())

    def spawned(self) -> int:
        slot = self.asked.pop(0)
        self.newest += 1
        self.tell(events.Spawned(slot, self.newest, 4000 + self.newest, "127.0.0.1:2", True))
        return self.newest

    def ready(self, generation: int) -> None:
        self.tell(events.Listening(generation), events.Ours(generation), events.Answered(generation, True))

    def serving(self) -> Play:
        self.tell(events.Wanted(1))
        for generation in [self.spawned() for _ in list(self.asked)]:
            self.ready(generation)
        self.said.clear()
        return self

    def gone(self, generation: int, status: int = 15) -> None:
        self.tell(events.Exited(generation, status))

    def states(self) -> dict[int, str]:
        return {row.generation: str(row.state) for row in self.law.rows}

    def all(self, kind: type[commands.Command]) -> list[commands.Command]:
        return [one for one in self.said if isinstance(one, kind)]


def test_the_new_one_is_ready_before_the_old_one_is_told_anything() -> None:
    play = Play().serving()
    play.tell(events.Recycle("app recycle"))
    assert play.asked == [1]
    new = play.spawned()
    assert play.states() == {1: "READY", 2: "STARTING"}
    assert not play.all(commands.Signal)
    play.ready(new)
    assert play.states() == {1: "DRAINING", 2: "READY"}
    assert commands.Promote(1, 2) in play.said
    assert commands.RecycleEnded("", None) in play.said
    play.tell(events.Drained(1))
    assert commands.SendShutdown(1, 10.0) in play.said
    play.gone(1)
    play.tell(events.Recycle("once more"))
    assert play.asked == [0]


def test_another_recycle_waits_until_the_first_old_one_has_gone() -> None:
    play = Play().serving()
    play.tell(events.Recycle("one"))
    play.ready(play.spawned())
    play.tell(events.Recycle("two"))
    assert play.asked == []
    play.tell(events.Drained(1))
    play.gone(1)
    assert play.asked == [0]


def test_several_are_replaced_one_after_the_other() -> None:
    play = Play(processes=3).serving()
    play.tell(events.Recycle("app recycle"))
    for old in (1, 2, 3):
        assert len(play.asked) == 1
        play.ready(play.spawned())
        assert play.states()[old] == "DRAINING"
        assert list(play.states().values()).count("READY") == 3
        play.tell(events.Drained(old))
        play.gone(old)
    assert set(play.states()) == {4, 5, 6}
    assert len(play.all(commands.RecycleEnded)) == 1


def test_when_the_new_one_does_not_come_twice_the_old_one_stays() -> None:
    play = Play().serving()
    play.tell(events.Recycle("app recycle"))
    play.gone(play.spawned(), 3 << 8)
    assert play.asked == [1]
    play.gone(play.spawned(), 3 << 8)
    assert play.states() == {1: "READY"}
    (ended,) = play.all(commands.RecycleEnded)
    assert isinstance(ended, commands.RecycleEnded)
    assert ended.why == "start-failed"
    assert ended.report is not None
    assert ended.report.exit == "exit status 3"
    assert play.asked == []


def test_where_there_may_be_one_only_it_goes_first_and_requests_wait() -> None:
    play = Play(overlap=False).serving()
    play.tell(events.Recycle("app recycle"))
    assert play.states() == {1: "DRAINING"}
    play.tell(events.Wanted(5), events.Drained(1))
    assert play.asked == []
    play.gone(1)
    assert play.asked == [0]
    play.ready(play.spawned())
    assert commands.Release((5,)) in play.said
    assert commands.RecycleEnded("", None) in play.said


def test_the_old_one_crashes_meanwhile_and_the_new_one_takes_over() -> None:
    play = Play().serving()
    play.tell(events.Recycle("app recycle"))
    new = play.spawned()
    play.gone(1, 9)
    play.tell(events.Wanted(5))
    play.ready(new)
    assert commands.Release((5,)) in play.said
    assert play.states() == {2: "READY"}


def test_a_stop_meanwhile_stops_both_and_ends_the_recycle() -> None:
    play = Play().serving()
    play.tell(events.Recycle("app recycle"))
    play.spawned()
    play.tell(events.Held(Hold.STOPPED, already_signalled=True, slot=0))
    assert play.states() == {1: "STOPPING", 2: "STOPPING"}
    signals = [(one.generation, one.signal) for one in play.said if isinstance(one, commands.Signal)]
    assert signals == [(2, signal.SIGTERM)]  # supervisord has signalled the other one itself
    (ended,) = play.all(commands.RecycleEnded)
    assert ended == commands.RecycleEnded("stopped", None)


def test_a_new_keeper_goes_on_with_it() -> None:
    play = Play().serving()
    play.tell(events.Recycle("app recycle"))
    new = play.spawned()
    past = play.law.past
    play.law = Lifecycle(play.law.rules)
    play.law.resume(past, play.now)
    for slot, generation in ((0, 1), (1, new)):
        known = generation in past.ready, past.why_obsolete(generation)
        play.tell(events.Found(slot, generation, 9, "127.0.0.1:2", *known))
    play.ready(1)
    assert play.states() == {1: "READY", 2: "STARTING"}
    play.ready(new)
    assert play.states() == {1: "DRAINING", 2: "READY"}
    assert play.law.starts == 2


def test_one_that_is_not_well_is_marked_and_replaced_and_the_reason_kept() -> None:
    play = Play(processes=2).serving()
    play.tell(events.Unwell(2, "GET /health answered 500."))
    routes = [one.routes for one in play.said if isinstance(one, commands.Publish)][-1]
    assert [(route.generation, route.healthy) for route in routes] == [(1, True), (2, False)]
    (ailing,) = play.all(commands.Ailing)
    assert isinstance(ailing, commands.Ailing)
    assert ailing.report.summary.startswith("GET /health answered 500.")
    assert play.asked == [3]  # the other slot of its place


def test_an_idle_app_is_stopped_and_the_next_request_starts_it() -> None:
    play = Play(processes=2).serving()
    play.tell(events.Idle())
    assert play.states() == {1: "DRAINING", 2: "DRAINING"}
    for generation in (1, 2):
        play.tell(events.Drained(generation))
        play.gone(generation)
    assert play.law.state is State.STOPPED
    assert play.asked == []
    play.tell(events.Wanted(7))
    assert play.asked == [0, 2]


def test_one_that_crashes_is_started_again_while_the_others_serve() -> None:
    play = Play(processes=2).serving()
    play.gone(1, 9)
    assert play.states()[2] == "READY"
    assert play.asked == [0]
    assert play.law.crashes == 1


def test_after_too_many_failures_nothing_is_started_until_the_window_has_passed() -> None:
    play = Play(rapid_fails_per_minute=1, eager=True).serving()
    play.gone(1, 9)
    play.ready(play.spawned())
    play.gone(2, 9)
    assert play.law.state is State.FAILED
    play.tell(events.Wanted(5))
    assert commands.Refuse((5,), "rapid-fail") in play.said
    assert play.asked == []
    assert play.law.due == 100.0 + WINDOW
    play.wait(WINDOW)
    assert play.asked == [0]


def test_a_reset_or_an_administrator_s_start_allows_it_at_once() -> None:
    for lifting in (events.Lifted(Hold.FAILED), events.Spawned(0, 9, 4009, "127.0.0.1:2", False)):
        play = Play(rapid_fails_per_minute=0).serving()
        play.gone(1, 9)
        assert play.law.state is State.FAILED
        play.tell(lifting)
        assert play.law.state is not State.FAILED


def test_a_tripped_breaker_leaves_the_others_serving() -> None:
    play = Play(processes=2, rapid_fails_per_minute=0).serving()
    play.gone(1, 9)
    assert play.asked == []
    assert play.law.state is State.READY
    routes = [one for one in play.said if isinstance(one, commands.Publish)][-1]
    assert [route.generation for route in routes.routes] == [2]
    assert routes.refusal == ""


def test_each_failure_is_followed_by_a_longer_pause() -> None:
    play = Play(rapid_fails_per_minute=100)
    play.tell(events.Wanted(1))
    for _ in range(2):
        for _ in range(2):
            play.gone(play.spawned(), 3 << 8)
        play.tell(events.Wanted(1))
    assert play.asked == []
    due = play.law.due
    assert due is not None
    assert 0 < due - play.now < 1
    play.wait(due - play.now)
    assert play.asked == [0]


def test_a_stop_of_one_that_is_looked_at_again_lets_its_requests_finish() -> None:
    play = Play().serving()
    play.tell(events.Suspected(1), events.Held(Hold.STOPPED))
    assert play.states() == {1: "DRAINING"}
    play.wait(SUSPECT_LIMIT)
    assert play.states() == {1: "DRAINING"}
    assert not play.all(commands.Signal)
    play.tell(events.Drained(1))
    assert play.states() == {1: "STOPPING"}
