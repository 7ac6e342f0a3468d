"""What is added to a report: only to that of its own generation, each step at its time."""

from __future__ import annotations

from supervisor_conf.control.messages import Report, Step
from supervisor_conf.keeper.told import Told

STEPS = (Step("asked", 0.0), Step("spawned", 0.01), Step("listening", 0.5))
REPORT = Report("shop", 7, 4711, "It ended.", "ready", STEPS, "killed by SIGKILL", advice=("Look.",))


def test_the_first_output_stands_at_its_time() -> None:
    steps = Told(7, 0.2).complete(REPORT).steps
    assert [step.name for step in steps] == ["asked", "spawned", "first output", "listening"]
    assert steps[2].after == 0.21
    assert [step.name for step in Told(7, 0.6).complete(REPORT).steps][-1] == "first output"
    assert Told(7).complete(REPORT) == REPORT


def test_out_of_memory_is_said_first() -> None:
    told = Told(7, -1.0, out_of_memory=True).complete(REPORT)
    assert told.exit == "killed by SIGKILL (out of memory)"
    assert "memory" in told.advice[0]
    assert told.advice[1:] == ("Look.",)


def test_another_generation_s_report_stays_as_it_is() -> None:
    assert Told(8, 0.2, out_of_memory=True).complete(REPORT) == REPORT
    assert Told().complete(REPORT) == REPORT
