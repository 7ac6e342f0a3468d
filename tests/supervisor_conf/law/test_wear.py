"""Worn, idle, silent: by numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.control.messages import Counters, Served
from supervisor_conf.law.wear import JITTER, SILENCES_REMEMBERED, Use, Wear, shares

MIB = 1024 * 1024


def counted(requests: int = 0, in_flight: int = 0, waiting: int = 0, *served: Served) -> Counters:
    return Counters("shop", requests, 0, in_flight, waiting, served)


@pytest.mark.parametrize(
    ("limits", "requests", "memory", "now", "why"),
    [
        ({}, 10**6, 10**12, 10**6, ""),
        ({"requests": 100}, 99, 0, 0, ""),
        ({"requests": 100}, 100, 0, 0, "100 requests"),
        ({"age": 60.0}, 0, 0, 59.9, ""),
        ({"age": 60.0}, 0, 0, 60.0, "age 60 s"),
        ({"memory": 64 * MIB}, 0, 64 * MIB - 1, 0, ""),
        ({"memory": 64 * MIB}, 0, 65 * MIB, 0, "memory 65 MiB"),
        ({"requests": 10, "age": 5.0}, 3, 0, 6.0, "age 6 s"),
    ],
)
def test_a_limit_that_is_reached_is_named(
    limits: dict[str, float], requests: int, memory: int, now: float, why: str
) -> None:
    assert Wear(limits, 0.0, 0.0, requests, memory).why(now) == why


def test_chance_moves_a_limit_by_a_tenth_at_most() -> None:
    unlucky = Wear({"requests": 100}, 0.0, 1.0)
    unlucky.requests = 109
    assert not unlucky.why(0.0)
    unlucky.requests = int(100 * (1 + JITTER)) + 1
    assert unlucky.why(0.0)


def test_idle_is_nothing_in_flight_and_nothing_for_so_long() -> None:
    use = Use()
    assert not use.is_idle(0.0, 0.0, 10**6)  # never
    assert use.is_idle(10.0, 0.0, 10.0)  # ready since 0, and nobody came
    use.counted(1, counted(1, in_flight=1), 20.0)
    use.counted(2, counted(0), 25.0)
    assert not use.is_idle(10.0, 0.0, 1000.0)  # an open WebSocket
    use.counted(1, counted(0), 30.0)
    assert not use.is_idle(10.0, 0.0, 29.0)
    assert use.is_idle(10.0, 0.0, 30.0)
    assert not use.is_idle(10.0, 25.0, 30.0)  # it is ready for 5 s only


def test_what_a_worker_had_in_flight_goes_with_it() -> None:
    use = Use()
    use.counted(1, counted(1, in_flight=3, waiting=2), 0.0)
    assert (use.in_flight, use.waiting) == (3, 2)
    use.worker_gone(1)
    assert (use.in_flight, use.waiting) == (0, 0)
    assert use.requests == 1


def test_silence_is_counted_in_a_row_over_all_workers_and_by_generation() -> None:
    use = Use()
    use.counted(1, counted(2, 0, 0, Served(7, 0, 2, 0)), 10.0)
    use.counted(2, counted(1, 0, 0, Served(7, 0, 1, 0), Served(8, 0, 1, 0)), 11.0)
    assert use.silent == {7: [10.0, 10.0, 11.0], 8: [11.0]}
    use.counted(3, counted(1, 0, 0, Served(7, 1, 0, 0, 9.9)), 12.0)  # before, and told after
    assert len(use.silent[7]) == 3
    use.counted(1, counted(2, 0, 0, Served(7, 1, 1, 0, 11.5)), 12.0)  # one was answered, and one not since
    assert use.silent == {7: [12.0], 8: [11.0]}
    use.counted(1, counted(200, 0, 0, Served(7, 0, 200, 0)), 13.0)
    assert use.silent[7] == [13.0] * SILENCES_REMEMBERED
    use.generations_gone([8])
    assert use.silent == {8: [11.0]}


@given(limit=st.integers(1, 10**6), workers=st.integers(1, 64))
def test_shares_are_the_limit_and_even(limit: int, workers: int) -> None:
    parts = shares(limit, workers)
    assert len(parts) == workers
    assert sum(parts) == max(limit, workers)
    assert max(parts) - min(parts) <= 1


def test_without_workers_there_are_no_shares() -> None:
    assert shares(10, 0) == []
