"""A configuration that was read again while the app runs: more processes, fewer, and what nobody can use any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor_conf.law import commands, events
from supervisor_conf.law.events import Hold
from supervisor_conf.slots import place_of, slots_of
from tests.supervisor_conf.law.test_recycling import Play


def change(play: Play, **rules: object) -> None:
    """As the keeper does it."""
    play.law.change(replace(play.law.rules, **rules))  # type: ignore[arg-type]
    play.tell(events.Lifted(Hold.FAILED))


def test_slots_mean_the_same_whatever_the_number_of_places() -> None:
    assert [place_of(slot) for place in range(100) for slot in slots_of(place)] == [
        place for place in range(100) for _ in range(2)
    ]


def test_more_processes_are_started_beside_those_that_serve() -> None:
    play = Play().serving()
    change(play, processes=3)
    assert play.asked == [2, 4]
    play.ready(play.spawned())
    play.ready(play.spawned())
    assert play.states() == {1: "READY", 2: "READY", 3: "READY"}
    assert not play.all(commands.Drain)


def test_more_processes_of_an_app_that_is_not_running_start_nothing() -> None:
    play = Play()
    change(play, processes=3)
    assert play.asked == []
    play.tell(events.Wanted(1))
    assert play.asked == [0, 2, 4]


def test_who_has_no_place_any_more_is_drained() -> None:
    play = Play(processes=3).serving()
    change(play, processes=1)
    assert play.states() == {1: "READY", 2: "DRAINING", 3: "DRAINING"}
    assert not play.all(commands.Signal)
    routes = [one for one in play.said if isinstance(one, commands.Publish)][-1]
    assert [route.generation for route in routes.routes] == [1]
    for generation in (2, 3):
        play.tell(events.Drained(generation))
        play.gone(generation)
    assert play.states() == {1: "READY"}
    assert play.asked == []


def test_who_has_no_place_any_more_serves_until_another_one_is_ready() -> None:
    play = Play(processes=2).serving()
    play.gone(1, 9)
    change(play, processes=1)
    assert play.states() == {2: "READY"} | {0: "STARTING"}
    play.ready(play.spawned())
    assert play.states() == {2: "DRAINING", 3: "READY"}


def test_a_start_without_a_place_is_not_tried_again() -> None:
    play = Play(processes=2)
    play.tell(events.Wanted(1))
    first, second = play.spawned(), play.spawned()
    change(play, processes=1)
    play.gone(second, 3 << 8)
    assert play.asked == []
    play.ready(first)
    assert play.states() == {first: "READY"}


def test_fewer_again_before_the_others_were_ready() -> None:
    play = Play().serving()
    change(play, processes=2)
    new = play.spawned()
    change(play, processes=1)
    assert play.states() == {1: "READY", new: "STOPPING"}
    change(play, processes=2)
    assert play.asked == [3]  # beside the one that is stopping


def test_fewer_and_all_of_them_obsolete() -> None:
    play = Play(processes=2).serving()
    change(play, processes=1)
    play.tell(events.Drained(2))
    play.gone(2)
    play.tell(events.Recycle("the configuration has changed", (1, 2)))
    play.ready(play.spawned())
    assert play.states() == {1: "DRAINING", 3: "READY"}
    assert commands.RecycleEnded("", None) in play.said


@pytest.mark.parametrize("overlap", [True, False])
def test_what_nobody_can_use_goes_at_once_and_requests_wait_for_the_next(overlap: bool) -> None:
    play = Play(overlap=overlap).serving()
    play.tell(events.Recycle("another path", (1,), useless=True))
    assert play.states()[1] == "DRAINING"
    assert play.asked == ([1] if overlap else [])
    play.tell(events.Wanted(7))
    play.tell(events.Drained(1))
    play.gone(1)
    assert play.asked == [1 if overlap else 0]
    play.ready(play.spawned())
    assert commands.Release((7,)) in play.said
    assert commands.RecycleEnded("", None) in play.said


def test_when_the_next_does_not_come_whoever_waits_is_told() -> None:
    play = Play().serving()
    play.tell(events.Recycle("another path", (1,), useless=True), events.Wanted(7))
    play.gone(play.spawned(), 3 << 8)
    play.gone(play.spawned(), 3 << 8)
    (refused,) = play.all(commands.Refuse)
    assert isinstance(refused, commands.Refuse)
    assert (refused.askers, refused.why) == ((7,), "start-failed")
    (ended,) = play.all(commands.RecycleEnded)
    assert isinstance(ended, commands.RecycleEnded)
    assert ended.why == "start-failed"


def test_where_two_must_not_run_side_by_side_any_more_a_failed_start_is_not_tried_again_beside_another() -> (
    None
):
    play = Play()
    play.tell(events.Wanted(1))  # supervisord is asked for slot 0,
    play.tell(events.Spawned(1, 9, 4009, "127.0.0.1:9", False))  # and somebody starts the other slot by hand
    change(play, overlap=False)
    play.tell(events.Exited(9, 3 << 8))
    assert play.asked == [0]
