"""wrk, with a script that makes every request another one and prints exact figures at its end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks import machine
from benchmarks.load.outcome import Outcome
from benchmarks.load.request import VARYING, templates
from benchmarks.works import Plan

MARK = "RESULT "
OVER = 20.0
"""Seconds that wrk may take longer than it was told."""

SCRIPT = """
local templates = {%(templates)s}
local body = %(body)s
local number = %(first)d
function request()
  number = number + 1
  return string.format(templates[number %% #templates + 1], %(numbers)s) .. body
end
function done(summary, latency, requests)
  io.write(string.format('RESULT {"requests": %%d, "bytes": %%d, "microseconds": %%d, "errors": %%d}\\n',
    summary.requests, summary.bytes, summary.duration,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
      + summary.errors.timeout))
end
"""


class NoResult(Exception):
    """wrk did not say what it has done."""


def script(port: int, plan: Plan, first: int) -> str:
    """The Lua script. JSON's strings are Lua's, as long as they are ASCII."""
    body = "x" * plan.size if plan.method == "POST" else ""
    heads = templates(port, plan.method, plan.path, len(body) if body else None)
    return SCRIPT % {
        "templates": ", ".join(json.dumps(head) for head in heads),
        "body": json.dumps(body),
        "first": first,
        "numbers": ", ".join(["number"] * VARYING),
    }


def parse(output: str, plan: Plan) -> Outcome:
    """The outcome in what wrk has printed. Raises NoResult."""
    for line in output.splitlines():
        if line.startswith(MARK):
            said = json.loads(line.removeprefix(MARK))
            operations = said["bytes"] / plan.size if plan.by_bytes else said["requests"]
            return Outcome(operations, said["microseconds"] / 1e6, said["errors"])
    raise NoResult(output[-1000:])


def run(port: int, plan: Plan, seconds: int, folder: Path, first: int, scheme: str = "http") -> Outcome:
    """Load one front for whole seconds. Raises NoResult."""
    path = folder / f"wrk-{port}-{first}.lua"
    path.write_text(script(port, plan, first))
    argv = [
        machine.program("wrk") or "wrk",
        "-t1",
        f"-c{plan.connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
    ]
    done = subprocess.run(
        [*argv, "-s", str(path), f"{scheme}://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        timeout=seconds + OVER,
    )
    return parse(done.stdout + done.stderr, plan)
