"""A start told as a journey: asked, spawned, exec, listening, ours, ready. A failed one says where, and why.

Everything that ends in front of people is worded here: exit statuses, what went wrong, what to try.
Pure: times are given, nothing is read from the system.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from supervisor_conf.control.messages import Report, Step

LAST_LINES: Final = 40
LAST_CHARACTERS: Final = 6000
"""What a report quotes of the app's output at most: a frame of 64 KiB holds it whatever JSON makes of it."""

ADDRESSES_SHOWN: Final = 8
"""An app may listen on thousands, and what is told of it must fit into a frame."""

LONGEST_SUMMARY: Final = 2000
"""Characters of a report's sentence: it may quote what an app has said."""

LAUNCHER_FAILED: Final = 125
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
"""Exit statuses of the launcher, as the shell and env(1) have them (POSIX XCU 2.8.2)."""


DESCRIPTOR: Final = "descriptor 3"
"""The address of an app that was given its listening socket (`transport = "fd"`)."""


class StartStep(StrEnum):
    """In their order. A start has failed at the first one that it did not reach; EXEC apart, which is only seen if
    somebody looks between it and the process's end."""

    ASKED = "asked"
    SPAWNED = "spawned"
    EXEC = "exec"  # the launcher has become the app's command
    LISTENING = "listening"
    OURS = "ours"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Journey:
    """How far one start came. `asked_at` is monotonic."""

    app: str
    asked_at: float
    attempt: int = 1
    address: str = ""  # what it was told to listen on: "127.0.0.1:23456", "/path/of/a.sock" or DESCRIPTOR
    steps: tuple[Step, ...] = (Step(StartStep.ASKED, 0.0),)
    elsewhere: tuple[str, ...] = ()  # addresses that it listens on instead
    noticed: str = ""  # the last thing the probe saw, in words

    def reach(self, step: StartStep, now: float, note: str = "") -> Journey:
        if self.has(step):
            return self
        return replace(self, steps=(*self.steps, Step(step, round(now - self.asked_at, 4), note)))

    def has(self, step: StartStep) -> bool:
        return any(step == reached.name for reached in self.steps)

    def seconds(self, now: float) -> float:
        return round(now - self.asked_at, 3)

    @property
    def next_step(self) -> StartStep:
        """The first step that was not reached and must be; READY if all were."""
        missing = (step for step in StartStep if step is not StartStep.EXEC and not self.has(step))
        return next(missing, StartStep.READY)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a start failed; with no `step`, how a ready process ended.

    `final`: a second attempt would end the same way.
    """

    step: StartStep | None
    summary: str
    advice: tuple[str, ...] = ()
    why: str = "start-failed"
    final: bool = False


def exit_words(status: int) -> str:
    """A raw wait status (wait(2)) as people say it: "exit status 3", "killed by SIGKILL"."""
    if not os.WIFSIGNALED(status):
        return f"exit status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    known = number in signal.valid_signals() and number in {one.value for one in signal.Signals}
    return f"killed by {signal.Signals(number).name if known else f'signal {number}'}"


# --------------------------------------------------------------------------------------------------------
# What goes wrong with a start


def not_spawned(sentence: str) -> Failure:
    return Failure(StartStep.SPAWNED, sentence, final=True)


def never_spawned(limit: float) -> Failure:
    return Failure(
        StartStep.SPAWNED, f"supervisord did not start the process within {limit:g} s.", final=True
    )


def ended_early(journey: Journey, status: int, left_behind: int) -> Failure:
    """The process exited before it was ready. `left_behind`: descendants of it that live on."""
    code = None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
    if journey.next_step is StartStep.LISTENING and code in _LAUNCHER_WORDS:
        summary, advice = _LAUNCHER_WORDS[code]
        return Failure(StartStep.SPAWNED, summary, (advice,), final=True)
    if code == 0 and left_behind:
        behind = "a process" if left_behind == 1 else f"{left_behind} processes"
        return Failure(
            journey.next_step,
            f"The command put itself into the background: it ended with exit status 0 and left {behind} "
            "behind. What was left has been stopped.",
            (_STAY_IN_FOREGROUND,),
            final=True,
        )
    return Failure(
        journey.next_step,
        f"The process ended before it was ready ({exit_words(status)}).",
        (_STAY_IN_FOREGROUND if code == 0 else "Look at its last lines for the cause.",),
    )


def timed_out(journey: Journey, limit: float) -> Failure:
    """The startup time limit passed."""
    step = journey.next_step
    if step is StartStep.LISTENING and journey.elsewhere:
        return _listens_elsewhere(journey, limit)
    if step is StartStep.SPAWNED:
        return never_spawned(limit)
    if step is StartStep.LISTENING:
        did = "answer" if journey.address == DESCRIPTOR else "listen"
        summary = f"The process did not {did} on {journey.address} within {limit:g} s."
        return Failure(step, summary, (_read_address(journey), _RAISE_LIMIT))
    noticed = f" ({journey.noticed})" if journey.noticed else ""
    summary = f"The app listens, but was not ready within {limit:g} s{noticed}."
    return Failure(step, summary, (_RAISE_LIMIT,))


def foreign_listener(journey: Journey, holder: str) -> Failure:
    """Somebody else listens on the port. `holder`: who, in words."""
    return Failure(
        StartStep.OURS,
        f"{journey.address} is held by {holder}, which is not a process of this app.",
        (
            "Stop the other process, or give the app another port.",
            "A command that leaves its own process group and clears its environment cannot be recognised.",
        ),
    )


def unguarded() -> Failure:
    return Failure(
        StartStep.READY,
        "The app answers requests without the pairing token, and require_pairing is set.",
        (
            "Wrap the app: from backend_shim import integrate; app = integrate(app).",
            "Check that `shim` is not off and that Python is not started with -I or -E.",
        ),
        why="unguarded",
        final=True,
    )


def crashed(status: int) -> Failure:
    """A process that had been ready ended by itself."""
    return Failure(
        None, f"The process ended while it was serving ({exit_words(status)}).", (_after_a_crash(status),)
    )


#: How native code fails (signal(7)).
_FAULTS: Final = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


def _after_a_crash(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "It ended of its own accord, without an error: look for what tells it to."
    if code == -signal.SIGKILL:
        return "Somebody has killed it: a person, a supervisor of memory, or the kernel (`dmesg` tells)."
    if -code in _FAULTS:
        return "Native code has failed; in a Python app PYTHONFAULTHANDLER=1 in `environment` tells where."
    return "Look at its last lines for the cause."


def unwell(summary: str) -> Failure:
    """A process that serves, but not well. `summary`: what was seen."""
    return Failure(
        None,
        f"{summary} The process is replaced.",
        ("Look at its log for the time before.", "`app requests` shows what it is busy with."),
    )


def deaf() -> Failure:
    """A process that had been ready lives, but nobody listens any more."""
    return Failure(
        None,
        "The process stopped listening while it was serving, and was killed.",
        ("Look at its last lines for the cause: it closed its socket and did not end.",),
    )


def _listens_elsewhere(journey: Journey, limit: float) -> Failure:
    port = journey.elsewhere[0].rpartition(":")[2]
    return Failure(
        StartStep.LISTENING,
        f"The app listens on {listed(journey.elsewhere)}, and not on {journey.address}, "
        f"where it was told to ({limit:g} s were waited).",
        (
            f"Set `{_by_port(journey)}port = {port}` in [apps.{journey.app}], if the app must have this port "
            f"(in a web.config, the environment variable ASPNETCORE_PORT to {port}).",
            _read_address(journey),
        ),
        final=True,
    )


def listed(addresses: Sequence[str]) -> str:
    """«a», «a and b», «a, b and c»; of many the first ones, and how many more there are."""
    shown = list(addresses[:ADDRESSES_SHOWN])
    if len(addresses) > len(shown):
        shown.append(f"{len(addresses) - len(shown)} more")
    *others, last = shown
    return f"{', '.join(others)} and {last}" if others else last


def _read_address(journey: Journey) -> str:
    if journey.address == DESCRIPTOR:
        return _READ_DESCRIPTOR
    return _READ_SOCKET if journey.address.startswith("/") else _READ_PORT


def _by_port(journey: Journey) -> str:
    return "" if _read_address(journey) == _READ_PORT else 'transport = "port"` and `'


_STAY_IN_FOREGROUND: Final = (
    "Start the app in the foreground: no `&`, no --daemon; the process that is started must be the app."
)
_READ_PORT: Final = (
    "Make the app listen on the port it is given: it is in the environment as PORT, "
    "and {port} expands in the command."
)
_READ_SOCKET: Final = (
    "Make the app listen on the Unix socket it is given: its path is in the environment as PORTICO_SOCKET, "
    "and {socket} expands in the command."
)
_READ_DESCRIPTOR: Final = (
    "Make the app accept on the listening socket it is given: LISTEN_FDS and LISTEN_PID are in the environment, "
    "and {fd} expands in the command."
)
_RAISE_LIMIT: Final = "Raise startup_time_limit, if the app needs longer."

_LAUNCHER_WORDS: Final = {
    LAUNCHER_FAILED: (
        "The command could not be prepared (exit status 125 of the launcher).",
        "Look at the last lines: the folder, the user or the environment file is the cause.",
    ),
    NOT_EXECUTABLE: (
        "The command was found, but cannot be executed (exit status 126).",
        "Make the file executable for the app's user, or name the interpreter in the command.",
    ),
    NOT_FOUND: (
        "The command was not found (exit status 127).",
        "Check its spelling, and that it is on the PATH of the app's environment or given with its folder.",
    ),
}


# --------------------------------------------------------------------------------------------------------
# The report


def report(
    journey: Journey,
    failure: Failure,
    now: float,
    *,
    generation: int = 0,
    pid: int = 0,
    status: int | None = None,
    last_output: str = "",
) -> Report:
    """The story as a message; `at` is left for whoever knows the wall clock."""
    return Report(
        app=journey.app,
        generation=generation,
        pid=pid,
        summary=failure.summary[:LONGEST_SUMMARY],
        failed_step=failure.step or "",
        steps=journey.steps,
        exit="" if status is None else exit_words(status),
        seconds=journey.seconds(now),
        last_lines=readable_tail(last_output),
        advice=failure.advice,
    )


def went_well(journey: Journey, now: float, *, generation: int, pid: int) -> Report:
    """The story of a start that became ready; `at` is left for whoever knows the wall clock."""
    seconds = journey.seconds(now)
    return Report(
        app=journey.app,
        generation=generation,
        pid=pid,
        summary=f"The app was ready after {seconds:.2f} s.",
        failed_step="",
        steps=journey.steps,
        seconds=seconds,
    )


def readable_tail(output: str) -> str:
    """The last lines without control characters: they end on terminals and in pages."""
    lines = [line.rstrip("\r") for line in output[-LAST_CHARACTERS:].split("\n")]
    text = "\n".join(lines[-LAST_LINES:])
    return "".join(one if one in "\n\t" or one.isprintable() else "�" for one in text)
