"""A run as Markdown: figures, ratios, aims."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.results import DIRECT, NGINX, PORTICO, Run
from benchmarks.works import Work

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Aim:
    """Portico's CPU time per operation is to be at most `most` times that of `other`."""

    work: Work
    other: str
    most: float


AIMS = (
    Aim(Work.GET, "nginx", 1.7),
    Aim(Work.GET, "Passenger", 0.6),
    Aim(Work.GET, "Caddy", 0.35),
    Aim(Work.GET, "gevent + h11", 0.12),
    Aim(Work.GET, "Portico, no access log", 1.05),
    Aim(Work.POST, "nginx", 2.0),
    Aim(Work.DOWN_64K, "nginx", 1.0),
    Aim(Work.DOWN_1M, "nginx", 0.4),
    Aim(Work.DOWN_10M, "nginx", 0.25),
    Aim(Work.UP_10M, "nginx", 0.25),
    Aim(Work.WEBSOCKET, "nginx", 1.7),
)
PACED_AIM = 1.7
"""The same for the GET at a fixed rate, which is the same for both."""
IDLE_AIM = 4.0
"""KiB per idle connection."""
LATENCY_AIM = 1.0
"""Milliseconds that p99 may be above the direct connection's."""


def markdown(run: Run) -> str:
    """The whole page."""
    parts = [
        _introduction(run),
        "## CPU time of the front, microseconds per operation\n",
        _works(run, run.cost, _figure),
        "## The same as a ratio to nginx\n",
        _works(run, lambda front, work: run.ratio(front, NGINX, work), _ratio),
        "## Operations per second, the front on one core\n",
        _works(run, run.rate, _figure),
        "## Latency at a fixed rate, and idle connections\n",
        _latency_and_idle(run),
        "## Portico's aims\n",
        _aims(run),
    ]
    if errors := run.errors():
        parts += ["## What went wrong\n", "\n".join(f"- {error}" for error in errors) + "\n"]
    return "\n".join(parts)


def _introduction(run: Run) -> str:
    machine = run.machine
    versions = "; ".join(f"{name} {version}" for name, version in run.versions.items())
    lines = [
        "# Portico beside other fronts\n",
        f"{run.when}. {machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"{machine['system']}, Python {machine['python']}. {run.rounds} round{'s' if run.rounds > 1 else ''} of "
        f"{run.seconds} s a load, interleaved; medians. The front on one core, load and backend on the rest.\n",
        f"Versions: {versions}.\n",
    ]
    lines += [f"Left out: {front} ({why.partition(chr(10))[0]}).\n" for front, why in run.left_out.items()]
    return "\n".join(lines)


def _works(
    run: Run, value: Callable[[str, Work], float | None], written: Callable[[float | None], str]
) -> str:
    rows = [
        [work.plan.title, *(written(value(front, work)) for front in run.fronts)]
        for work in Work
        if any(value(front, work) is not None for front in run.fronts)
    ]
    return table(["", *run.fronts], rows)


def _latency_and_idle(run: Run) -> str:
    rows = []
    for front in [DIRECT, *run.fronts]:
        latency, idle = run.latency(front), run.idle(front)
        if latency is None and idle is None:
            continue
        figures = [NOTHING] * 4
        if latency:
            cost = _figure(latency.cost) if latency.cost else NOTHING
            figures = [_number(latency.rate, 0), _number(latency.p50, 3), _number(latency.p99, 3), cost]
        rows.append([front, *figures, _number(idle.kib_each, 2) if idle else NOTHING])
    head = ["requests per second", "p50, ms", "p99, ms", "CPU, us per request", "KiB per idle connection"]
    return table(["", *head], rows)


def _aims(run: Run) -> str:
    rows = [_aim_row(run, aim) for aim in AIMS]
    direct, front, idle = run.latency(DIRECT), run.latency(PORTICO), run.idle(PORTICO)
    nginx = run.latency(NGINX)
    same = nginx is not None and front is not None and nginx.rate == front.rate
    paced = front.cost / nginx.cost if front and nginx and nginx.cost and same else None
    rows.insert(1, ["the same at a fixed rate", f"{PACED_AIM:g} x {NGINX}", *_verdict(paced, PACED_AIM)])
    added = front.p99 - direct.p99 if direct and front else None
    kib = idle.kib_each if idle else None
    rows.append(
        ["p99 added to the direct connection's", f"{LATENCY_AIM:g} ms", *_verdict(added, LATENCY_AIM)]
    )
    rows.append(["memory of an idle connection", f"{IDLE_AIM:g} KiB", *_verdict(kib, IDLE_AIM)])
    return table(["", "at most", "measured", ""], rows)


def _aim_row(run: Run, aim: Aim) -> list[str]:
    return [
        aim.work.plan.title,
        f"{aim.most:g} x {aim.other}",
        *_verdict(run.ratio(PORTICO, aim.other, aim.work), aim.most),
    ]


def _verdict(seen: float | None, most: float) -> tuple[str, str]:
    if seen is None:
        return NOTHING, "not measured"
    return _number(seen, 2), "reached" if seen <= most else "missed"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table, the first column of words, the others of figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _figure(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return NOTHING
    return _number(value, 0 if value >= 100 else 1)


def _ratio(value: float | None) -> str:
    return _number(value, 2)


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"
