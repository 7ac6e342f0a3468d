"""The keeper's sentences: why requests are refused, and lines about an app for terminals."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from typing import Final

from supervisor_conf.control.messages import Refusal, Report, Spawned

_REFUSALS: Final = {
    "stopped": (503, "The app was stopped by an administrator.", 60),
    "offline": (503, "The app is offline for the moment.", 60),
    "ending": (503, "Portico is shutting down.", 5),
    "rapid-fail": (502, "The app failed too often in a short time.", 60),
    "start-failed": (502, "The app could not be started.", 0),
    "unguarded": (502, "The app answers without its pairing token, so it is not served.", 0),
}


def refusal(why: str, report: Report | None = None) -> Refusal:
    """`why` is one of the words of the control protocol."""
    status, sentence, retry_after = _REFUSALS[why]
    return Refusal(status, why, sentence, retry_after, report)


def as_json(report: Report | None) -> str:
    """`app why --json`: the report, or null."""
    return json.dumps(None if report is None else asdict(report), ensure_ascii=False, indent=2)


def story(report: Report) -> str:
    """`app why`: the report as a person reads it."""
    when = datetime.datetime.fromtimestamp(report.at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    title = (
        "the start failed"
        if report.failed_step
        else "the process ended"
        if report.exit
        else "the process was not well"
    )
    lines = [f"{report.app}: {title} at {when}", f"  {report.summary}"]
    if report.failed_step:
        lines.append(f"  failed step: {report.failed_step}")
    for step in report.steps:
        lines.append(f"    {step.after:8.3f} s  {step.name}{f' ({step.note})' if step.note else ''}")
    lines.append(f"  time spent: {report.seconds:g} s")
    if report.pid:
        lines.append(f"  pid {report.pid}, generation {report.generation}")
    if report.exit:
        lines.append(f"  {report.exit}")
    lines += [f"  try: {advice}" for advice in report.advice]
    if report.last_lines.strip():
        lines += ["  last lines:", *(f"    | {line}" for line in report.last_lines.rstrip("\n").split("\n"))]
    return "\n".join(lines)


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
