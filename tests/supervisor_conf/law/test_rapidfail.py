"""The window slides; pauses grow and are forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.law.rapidfail import PAUSES, WINDOW, RapidFails

moments = st.lists(st.floats(0, 300, allow_nan=False), max_size=30).map(sorted)


def failed_at(limit: int, at: list[float]) -> RapidFails:
    fails = RapidFails(limit)
    for moment in at:
        fails.failed(moment)
    return fails


def test_more_than_the_limit_within_any_minute_opens_it() -> None:
    fails = failed_at(2, [50.0, 61.0])  # two minutes of a clock, one window
    assert not fails.is_open(61.0)
    fails.failed(62.0)
    assert fails.is_open(62.0)
    assert fails.closes_at == 50.0 + WINDOW
    assert not fails.is_open(50.0 + WINDOW)


def test_a_limit_of_none_opens_at_the_first() -> None:
    fails = failed_at(0, [7.0])
    assert fails.is_open(7.0)
    assert not fails.is_open(7.0 + WINDOW)


def test_the_first_failure_is_followed_at_once_and_then_slower_and_slower() -> None:
    fails = RapidFails(100)
    pauses = []
    for number in range(10):
        fails.failed(float(number))
        pauses.append(round(fails.pause_until - number, 6))
    assert pauses == [*PAUSES[1:], PAUSES[-1], PAUSES[-1], PAUSES[-1]]
    assert pauses == sorted(pauses)


def test_after_a_quiet_minute_a_failure_is_the_first_again() -> None:
    fails = failed_at(100, [1.0, 2.0, 3.0, 100.0])
    assert fails.pause_until == 100.0
    assert fails.at == (100.0,)


def test_a_reset_forgets_everything() -> None:
    fails = failed_at(0, [1.0, 2.0, 3.0])
    fails.reset()
    assert not fails.is_open(3.0)
    assert fails.pause_until < 3.0


@given(limit=st.integers(0, 5), at=moments, later=st.floats(0, 400, allow_nan=False))
def test_it_is_open_exactly_while_more_than_the_limit_are_in_the_window(
    limit: int, at: list[float], later: float
) -> None:
    now = max([*at, later])
    within = [moment for moment in at if moment > now - WINDOW]
    assert failed_at(limit, at).is_open(now) == (len(within) > limit)


@given(limit=st.integers(0, 5), at=moments)
def test_another_keeper_counts_on(limit: int, at: list[float]) -> None:
    now = at[-1] if at else 0.0
    first = failed_at(limit, at)
    second = RapidFails(limit)
    second.restore(first.at, now)
    assert second.is_open(now) == first.is_open(now)
    assert second.at == first.at


def test_what_failed_before_the_machine_was_started_anew_is_no_failure_of_now() -> None:
    """CLOCK_MONOTONIC begins again; what is kept may speak of times to come."""
    fails = RapidFails(0)
    fails.restore([500.0, 90.0], 100.0)
    assert fails.at == (90.0,)
    fails.restore([500.0], 100.0)
    assert not fails.is_open(100.0)
