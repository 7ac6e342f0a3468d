"""Modules in a real front: the example of the docs, and what `portico check` says of those that do not work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kit.configs import app, front
from tests.kit.run import PorticoRun

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "modules.md").read_text(encoding="utf-8")
(PYTHON,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[:1]
(TABLE,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[:1]
NEVER_OPEN = TABLE.replace("closes = 18", "closes = 8")


def test_the_example_is_about_fifteen_lines() -> None:
    assert len([line for line in PYTHON.splitlines() if line.strip()]) <= 15


def test_the_example_of_the_docs(folder: Path) -> None:
    (folder / "hours.py").write_text(PYTHON)
    with PorticoRun(folder, front() + app() + NEVER_OPEN) as run:
        refused = run.get("/facts", [("Accept", "application/json")])
        assert refused.status == 403
        assert "closed at this hour" in refused.text
        assert run.pid_of("shop") == 0  # nobody got as far as the app
        assert run.get("/facts", [("X-Word", "sesame")]).status == 200
        config = run.directory / "portico.toml"
        config.write_text(
            config.read_text().replace("closes = 8", "closes = 24").replace("opens  = 8", "opens = 0")
        )
        assert run.app("reload").status == 0
        assert run.get("/facts").status == 200


@pytest.mark.parametrize(
    ("use", "says"),
    [
        ("hours:Minutes", "has no attribute 'Minutes'"),
        ("ours:Hours", "No module named 'ours'"),
        ("hours:datetime", "no subclass of proxy.modules.Module"),
        ("hours", "a module"),
    ],
)
def test_what_does_not_work_is_said_before_anything_starts(folder: Path, use: str, says: str) -> None:
    (folder / "hours.py").write_text(PYTHON)
    run = PorticoRun(folder, front() + app() + TABLE.replace("hours:Hours", use))
    for words in (("check",), ("run",)):
        ended = run.command(*words)
        assert ended.status in (1, 2)
        assert says in ended.err
        assert "portico.toml:" in ended.err


def test_an_option_that_a_module_misses_is_named(folder: Path) -> None:
    (folder / "hours.py").write_text(PYTHON)
    ended = PorticoRun(folder, front() + app() + TABLE.replace("opens  = 8", "")).command("check")
    assert ended.status == 1
    assert "the option 'opens' is missing" in ended.err
