"""A hundred apps defined, one used: that one runs, every command sees them all, and the end waits for none."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from tests.kit import procfs
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun

NAMES = [f"app{number:03}" for number in range(100)]
USED = "app042"
COMMAND = "python life.py"


def running_apps(run: PorticoRun) -> list[int]:
    below = procfs.descendants(run.pid)
    return [pid for pid in below if "life.py" in procfs.argv(pid)]


def test_of_a_hundred_apps_only_the_one_that_is_asked_runs(folder: Path) -> None:
    config = front() + "".join(app(name, COMMAND, path=f"/{name}") for name in NAMES)
    with PorticoRun(folder, config) as run:
        assert running_apps(run) == []
        answer = run.get(f"/{USED}/")
        assert answer.status == 200
        pid = int(answer.json()["pid"])
        assert running_apps(run) == [pid]
        assert run.get("/app100/").status == 404

        table = run.app("status").out
        assert [line.split()[0] for line in table.splitlines()[1:101]] == NAMES
        told = json.loads(run.app("status", "--json").out)["apps"]
        assert [one["name"] for one in told] == NAMES
        assert {one["name"]: one["pid"] for one in told if one["pid"]} == {USED: pid}
        assert Counter(one["state"] for one in told) == {"READY": 1, "STOPPED": 99}

        lines = [line.split() for line in run.supervisorctl("status").out.splitlines()]
        states = {words[0]: words[1] for words in lines if words[0] in NAMES}
        assert sorted(states) == NAMES
        assert [name for name, state in states.items() if state != "STOPPED"] == [USED]

        run.process.terminate()
        # Stock supervisord needs a turn of a second for each group: a hundred are more than this waits at most.
        assert run.wait_for_exit() == 0
        assert stages_of_the_end(run) == ["front", "apps", "keeper", "over"]
        assert not os.path.exists(f"/proc/{pid}")


def stages_of_the_end(run: PorticoRun) -> list[str]:
    return [event["stage"] for event in run.events("shutdown.stage")]
