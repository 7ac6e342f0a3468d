"""The last start that went well is told until something fails, by the next keeper too."""

from __future__ import annotations

import json

from supervisor_conf.control.messages import AskOutput, Keep, Output, Report, Step
from supervisor_conf.keeper import words
from supervisor_conf.keeper.reports import LastStart
from supervisor_conf.law.journey import Journey, StartStep
from supervisor_conf.law.rows import Row

FAILURE = Report("shop", 2, 7, "It ended.", "listening", exit="exit status 3", at=1_000_000_000.0)


class Plugin:
    """What the plugin was told."""

    def __init__(self) -> None:
        self.asked: list[AskOutput] = []
        self.kept: dict[str, str] = {}

    def tell(self, message: object) -> None:
        if isinstance(message, AskOutput):
            self.asked.append(message)
        elif isinstance(message, Keep):
            self.kept[message.key] = message.text


def started(plugin: Plugin) -> LastStart:
    journey = Journey("shop", 10.0).reach(StartStep.SPAWNED, 10.1, "pid 8").reach(StartStep.READY, 10.5)
    last = LastStart("shop", plugin.tell)
    last.went_well(Row(0, 0, journey, generation=3, pid=8), 10.5)
    return last


def test_the_first_output_is_asked_for_and_stands_among_the_steps() -> None:
    plugin = Plugin()
    last = started(plugin)
    assert plugin.asked == [AskOutput(3, "shop", 0)]
    last.output(Output(2, "", 0.1))
    last.output(Output(3, "", -1.0))
    assert last.report is not None
    assert [step.name for step in last.report.steps] == ["asked", "spawned", "ready"]
    last.output(Output(3, "hello", 0.2))
    assert Step("first output", 0.3) in last.report.steps
    assert [step.name for step in last.report.steps] == ["asked", "spawned", "first output", "ready"]


def test_the_next_keeper_knows_it_and_forgets_it_when_something_fails() -> None:
    plugin = Plugin()
    report = started(plugin).report
    following = LastStart("shop", plugin.tell)
    following.resume(plugin.kept)
    assert following.report == report is not None
    following.forget()
    assert following.report is None
    after = LastStart("shop", plugin.tell)
    after.resume(plugin.kept)
    assert after.report is None


def test_both_are_told_the_good_start_first() -> None:
    good = started(Plugin()).report
    text = words.why("shop", FAILURE, good)
    assert text.index("went well") < text.index("the start failed")
    assert "0.500 s  ready" in text
    told = json.loads(words.as_json("shop", FAILURE, good, ""))
    assert (told["exit"], told["last_start"]["generation"]) == ("exit status 3", 3)


def test_without_a_failure_it_stands_alone() -> None:
    good = started(Plugin()).report
    assert "went well" in words.why("shop", None, good)
    assert words.NOTHING_FAILED in words.why("shop", None, good)
    told = json.loads(words.as_json("shop", None, good, ""))
    assert (told["app"], told["at"], told["last_start"]["pid"]) == ("shop", 0.0, 8)
    assert words.why("shop", None, None) == f"shop: {words.NOTHING_FAILED}"
    told = json.loads(words.as_json("shop", None, None, "does not run"))
    assert (told["at"], told["last_start"], told["now"]) == (0.0, None, "does not run")
