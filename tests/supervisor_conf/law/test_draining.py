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
