"""ANCM's numbers in our events, and docs/events.md, which lists them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from supervisor_conf import ancm_events, eventlog

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
CASES = [
    (1000, {"event": "app.start-failed", "again": True}),
    (1020, {"event": "app.start-failed", "again": False}),
    (1001, {"event": "app.moved", "was": "STARTING", "now": "READY"}),
    (1033, {"event": "app.moved", "was": "STOPPING", "now": "STOPPED"}),
    (None, {"event": "app.moved", "was": "STOPPED", "now": "STARTING"}),
    (1021, {"event": "app.recycled", "problem": ""}),
    (1022, {"event": "app.recycled", "problem": "start-failed"}),
    (1012, {"event": "app.offline"}),
    (1030, {"event": "app.exited"}),
    (None, {"event": "worker.spawned"}),
    (None, {"event": None}),
]


@pytest.mark.parametrize(("number", "event"), CASES)
def test_the_number_of_an_event(number: int | None, event: dict[str, object]) -> None:
    assert ancm_events.number(event) == number


def test_it_is_in_the_line(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    log = eventlog.open_event_log(fd)
    log.info("app.offline", app="shop")
    log.info("worker.spawned", pid=1)
    os.close(fd)
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert first["ancm"] == 1012
    assert "ancm" not in second


def test_the_page_lists_every_number_and_every_event_of_ours() -> None:
    sources = Path(__file__).parents[2]
    called = re.compile(r'\blog\.(?:debug|info|warning|error)\(\s*"([a-z][a-z._-]*)"', re.ASCII)
    names = {
        name
        for package in ("supervisor_conf", "proxy")
        for path in (sources / package).rglob("*.py")
        for name in called.findall(
            path.read_text("utf-8").replace("_log.", "log.").replace("get_logger().", "log.")
        )
    }
    told = set(re.findall(r"^\| `([a-z._-]+)`", PAGE, re.MULTILINE))
    assert names - told == set()
    numbers = {number for number, _ in CASES if number} | set(ancm_events._ALWAYS.values())
    assert {int(found) for found in re.findall(r"\b(10\d\d)\b", PAGE)} == numbers
