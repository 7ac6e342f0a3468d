"""A failed start is told in words: at which step, why, and what to try."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.control.codec import encode
from supervisor_conf.law import journey
from supervisor_conf.law.journey import Journey, StartStep

LISTENING_NEXT = Journey("shop", 10.0, address="127.0.0.1:23456").reach(StartStep.SPAWNED, 10.1, "pid 7")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (3 << 8, "exit status 3"),
        (9, "killed by SIGKILL"),
        (11 | 0x80, "killed by SIGSEGV"),
        (40, "killed by signal 40"),
    ],
)
def test_exit_words(status: int, words: str) -> None:
    assert journey.exit_words(status) == words


def test_steps_are_reached_once_and_in_seconds_since_the_start_was_asked_for() -> None:
    told = LISTENING_NEXT.reach(StartStep.LISTENING, 10.5).reach(StartStep.LISTENING, 11.0)
    assert [(step.name, step.after) for step in told.steps] == [
        ("asked", 0.0),
        ("spawned", 0.1),
        ("listening", 0.5),
    ]
    assert told.next_step is StartStep.OURS


def test_exec_is_told_and_no_start_fails_at_it() -> None:
    assert LISTENING_NEXT.next_step is StartStep.LISTENING
    told = LISTENING_NEXT.reach(StartStep.EXEC, 10.2)
    assert told.next_step is StartStep.LISTENING
    assert [step.name for step in told.steps] == ["asked", "spawned", "exec"]


def test_a_start_that_went_well_is_told_with_all_its_steps() -> None:
    told = LISTENING_NEXT.reach(StartStep.READY, 10.75)
    report = journey.went_well(told, 10.75, generation=3, pid=7)
    assert (report.app, report.generation, report.pid, report.seconds) == ("shop", 3, 7, 0.75)
    assert (report.summary, report.failed_step, report.exit) == ("The app was ready after 0.75 s.", "", "")
    assert report.steps == told.steps


@pytest.mark.parametrize(
    ("status", "word"), [(127 << 8, "not found"), (126 << 8, "cannot be executed"), (125 << 8, "prepared")]
)
def test_the_launcher_s_statuses_mean_that_there_was_no_process_of_the_app(status: int, word: str) -> None:
    failure = journey.ended_early(LISTENING_NEXT, status, 0)
    assert (failure.step, failure.final) == (StartStep.SPAWNED, True)
    assert word in failure.summary


def test_a_listener_that_exits_with_such_a_status_was_the_app() -> None:
    failure = journey.ended_early(LISTENING_NEXT.reach(StartStep.LISTENING, 11.0), 127 << 8, 0)
    assert failure.step is StartStep.OURS
    assert "exit status 127" in failure.summary


@pytest.mark.parametrize(("left", "words"), [(1, "left a process behind"), (4, "left 4 processes behind")])
def test_a_command_in_the_background(left: int, words: str) -> None:
    failure = journey.ended_early(LISTENING_NEXT, 0, left)
    assert words in failure.summary
    assert failure.final
    assert "foreground" in failure.advice[0]


def test_the_two_cures_for_another_address() -> None:
    elsewhere = dataclasses.replace(LISTENING_NEXT, elsewhere=("[::1]:5000",))
    failure = journey.timed_out(elsewhere, 120.0)
    assert "listens on [::1]:5000, and not on 127.0.0.1:23456" in failure.summary
    assert failure.advice[0] == (
        "Set `port = 5000` in [apps.shop], if the app must have this port "
        "(in a web.config, the environment variable ASPNETCORE_PORT to 5000)."
    )
    assert "PORT" in failure.advice[1]
    assert "{port}" in failure.advice[1]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, "host:0"),
        (2, "host:0 and host:1"),
        (3, "host:0, host:1 and host:2"),
        (10, "host:0, host:1, host:2, host:3, host:4, host:5, host:6, host:7 and 2 more"),
    ],
)
def test_many_addresses_are_told_shortly(count: int, told: str) -> None:
    assert journey.listed([f"host:{number}" for number in range(count)]) == told


def test_a_report_fits_into_a_frame_however_many_addresses_there_are() -> None:
    """An app that could make it longer could end the keeper, and with it every other app's."""
    addresses = tuple(f"[fe80::1234:5678:9abc:def0]:{port}" for port in range(10_000, 60_000))
    elsewhere = dataclasses.replace(LISTENING_NEXT, elsewhere=addresses)
    report = journey.report(elsewhere, journey.timed_out(elsewhere, 120.0), 5.0, last_output="\0" * 100_000)
    assert encode(report)


def test_a_report_fits_into_a_frame_whatever_the_probe_was_told() -> None:
    noticed = dataclasses.replace(LISTENING_NEXT, noticed="\x01" * 100_000)
    noticed = noticed.reach(StartStep.LISTENING, 1.0).reach(StartStep.OURS, 1.0)
    report = journey.report(noticed, journey.timed_out(noticed, 120.0), 5.0, last_output="\0" * 100_000)
    assert report.summary.startswith("The app listens, but was not ready within 120 s (")
    assert encode(report)


def test_time_limits_name_the_step_that_was_not_reached() -> None:
    assert journey.timed_out(Journey("shop", 0.0), 2.0).step is StartStep.SPAWNED
    assert journey.timed_out(LISTENING_NEXT, 2.0).step is StartStep.LISTENING
    ours = LISTENING_NEXT.reach(StartStep.LISTENING, 11.0).reach(StartStep.OURS, 11.0)
    late = journey.timed_out(dataclasses.replace(ours, noticed="GET /up answered 503"), 2.0)
    assert late.step is StartStep.READY
    assert "GET /up answered 503" in late.summary


@given(st.text(st.characters(), max_size=20_000))
def test_any_output_fits_into_a_frame_and_holds_no_control_characters(output: str) -> None:
    failure = journey.ended_early(LISTENING_NEXT, 1 << 8, 0)
    report = journey.report(LISTENING_NEXT, failure, 11.0, last_output=output)
    assert encode(report)
    assert all(one.isprintable() or one in "\n\t" for one in report.last_lines)
    assert len(report.last_lines.split("\n")) <= journey.LAST_LINES


def test_the_newest_lines_are_kept() -> None:
    output = "\n".join(f"line {number}\r" for number in range(1000))
    assert journey.readable_tail(output).split("\n")[-1] == "line 999"


@pytest.mark.parametrize(
    ("status", "advice"),
    [(0, "accord"), (3 << 8, "last lines"), (9, "kernel"), (11, "FAULTHANDLER"), (6 | 0x80, "FAULTHANDLER")],
)
def test_what_to_try_after_a_crash(status: int, advice: str) -> None:
    assert advice in " ".join(journey.crashed(status).advice)
    assert journey.exit_words(status) in journey.crashed(status).summary
