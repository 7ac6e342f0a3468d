"""What `app status` shows: values first, then the table or the JSON made of them. Pure."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from supervisor_conf.keeper import words
from supervisor_conf.keeper.app import KeptApp
from supervisor_conf.law.commands import State
from supervisor_conf.law.events import Hold
from supervisor_conf.law.rows import Row

_COLUMNS = (
    "NAME",
    "STATE",
    "PID",
    "PORT",
    "GUARDED",
    "UPTIME",
    "GENERATION",
    "STARTS",
    "CRASHES",
    "START-TIME",
    "QUEUE",
)


@dataclass(frozen=True, slots=True)
class AppStatus:
    """One generation, or an app without any (`generation` 0). `since` is wall clock, of its fork."""

    name: str
    state: str
    generation: int
    pid: int
    host: str
    port: int  # 0: it answers on `socket`
    socket: str
    guarded: bool | None  # None: not asked yet
    since: float
    startup_seconds: float | None
    waiting: bool
    requests: int
    healthy: bool
    starts: int  # that became ready, since supervisord began
    crashes: int
    median_start: float | None  # seconds, of the last ten starts
    in_flight: int
    queue: int  # requests that wait, all workers together
    note: str


def statuses(app: KeptApp, away: str) -> list[AppStatus]:
    """`away`: why the app is offline, "" if it is not."""
    rows = [row for row in app.law.rows if row.generation]
    return [_status(app, row, away) for row in rows] or [_status(app, None, away)]


def as_json(apps: list[AppStatus], workers: list[dict[str, object]]) -> str:
    return json.dumps(
        {"apps": [asdict(app) for app in apps], "workers": workers}, ensure_ascii=False, indent=2
    )


def as_table(apps: list[AppStatus]) -> str:
    rows = [_COLUMNS, *(_cells(app) for app in apps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    notes = dict.fromkeys(f"{app.name}: {app.note}" for app in apps if app.note)
    return "\n".join([*(line.rstrip() for line in lines), *notes])


def _cells(app: AppStatus) -> tuple[str, ...]:
    usual = "-" if app.median_start is None else f"{app.median_start:.2f} s"
    counts = (str(app.starts), str(app.crashes), usual, str(app.queue))
    if not app.pid:
        return (app.name, app.state, "-", "-", "-", "-", "-", *counts)
    guarded = {None: "-", True: "guarded", False: "not guarded"}[app.guarded]
    port = str(app.port) if app.port else Path(app.socket).name
    uptime = words.duration(time.time() - app.since)
    return (app.name, app.state, str(app.pid), port, guarded, uptime, str(app.generation), *counts)


def _status(app: KeptApp, row: Row | None, away: str) -> AppStatus:
    known = app.generations.get(row.generation) if row is not None else None
    return AppStatus(
        name=app.settings.name,
        state=row.state if row is not None else app.law.state,
        generation=known.generation if known else 0,
        pid=known.pid if known else 0,
        host=known.host if known else "",
        port=known.port if known else 0,
        socket=known.socket if known else "",
        guarded=row.guarded if row is not None else None,
        since=known.at if known else 0.0,
        startup_seconds=app.ready_after,
        waiting=bool(app.law.waiting),
        requests=app.care.use.requests,
        healthy=row.healthy if row is not None else True,
        starts=app.law.starts,
        crashes=app.law.crashes,
        median_start=app.law.past.median_start,
        in_flight=app.care.use.in_flight,
        queue=app.care.use.waiting,
        note=away or _note(app, row),
    )


def why_down(app: KeptApp, away: str) -> str:
    """Why nothing of the app serves or is about to; "" if something does. `away` as above."""
    if away or any(row.state in (State.READY, State.STARTING) for row in app.law.rows):
        return away
    if app.law.rows:
        return "is being stopped"
    if Hold.FAILED in app.law.holds or Hold.STOPPED in app.law.holds:
        return _note(app, None)
    return "does not run; the next request starts it"


def starts_under_way(app: KeptApp) -> list[str]:
    """A line for each, for `app why`: nothing has failed yet, but somebody waits."""
    now = time.monotonic()
    return [
        f"{app.settings.name}: a start is under way, {words.duration(row.journey.seconds(now))} so far, "
        f"{_note(app, row) or f'next step: {row.journey.next_step}'}"
        for row in app.law.rows
        if row.state is State.STARTING
    ]


def _note(app: KeptApp, row: Row | None) -> str:
    if row is not None and row.state is State.STARTING and row.journey.elsewhere:
        return words.elsewhere(row.journey.elsewhere, row.journey.address)
    if row is not None and row.state is State.READY and row.guarded is False:
        return "answers requests without the token; see `require_pairing`"
    if row is not None and not row.healthy:
        return f"pid {row.pid} is not well; see `app why {app.settings.name}`"
    if row is not None and row.obsolete and row.state is State.READY:
        return f"pid {row.pid} is about to be replaced ({row.obsolete})"
    if row is None and Hold.FAILED in app.law.holds:
        return f"failed too often within a minute; `app reset {app.settings.name}` allows a start at once"
    if row is None and Hold.STOPPED in app.law.holds:
        return f"stopped by an administrator; `app start {app.settings.name}` lifts it"
    if row is None and app.last_report is not None and app.law.state is State.STOPPED:
        return f"{app.last_report.summary} See `app why {app.settings.name}`."
    return ""
