"""Virtual environments that a person other than root can use, built the way a user builds one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from tests.kit.run import Person

CHECKOUT = Path(__file__).resolve().parents[2]
ORDINARY_USER = "nobody"
SERVERS = (
    "uvicorn",
    "gunicorn",
    "uvicorn-worker",
    "hypercorn",
    "waitress",
    "granian",
    "flask",
    "django",
    "fastapi",
    "websockets",
)


def readable_folder() -> Path:
    """A new temporary folder that every user can look into (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="portico-test-")).resolve()
    folder.chmod(0o755)
    return folder


def servers_environment(folder: Path) -> Path:
    """An environment with the app servers and without Portico; its folder of commands."""
    # The very versions the tests run with: pip then finds every wheel in its cache.
    pinned = [f"{name}=={metadata.version(name)}" for name in SERVERS]
    return _environment(folder, *pinned)


def portico_environment(folder: Path) -> Path:
    """An environment with Portico installed from a copy of this checkout, and two servers; its folder of commands."""
    source = folder / "source"
    unwanted = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "tests")
    shutil.copytree(CHECKOUT, source, ignore=unwanted)
    pinned = [
        f"{name}=={metadata.version(name)}" for name in ("uvicorn", "gunicorn", *_libraries_of_extras())
    ]
    commands = _environment(folder, str(source), *pinned)
    shutil.rmtree(source)  # what runs must be what was installed
    return commands


def _libraries_of_extras() -> list[str]:
    """Those that the tests have as well: each is compiled, which not every machine can."""
    return [name for name in ("gssapi",) if importlib.util.find_spec(name) is not None]


def ordinary_person(commands: Path) -> Person:
    return Person(ORDINARY_USER, commands)


def _environment(folder: Path, *requirements: str) -> Path:
    target = folder / "venv"
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    subprocess.run([_python_for_all(), "-m", "venv", str(target)], check=True, env=quiet)
    pip = [str(target / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(pip, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (folder, target):
        path.chmod(0o755)
    return target / "bin"


def _python_for_all() -> str:
    """A Python 3.11 or newer that the ordinary user can run: the one of the tests, else the system's."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    if os.geteuid() != 0:
        return str(base)
    candidates = [base, *(Path(f"/usr/bin/python3.{minor}") for minor in range(11, 16))]
    for candidate in candidates:
        if candidate.exists() and _runs_for_ordinary_user(candidate):
            return str(candidate)
    raise AssertionError(f"no Python 3.11 or newer that {ORDINARY_USER} can run among {candidates}")


def _runs_for_ordinary_user(python: Path) -> bool:
    try:
        done = subprocess.run(
            [str(python), "-c", "import ensurepip, ssl"],
            cwd="/",
            capture_output=True,
            **Person(ORDINARY_USER, python.parent).popen_arguments(),
        )
    except PermissionError:
        return False
    return done.returncode == 0
