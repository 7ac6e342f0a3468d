"""Always there, but not a hundred forks a second."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from supervisor.states import ProcessStates, SupervisorStates

from supervisor_conf.plugin.restarts import DELAYS, WORTH_A_LINE, Restarts


class _Process:
    """What Restarts sees of a process: its state, and that it was started."""

    def __init__(self) -> None:
        self.restarts = True
        self.state = ProcessStates.EXITED
        self.started = 0
        self.process = SimpleNamespace(spawn=self._spawn)

    def _spawn(self) -> None:
        self.started += 1
        self.state = ProcessStates.RUNNING

    def die(self) -> None:
        self.state = ProcessStates.EXITED


def _made() -> tuple[Restarts, Any, Any, list[Any]]:
    told: list[Any] = []
    options = SimpleNamespace(mood=SupervisorStates.RUNNING)
    return Restarts(options, told.append), _Process(), options, told


def test_after_a_life_it_is_started_again_at_once() -> None:
    restarts, process, _, told = _made()
    restarts.ended(process, 100.0, 1000.0)
    restarts.tick(1000.0)
    assert process.started == 1
    restarts.tick(2000.0)
    assert (process.started, told) == (1, [])


def test_early_deaths_are_answered_slower_and_told_once() -> None:
    restarts, process, _, told = _made()
    now, waits = 0.0, []
    for _ in range(8):
        process.die()
        restarts.ended(process, 0.1, now)
        before = now
        while process.state != ProcessStates.RUNNING:
            restarts.tick(now)
            now += 0.25 if process.state != ProcessStates.RUNNING else 0
        waits.append(now - before)
    assert waits == [*DELAYS, DELAYS[-1], DELAYS[-1]]
    assert told == [process]
    assert WORTH_A_LINE == 3
    process.die()
    restarts.ended(process, 60.0, now)
    restarts.tick(now)
    assert process.state == ProcessStates.RUNNING


@given(
    st.sampled_from(
        [ProcessStates.STOPPED, ProcessStates.RUNNING, ProcessStates.STOPPING, ProcessStates.STARTING]
    )
)
def test_what_somebody_stopped_or_started_is_left_alone(state: int) -> None:
    restarts, process, _, _ = _made()
    restarts.ended(process, 0.0, 0.0)
    process.state = state
    restarts.tick(100.0)
    process.state = ProcessStates.EXITED
    restarts.tick(200.0)
    assert process.started == 0


def test_nothing_is_started_while_supervisord_goes_down_nor_what_was_forgotten() -> None:
    restarts, process, options, _ = _made()
    restarts.ended(process, 0.0, 0.0)
    restarts.forget(process)
    restarts.tick(100.0)
    restarts.ended(process, 0.0, 100.0)
    options.mood = SupervisorStates.SHUTDOWN
    restarts.tick(200.0)
    options.mood = SupervisorStates.RUNNING
    restarts.tick(300.0)
    assert process.started == 0


def test_a_fork_that_failed_is_tried_again_once_supervisord_has_given_it_up() -> None:
    restarts, process, _, _ = _made()
    process.state = ProcessStates.BACKOFF
    restarts.ended(process, 0.0, 0.0)
    restarts.tick(1.0)
    process.state = ProcessStates.FATAL
    restarts.tick(2.0)
    assert process.started == 1
