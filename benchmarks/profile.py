"""Where the time of a request goes inside Portico's worker.

`python -m benchmarks.profile [--seconds N] [--work KEY]`: `portico run` with its defaults, one worker, under wrk's
load; py-spy looks at the worker's stack a thousand times a second. Needs py-spy beside this Python or on the PATH
(pip install py-spy), nginx and wrk, and the right to look into a process of one's own (root, or
kernel.yama.ptrace_scope = 0).

The figures are microseconds per request: the share of samples times the CPU time that the worker used per request
meanwhile. A system call and whatever else C does count for the line of Python that asked for it. What is on the
CPU counts, waiting does not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from benchmarks import machine
from benchmarks.folded import Profile, summed
from benchmarks.fronts.portico import Portico
from benchmarks.load import wrk
from benchmarks.measure import site_for
from benchmarks.processes import NotStarted, cpu_seconds_of
from benchmarks.works import Load, Work

RATE = 1000
"""Looks a second."""
SPY_START = 20.0
"""Seconds that py-spy may take over its own time."""
ROWS = 25


def main() -> int:
    arguments = _parser().parse_args()
    # A run that is told to end must still end what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    missing = [name for name in machine.NEEDED if machine.program(name) is None]
    if spy is None or missing:
        print(f"not installed: {' '.join([*missing, *([] if spy else ['py-spy (pip install py-spy)'])])}")
        return 1
    work = next(work for work in Work if work.key == arguments.work)
    try:
        profile, cost = take(spy, work, arguments.seconds, arguments.keep)
    except (machine.UnfitMachine, NotStarted, NoProfile) as why:
        print(why)
        return 1
    show(profile, cost, work)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    keys = [work.key for work in Work if work.plan.load is Load.WRK]
    parser.add_argument("--seconds", type=int, default=5, help="how long (5)")
    parser.add_argument("--work", choices=keys, default=Work.GET.key, help="under which load (get)")
    parser.add_argument("--keep", type=Path, help="keep py-spy's stacks in this file (for a flame graph)")
    return parser


class NoProfile(Exception):
    """py-spy failed; the message is what it said."""


def take(spy: str, work: Work, seconds: int, keep: Path | None) -> tuple[Profile, float]:
    """The samples, and CPU microseconds per operation while no one was looking (py-spy stops the process for each
    look). Raises UnfitMachine, NotStarted, NoProfile."""
    machine.raise_open_files()
    cores = machine.cores()
    os.sched_setaffinity(0, cores.rest)
    with ExitStack() as stack:
        site = stack.enter_context(site_for(cores))
        portico = Portico(site)
        portico.start()
        stack.callback(portico.stop)
        before = cpu_seconds_of(portico.pids)
        outcome = wrk.run(portico.port, work.plan, 2, site.folder, 1)
        cost = (cpu_seconds_of(portico.pids) - before) / outcome.operations * 1e6
        stacks = keep or site.folder / "stacks.txt"
        argv = [spy, "record", "--format", "raw", "--rate", str(RATE), "--duration", str(seconds)]
        with subprocess.Popen(
            [*argv, "--output", str(stacks), "--pid", str(portico.pids[0])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as looking:
            wrk.run(portico.port, work.plan, seconds + 1, site.folder, 100_000_000)
            said, _ = looking.communicate(timeout=SPY_START)
        if looking.returncode or not stacks.exists():
            raise NoProfile(said.strip())
        return summed(stacks.read_text().splitlines()), cost


def show(profile: Profile, cost: float, work: Work) -> None:
    print(f"{work.plan.title}: {cost:.1f} us of CPU time per request, {profile.samples} samples\n")
    _rows("by file, own time", profile.own_files, profile.samples, cost)
    _rows("by function, own time", profile.own, profile.samples, cost)
    _rows("by line, own time", profile.own_lines, profile.samples, cost)
    _rows("by function, with what it calls", profile.within, profile.samples, cost)


def _rows(title: str, counts: Counter[str], samples: int, cost: float) -> None:
    print(f"{title}\n{'us':>8}{'share':>8}")
    for where, count in counts.most_common(ROWS):
        share = count / samples
        print(f"{share * cost:8.1f}{share:8.1%}  {where}")
    print()


if __name__ == "__main__":
    sys.exit(main())
