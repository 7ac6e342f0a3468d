"""The examples run as their README says, and refuse whoever comes past the front."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.client import free_port, get
from tests.kit.run import PorticoRun

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/portico.toml"))


def test_every_kind_of_app_has_an_example() -> None:
    assert NAMES == ["django", "fastapi", "flask", "node", "wsgi"]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_six_lines_at_most(name: str) -> None:
    assert len((EXAMPLES / name / "portico.toml").read_text().splitlines()) <= 6


@pytest.mark.parametrize("name", NAMES)
def test_an_example_serves_and_is_guarded(folder: Path, name: str) -> None:
    shutil.copytree(EXAMPLES / name, folder / name)
    url = f"http://127.0.0.1:{free_port()}"
    arguments = ["run", str(folder / name / "portico.toml"), "--listen", url]
    with PorticoRun(folder, arguments=arguments) as run:
        run.run_directory = folder / name / "run"
        assert run.url == url
        answer = run.get("/")
        assert answer.status == 200
        assert "hello" in answer.text
        assert "127.0.0.1" in answer.text
        pid = run.pid_of("site" if name == "django" else "shop")
        ((host, port),) = procfs.listening({pid, *procfs.descendants(pid)})
        refused = get(f"http://{host}:{port}", "/")
        assert (refused.status, refused.body) == (400, b"")
