"""What the tests named after ANCM's own have in common: the app they run, and what Portico's event log says of it."""

from __future__ import annotations

from typing import Any

from tests.kit.configs import app
from tests.kit.run import PorticoRun

ROW = "python row.py"


def row(name: str = "shop", **keys: object) -> str:
    """`[apps.NAME]` with the app of the rows, at the path of its name unless another one is given."""
    return app(name, **({"command": ROW, "path": f"/{name}"} | keys))  # type: ignore[arg-type]


def told(run: PorticoRun, target: str) -> Any:
    """What the app tells of a GET."""
    answer = run.get(target)
    assert answer.status == 200, answer
    return answer.json()


def pid_of(run: PorticoRun, target: str) -> int:
    return int(told(run, target)["pid"])
