"""Which workers may still use a generation."""

from __future__ import annotations

from supervisor_conf.law.draining import Usage


def test_a_generation_is_used_until_every_worker_has_drained_or_gone() -> None:
    usage = Usage()
    for worker in (1, 2):
        usage.told(worker, [7])
    usage.drained(1, 7)
    assert usage.is_used(7)
    usage.worker_gone(2)
    assert not usage.is_used(7)


def test_what_nobody_was_told_of_is_not_used() -> None:
    usage = Usage()
    usage.told(1, [7])
    usage.drained(1, 8)
    assert not usage.is_used(8)
    assert usage.is_used(7)


def test_a_generation_that_is_gone_is_forgotten() -> None:
    usage = Usage()
    usage.told(1, [7])
    usage.generation_gone(7)
    assert not usage.is_used(7)


def test_a_drained_that_was_said_before_the_route_was_told_again_means_nothing() -> None:
    usage = Usage()
    usage.told(1, [7], serial=3)
    usage.told(1, [7], serial=5)  # withdrawn with 4, looked at, told again
    usage.drained(1, 7, serial=4)
    assert usage.is_used(7)
    usage.drained(1, 7, serial=6)
    assert not usage.is_used(7)


def test_a_worker_that_a_new_keeper_has_not_heard_of_may_use_anything() -> None:
    usage = Usage()
    usage.expect([4711, 4712])
    assert usage.is_used(7)
    usage.told(1, [8])  # pid 4711 has come: it uses 8
    usage.expected_no_more(4711)
    assert usage.is_used(7)
    usage.expected_no_more(4712)  # it has ended
    assert not usage.is_used(7)
    assert usage.is_used(8)
