"""The README's commands and sample are the ones that are run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_first_two_commands_are_one_line_each() -> None:
    demo, tests = blocks("sh")
    assert demo == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/portico demo\n"
    assert len(tests.splitlines()) == 1


def test_what_runs_every_check_is_the_readmes_second_line() -> None:
    assert f"line='{blocks('sh')[1].strip()}'\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_sample_has_six_lines_at_most_and_is_toml() -> None:
    (sample,) = blocks("toml")
    assert len(sample.splitlines()) <= 6
    assert tomllib.loads(sample)["apps"]["shop"]["command"] == "uvicorn shop:app"


def test_the_token_check_is_the_examples() -> None:
    (shown,) = blocks("js")
    example = (ROOT / "examples" / "node" / "server.js").read_text(encoding="utf-8")
    lines = [line.strip() for line in shown.splitlines() if line.strip() and not line.startswith("//")]
    assert len(lines) <= 10
    assert not [line for line in lines if line not in example]


def test_every_page_it_points_to_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
