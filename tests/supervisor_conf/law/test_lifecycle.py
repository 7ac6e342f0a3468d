"""The law, one sentence at a time."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from supervisor_conf.law import commands, events
from supervisor_conf.law.commands import State
from supervisor_conf.law.events import EndStage, Hold
from supervisor_conf.law.lifecycle import START_ATTEMPTS, SUSPECT_LIMIT, Lifecycle
from supervisor_conf.law.rows import TRANSITIONS, Rules

ADDRESS = "127.0.0.1:23456"


class Story:
    """Tells a law what happens and keeps what it wanted, without the log lines."""

    def __init__(self, **rules: object) -> None:
        self.law = Lifecycle(Rules("shop", **rules))  # type: ignore[arg-type]
        self.now = 100.0
        self.generation = 0

    def tell(self, *told: events.Event) -> list[commands.Command]:
        out = [command for event in told for command in self.law.handle(event, self.now)]
        return [command for command in out if not isinstance(command, commands.Moved)]

    def spawned(self) -> list[commands.Command]:
        self.generation += 1
        return self.tell(events.Spawned(0, self.generation, 4000 + self.generation, ADDRESS, True))

    def answered(self, guarded: bool | None = True) -> list[commands.Command]:
        seen = (events.Listening(self.generation), events.Ours(self.generation))
        return self.tell(*seen, events.Answered(self.generation, guarded))

    def ready(self, guarded: bool = True) -> Story:
        self.tell(events.Wanted(1))
        self.spawned()
        self.answered(guarded)
        assert self.law.state is State.READY
        return self

    def wait(self, seconds: float) -> list[commands.Command]:
        self.now += seconds
        return self.tell(events.TimePassed())

    def exited(self, status: int = 9) -> list[commands.Command]:
        return self.tell(events.Exited(self.generation, status))


def kinds(out: list[commands.Command]) -> list[str]:
    return [type(command).__name__ for command in out]


def signals(out: list[commands.Command]) -> list[int]:
    return [command.signal for command in out if isinstance(command, commands.Signal)]


def test_a_start_and_its_readiness() -> None:
    story = Story()
    assert kinds(story.tell(events.Wanted(1))) == ["Publish", "Spawn"]
    assert story.tell(events.Wanted(2)) == []
    assert story.spawned() == [commands.Probe(1)]
    assert story.answered(None) == [
        commands.Publish(State.READY, (commands.Route(1, False),), ""),
        commands.AskGuard(1),
        commands.Release((1, 2)),
    ]
    assert story.tell(events.GuardSeen(1, True)) == [
        commands.Publish(State.READY, (commands.Route(1, True),), "")
    ]


def test_an_exit_during_the_start_is_tried_again_and_then_given_up_once() -> None:
    story = Story()
    story.tell(events.Wanted(1), events.Wanted(2))
    for _ in range(START_ATTEMPTS - 1):
        story.spawned()
        assert "Spawn" in kinds(story.exited(3 << 8))
    story.spawned()
    out = story.exited(3 << 8)
    (refusal,) = (one for one in out if isinstance(one, commands.Refuse))
    assert (refusal.askers, refusal.why) == ((1, 2), "start-failed")
    assert refusal.report is not None
    assert refusal.report.exit == "exit status 3"
    assert story.law.state is State.STOPPED


def test_a_crash_restarts_at_once_only_if_eager_or_somebody_waits() -> None:
    assert "Spawn" not in kinds(Story().ready().exited())
    assert "Spawn" in kinds(Story(eager=True).ready().exited())
    waited_for = Story().ready()
    waited_for.tell(events.Suspected(1), events.Wanted(5))
    assert "Spawn" in kinds(waited_for.exited())


def test_the_route_goes_before_the_sweep_and_the_sweep_before_a_new_start() -> None:
    assert kinds(Story(eager=True).ready().exited()) == ["Publish", "Sweep", "Record", "Publish", "Spawn"]


def test_a_suspect_that_stays_silent_is_killed_and_counts_as_crashed() -> None:
    story = Story().ready()
    story.tell(events.Suspected(1))
    assert signals(story.wait(SUSPECT_LIMIT)) == [signal.SIGKILL]
    (record,) = (one for one in story.exited() if isinstance(one, commands.Record))
    assert record.crash


@pytest.mark.parametrize(
    ("accepted", "after_the_answer", "at_half", "at_the_end"),
    [(True, [], [signal.SIGTERM], [signal.SIGKILL]), (False, [signal.SIGTERM], [], [signal.SIGKILL])],
)
def test_the_order_of_a_stop(
    accepted: bool, after_the_answer: list[int], at_half: list[int], at_the_end: list[int]
) -> None:
    story = Story(shutdown_time_limit=10.0).ready()
    assert kinds(story.tell(events.Held(Hold.STOPPED))) == ["Publish", "Drain"]
    assert story.tell(events.Drained(1))[-1] == commands.SendShutdown(1, 10.0)
    assert signals(story.tell(events.ShutdownAnswered(1, accepted))) == after_the_answer
    assert signals(story.wait(5.0)) == at_half
    assert signals(story.wait(5.0)) == at_the_end


def test_an_unguarded_app_gets_sigterm_and_no_message() -> None:
    story = Story().ready(guarded=False)
    story.tell(events.Held(Hold.STOPPED))
    out = story.tell(events.Drained(1))
    assert signals(out) == [signal.SIGTERM]
    assert "SendShutdown" not in kinds(out)


def test_draining_ends_by_time() -> None:
    story = Story(drain_limit=30.0).ready(guarded=False)
    story.tell(events.Held(Hold.STOPPED))
    assert signals(story.wait(29.0)) == []
    assert signals(story.wait(1.0)) == [signal.SIGTERM]


def test_no_time_to_shut_down_is_sigkill_at_once() -> None:
    story = Story(shutdown_time_limit=0.0).ready()
    story.tell(events.Held(Hold.STOPPED))
    assert signals(story.tell(events.Drained(1))) == [signal.SIGKILL]


def test_who_asks_while_the_old_one_stops_gets_the_next_one() -> None:
    story = Story(overlap=False).ready(guarded=False)
    story.tell(events.Held(Hold.STOPPED), events.Drained(1), events.Lifted(Hold.STOPPED))
    assert "Spawn" not in kinds(story.tell(events.Wanted(7)))
    assert "Spawn" in kinds(story.exited(15))


def test_who_asks_while_the_old_one_stops_need_not_wait_for_its_end() -> None:
    story = Story().ready(guarded=False)
    story.tell(events.Held(Hold.STOPPED), events.Drained(1), events.Lifted(Hold.STOPPED))
    assert commands.Spawn(1) in story.tell(events.Wanted(7))


def test_a_stop_while_supervisord_is_still_forking_signals_as_soon_as_it_can() -> None:
    story = Story()
    story.tell(events.Wanted(1))
    assert kinds(story.tell(events.Held(Hold.STOPPED))) == ["Refuse", "Publish"]
    assert signals(story.spawned()) == [signal.SIGTERM]


def test_an_administrator_s_stop_is_held_until_an_administrator_s_start() -> None:
    story = Story().ready()
    story.tell(events.Held(Hold.STOPPED, already_signalled=True))
    story.exited(15)
    assert story.tell(events.Wanted(3)) == [commands.Refuse((3,), "stopped")]
    story.generation += 1
    story.tell(events.Spawned(0, story.generation, 9, ADDRESS, False))
    story.answered()
    assert story.tell(events.Wanted(4)) == [commands.Release((4,))]


def test_the_end_refuses_who_waits_and_keeps_what_is_ready_until_the_apps_stop() -> None:
    waiting = Story()
    waiting.tell(events.Wanted(1))
    assert commands.Refuse((1,), "ending") in waiting.tell(events.Ending(EndStage.FRONT))
    serving = Story().ready()
    assert serving.tell(events.Ending(EndStage.FRONT)) == []
    assert "Drain" in kinds(serving.tell(events.Ending(EndStage.APPS)))


def test_require_pairing_never_publishes_an_unguarded_app() -> None:
    story = Story(require_pairing=True)
    story.tell(events.Wanted(1))
    story.spawned()
    out = story.answered(False)
    assert not any(isinstance(one, commands.Publish) and one.routes for one in out)
    refusal = next(one for one in story.exited() if isinstance(one, commands.Refuse))
    assert refusal.why == "unguarded"


def test_the_picture_in_the_documentation_is_this_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]+) \| ([a-z ]+) \| ([A-Z]+) \|$", page, re.MULTILINE)
    assert rows == [(str(was), str(cause), str(now)) for (was, cause), now in TRANSITIONS.items()]


def test_an_administrators_stop_is_no_failure() -> None:
    """Held comes before it. Without it, who was started again since, while there was no keeper, goes on."""
    for story in (Story(rapid_fails_per_minute=0), Story(rapid_fails_per_minute=0).ready()):
        story.tell(events.Wanted(7))
        if not story.generation:
            story.spawned()
        out = story.tell(events.Exited(story.generation, 15, "bye", True))
        assert not [one for one in out if isinstance(one, commands.Record)]
        assert story.law.holds == set()


def test_a_slot_that_supervisord_was_asked_to_start_stays_taken_until_it_has_answered() -> None:
    story = Story()
    story.tell(events.Wanted(1), events.Held(Hold.STOPPED), events.Lifted(Hold.STOPPED))
    (spawn,) = (one for one in story.tell(events.Wanted(2)) if isinstance(one, commands.Spawn))
    assert spawn.slot == 1


def test_who_was_refused_a_connection_has_to_be_found_listening_before_an_answer_counts() -> None:
    story = Story().ready()
    story.tell(events.Suspected(1))
    assert story.tell(events.Answered(1, True)) == []
    assert story.law.state is State.STARTING
    story.answered()
    assert story.law.state is State.READY


def failed_too_often() -> Story:
    story = Story(rapid_fails_per_minute=1)
    for _ in range(2):
        story.wait(5.0)
        story.ready().exited()
    assert story.law.state is State.FAILED
    return story


def test_a_new_keeper_forgives_nothing() -> None:
    before = failed_too_often()
    story = Story(rapid_fails_per_minute=1)
    story.law.resume(before.law.past, before.now)
    story.now = before.now
    assert story.law.state is State.FAILED
    assert kinds(story.tell(events.Wanted(1))) == ["Refuse", "Publish"]


def test_what_an_administrator_starts_again_may_fail_as_often_as_before() -> None:
    story = failed_too_often()
    story.tell(events.Lifted(Hold.FAILED))
    story.ready().exited()
    assert story.law.state is State.STOPPED


def test_who_was_forked_or_is_found_under_a_hold_goes() -> None:
    """`supervisorctl start` just before the app went offline; a keeper that comes after a stop."""
    forked = Story()
    forked.tell(events.Held(Hold.OFFLINE))
    assert signals(forked.tell(events.Spawned(0, 1, 4001, ADDRESS, False))) == [signal.SIGTERM]
    found = Story()
    found.tell(events.Held(Hold.STOPPED))
    assert "Drain" in kinds(found.tell(events.Found(0, 1, 4001, ADDRESS, True, "")))
    assert found.law.state is State.DRAINING


def test_where_pairing_is_required_who_does_not_say_that_it_is_guarded_is_not() -> None:
    for unknown in (None, False):
        story = Story(require_pairing=True)
        story.tell(events.Wanted(1))
        story.spawned()
        assert signals(story.answered(unknown)) == [signal.SIGKILL]
