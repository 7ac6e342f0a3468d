"""What the tests named after ANCM's own have in common: the app they run, and what Portico's event log says of it."""

from __future__ import annotations

import json
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


def events(run: PorticoRun, name: str = "", **fields: object) -> list[dict[str, Any]]:
    """Lines of portico.log, by their event and fields."""
    lines = [json.loads(line) for line in (run.run_directory / "portico.log").read_text().splitlines()]
    return [
        line
        for line in lines
        if (not name or line["event"] == name)
        and all(line.get(key) == value for key, value in fields.items())
    ]


def reload(run: PorticoRun, config: str) -> None:
    """The configuration is another one from now on."""
    file = run.directory / "portico.toml"
    new = file.with_suffix(".new")
    new.write_text(config.replace("@PORT@", str(run.port)))
    run.person.owns(new)
    new.rename(file)
    done = run.app("reload")
    assert done.status == 0, done.said
