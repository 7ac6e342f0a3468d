"""portico.toml for the system tests, written from keywords."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

APPS = Path(__file__).resolve().parents[1] / "system" / "apps"
# Coverage has nothing to measure in an app, whose shim is the run's own copy, and would trace all that it imports.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}
UVICORN = "uvicorn --log-level warning probe:asgi"


def front(**keys: object) -> str:
    """`[front]` on a free port with two workers; `keys` are added or replace."""
    return _table("front", {"listen": ["http://127.0.0.1:@PORT@"], "workers": 2} | keys)


def app(
    name: str = "shop",
    command: str | list[str] = UVICORN,
    *,
    environment: Mapping[str, str] | None = None,
    **keys: object,
) -> str:
    """`[apps.NAME]` in the folder `apps`, where `with_apps` puts the fixture apps."""
    usual: dict[str, object] = {"command": command, "directory": "apps"}
    # Dotted keys, to which a test may add its own.
    variables = {
        f"environment.{json.dumps(key)}": value
        for key, value in (UNMEASURED | dict(environment or {})).items()
    }
    return _table(f"apps.{name}", usual | keys | variables)


def with_apps(folder: Path) -> Path:
    """Copy the fixture apps beside the configuration, where every user can read them."""
    shutil.copytree(APPS, folder / "apps", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [folder / "apps", *(folder / "apps").iterdir()]:
        path.chmod(0o755)
    return folder


def _table(name: str, keys: dict[str, object]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in keys.items()]
    return "\n".join([f"[{name}]", *lines, "", ""])


def _value(value: object) -> str:
    """Strings, numbers, booleans and lists are written alike in JSON and TOML; tables are not."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
