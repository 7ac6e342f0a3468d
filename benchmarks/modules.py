"""What the modules that come with Portico cost a request that passes them all.

`python -m benchmarks.modules [--seconds N] [--rounds N] [--each]` from the checkout, in an environment where Portico is
installed; needs nginx and wrk. Fronts without modules and with five of them take turns at the same load, a GET of 63
bytes, one right after the other; what is compared is the CPU time of the worker per request, within a round. `--each`
adds a front for every module by itself.

The five are filtering (addresses, a rate for all workers, methods, lengths, hidden names), headers (two fields set, one
added, one removed), request_id, offline (a file that is not there) and static (for another path).
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
from contextlib import ExitStack
from typing import ClassVar

from benchmarks import machine
from benchmarks.fronts.front import Front
from benchmarks.fronts.portico import Portico
from benchmarks.load import wrk
from benchmarks.measure import site_for
from benchmarks.processes import NotStarted, cpu_seconds_of
from benchmarks.works import Work

AIM = 1.5

TABLES = {
    "request_id": "",
    "offline": 'file = "offline.html"',
    "filtering": """
deny = ["198.51.100.0/24", "2001:db8::/32"]
rate = 1000000
burst = 1000000
denied_methods = ["TRACE"]
max_target = "4KiB"
max_query = "2KiB"
max_fields = { Cookie = "8KiB", "*" = "16KiB" }
""",
    "headers": """
request.set = { X-Environment = "production" }
response.set = { X-Frame-Options = "DENY", Referrer-Policy = "same-origin" }
response.add = { Link = "</a.css>; rel=preload" }
response.remove = ["Server"]
""",
    "static": 'path = "/static"\nfolder = "."',
}


def table(use: str) -> str:
    return f'\n[[front.modules]]\nuse = "{use}"\n{TABLES[use]}\n'


class Bare(Portico):
    name = "no module"


class Five(Portico):
    name = "five modules"
    more: ClassVar[str] = "".join(map(table, TABLES))


def alone(use: str) -> type[Portico]:
    return type(use, (Portico,), {"name": f"{use} alone", "more": table(use)})


def main() -> int:
    arguments = _parser().parse_args()
    # A run that is told to end must still end what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if lacking := [name for name in machine.NEEDED if machine.program(name) is None]:
        print(f"not installed: {' '.join(lacking)}")
        return 1
    kinds: list[type[Portico]] = [Bare, Five, *(map(alone, TABLES) if arguments.each else ())]
    try:
        costs = measure(kinds, arguments.seconds, arguments.rounds)
    except (machine.UnfitMachine, NotStarted, wrk.NoResult) as why:
        print(why)
        return 1
    show(costs)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.modules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=int, default=2, help="of load, each time (2)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each has its turn (5)")
    parser.add_argument("--each", action="store_true", help="every module by itself, too")
    return parser


def measure(kinds: list[type[Portico]], seconds: int, rounds: int) -> dict[str, list[float]]:
    """CPU microseconds of the worker per request, of every front in every round. Raises UnfitMachine, NotStarted,
    NoResult."""
    machine.raise_open_files()
    cores = machine.cores()
    os.sched_setaffinity(0, cores.rest)
    costs: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    with ExitStack() as stack:
        site = stack.enter_context(site_for(cores))
        fronts: list[Front] = []
        for kind in kinds:
            front = kind(site)
            front.start()
            stack.callback(front.stop)
            fronts.append(front)
        number = 0
        for turn in range(rounds + 1):
            for each in fronts:
                number += 1_000_000
                cost = _cost(each, seconds if turn else 1, number)
                if turn:  # the first one is for imports, pools and memories
                    costs[each.name].append(cost)
    return costs


def _cost(front: Front, seconds: int, number: int) -> float:
    before = cpu_seconds_of(front.pids)
    outcome = wrk.run(front.port, Work.GET.plan, seconds, front.site.folder, number)
    if outcome.errors:
        raise wrk.NoResult(f"{front.name}: {outcome.errors} errors")
    return (cpu_seconds_of(front.pids) - before) / outcome.operations * 1e6


def show(costs: dict[str, list[float]]) -> None:
    bare = costs[Bare.name]
    print(f"{'':22}{'us, median':>12}{'of none, median of rounds':>28}")
    for name, seen in costs.items():
        ratio = statistics.median(cost / none for cost, none in zip(seen, bare, strict=True))
        aim = f"  (aim: at most {AIM})" if name == Five.name else ""
        print(f"{name:22}{statistics.median(seen):12.1f}{ratio:28.2f}{aim}")


if __name__ == "__main__":
    sys.exit(main())
