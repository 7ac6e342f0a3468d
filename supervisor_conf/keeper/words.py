"""The keeper's sentences: why requests are refused, and lines about an app for terminals."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from supervisor_conf.control.messages import Refusal, Report, Spawned
from supervisor_conf.law.journey import listed

_REFUSALS: Final = {
    "stopped": (503, "The app was stopped by an administrator.", 60),
    "offline": (503, "The app is offline for the moment.", 60),
    "ending": (503, "Portico is shutting down.", 5),
    "rapid-fail": (502, "The app failed too often in a short time.", 60),
    "start-failed": (502, "The app could not be started.", 0),
    "unguarded": (502, "The app answers without its pairing token, so it is not served.", 0),
}


NOTHING_FAILED: Final = "no start has failed and no process has crashed."


def refusal(why: str, report: Report | None = None) -> Refusal:
    """`why` is one of the words of the control protocol."""
    status, sentence, retry_after = _REFUSALS[why]
    return Refusal(status, why, sentence, retry_after, report)


def as_json(app: str, report: Report | None, last_start: Report | None, now: str) -> str:
    """`app why --json`: the report of the last failure, with `last_start` beside, the last start that went well since
    (or null), and `now`, why nothing runs ("" while something does). Nothing has failed: a report without a date
    (`at` is 0)."""
    told = asdict(report or Report(app, 0, 0, NOTHING_FAILED, ""))
    told["last_start"] = None if last_start is None else asdict(last_start)
    told["now"] = now
    return json.dumps(told, ensure_ascii=False, indent=2)


def why(app: str, report: Report | None, last_start: Report | None) -> str:
    """`app why`: the last start that went well since the last failure, then that failure."""
    failed = f"{app}: {NOTHING_FAILED}" if report is None else story(report)
    return failed if last_start is None else f"{_good_story(last_start)}\n{failed}"


def _good_story(report: Report) -> str:
    lines = [f"{report.app}: the last start went well at {_moment(report)}", f"  {report.summary}"]
    return "\n".join([*lines, *_steps(report), f"  pid {report.pid}, generation {report.generation}"])


def _moment(report: Report) -> str:
    return datetime.datetime.fromtimestamp(report.at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _steps(report: Report) -> list[str]:
    return [
        f"    {step.after:8.3f} s  {step.name}{f' ({step.note})' if step.note else ''}"
        for step in report.steps
    ]


def story(report: Report) -> str:
    """The report of a failure as a person reads it."""
    title = (
        "the start failed"
        if report.failed_step
        else "the process ended"
        if report.exit
        else "the process was not well"
    )
    lines = [f"{report.app}: {title} at {_moment(report)}", f"  {report.summary}"]
    if report.failed_step:
        lines.append(f"  failed step: {report.failed_step}")
    lines += _steps(report)
    lines.append(f"  time spent: {report.seconds:g} s")
    if report.pid:
        lines.append(f"  pid {report.pid}, generation {report.generation}")
    if report.exit:
        lines.append(f"  {report.exit}")
    lines += [f"  try: {advice}" for advice in report.advice]
    if report.last_lines.strip():
        lines += ["  last lines:", *(f"    | {line}" for line in report.last_lines.rstrip("\n").split("\n"))]
    return "\n".join(lines)


def elsewhere(addresses: Sequence[str], address: str) -> str:
    """Of an app that is being started."""
    return f"listens on {listed(addresses)}, not yet on {address}, which it was given"


def where(generation: Spawned) -> str:
    """What the app was given to listen on."""
    if generation.handed:
        return "a descriptor"
    return f"socket {generation.socket}" if generation.socket else f"port {generation.port}"


def outcome(report: Report, *, crash: bool, again: bool) -> str:
    """One line for the terminal."""
    if crash:
        return f"{report.app}: crashed ({report.exit})" if report.exit else f"{report.app}: crashed"
    return f"{report.app}: start failed: {report.summary}{' Trying once more.' if again else ''}"


def duration(seconds: float) -> str:
    """«4 s», «3 min 20 s», «2 h 5 min», «3 d 4 h»."""
    whole = int(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
