"""The shim installed as the front installs it, and a second environment that knows nothing of Portico."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend_shim.autoload import install
from tests.backend_shim.backend import Backend

Launch = Callable[..., Backend]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("run") / "shim")


@pytest.fixture(scope="session")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of another virtual environment with the same servers."""
    folder = tmp_path_factory.mktemp("other") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run(
        [python, "-c", where], check=True, capture_output=True, text=True
    ).stdout.strip()
    Path(packages, "servers.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def launch(shim: Path, tmp_path: Path) -> Iterator[Launch]:
    """`launch(*command, **fields of Backend)`: a started Backend, killed after the test. `python` is the tests' own."""
    started: list[Backend] = []

    def start(*command: str, **fields: Any) -> Backend:
        words = [sys.executable if word == "python" else word for word in command]
        output = tmp_path / f"output-{len(started)}"
        backend = Backend(words, shim, output, **fields)
        started.append(backend)
        backend.start()
        return backend

    yield start
    for backend in started:
        backend.kill()
