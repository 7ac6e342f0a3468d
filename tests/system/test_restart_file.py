"""A touched restart.txt recycles the app, and nobody notices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until


@pytest.mark.parametrize("name", ["restart.txt", "tmp/restart.txt"])
def test_touching_it_recycles_the_app_without_a_failed_request(folder: Path, name: str) -> None:
    path = folder / "apps" / name
    path.parent.mkdir(exist_ok=True)
    with PorticoRun(
        folder,
        front() + app() + app("other", path="/other", directory=".", command="python apps/one_piece.py"),
    ) as run:
        pid, other = run.get("/facts").json()["pid"], run.get("/other/").json()["pid"]
        with Load(run.url, "/", clients=3) as load:
            for _ in range(2):
                load.wait_for_more(3)
                path.touch()
                wait_for_end(pid)
                pid = run.get("/facts").json()["pid"]
            load.wait_for_more(3)
        assert set(load.tally) == {"200"}, load.tally
        assert run.get("/other/").json()["pid"] == other


def test_touched_while_there_is_no_keeper(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        keeper = run.keeper()
        os.kill(keeper, 19)  # SIGSTOP: it sees nothing any more
        (folder / "apps" / "restart.txt").touch()
        procfs.kill(keeper)
        wait_until(lambda: run.get("/facts").json()["pid"] != pid, "another process")
        wait_for_end(pid)
