"""Log files: who writes them, and what logrotate may do to them at any moment."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import Person, PorticoRun
from tests.kit.until import wait_until


def test_each_request_is_one_line_of_the_access_log(folder: Path, person: Person) -> None:
    with PorticoRun(folder, front() + app(), person=person) as run:
        for number in range(20):
            assert run.get(f"/?n={number}").status == 200
        path = folder / "logs" / "access.log"
        wait_until(lambda: path.read_text().count("\n") == 20, "twenty lines")
        lines = path.read_text().splitlines()
    assert {int(line.split("?n=")[1].split(" ")[0]) for line in lines} == set(range(20))
    assert all('HTTP/1.1" 200 ' in line and " shop#1 " in line for line in lines)
    assert path.stat().st_uid == person.uid


def test_the_access_log_on_standard_output_and_none(folder: Path) -> None:
    with PorticoRun(folder, front(access_log="-") + app()) as run:
        run.get("/?on=the-terminal")
        run.wait_for_output("/?on=the-terminal")
    with PorticoRun(folder, front(access_log="") + app()) as run:
        run.get("/?nowhere")
    assert "?nowhere" not in run.output
    assert not (folder / "logs" / "access.log").exists()


def test_an_access_log_that_cannot_be_opened_costs_lines_only(folder: Path) -> None:
    (folder / "blocked").write_text("a file, not a folder\n")
    with PorticoRun(folder, front(access_log="blocked/access.log") + app()) as run:
        assert run.get("/").status == 200
        log = run.run_directory / "portico.log"
        wait_until(lambda: "the access log" in log.read_text(), "the warning")


@pytest.mark.parametrize("way", ["app reopen", "SIGUSR2"])
def test_what_logrotate_moved_is_opened_anew_and_no_request_is_lost(
    folder: Path, person: Person, way: str
) -> None:
    """Workers, keeper, supervisord and the app: each goes on in a new file, and no line is lost in between."""
    with PorticoRun(folder, front() + app(), person=person) as run:
        run.get("/sleep?s=0")
        run.wait_for_sleepers()
        access = folder / "logs" / "access.log"
        stdout = next((folder / "logs" / "shop").glob("*.log"))
        events = run.run_directory / "portico.log"
        with Load(run.url, "/", clients=4) as load:
            load.wait_for_more(20)
            for path in (access, stdout, events):
                path.rename(path.with_name(path.name + ".old"))
            if way == "SIGUSR2":
                os.kill(run.pid, signal.SIGUSR2)
            else:
                answer = run.app("reopen")
                assert (answer.status, answer.err) == (0, "")
            wait_until(lambda: all(path.exists() for path in (access, stdout, events)), "new files")
            wait_until(lambda: access.read_text().count("\n") > 20, "lines in the new access log")
        assert set(load.tally) == {"200"}, load.tally
        run.get("/sleep?s=0")
        wait_until(lambda: "a request sleeps" in stdout.read_text(), "the app's output in the new file")
        worker = next(iter(run.workers().values()))
        os.kill(worker, signal.SIGTERM)
        wait_until(lambda: "front.ended" in events.read_text(), "the worker's events in the new file")
        wait_until(lambda: "worker.connected" in events.read_text(), "the keeper's events in the new file")
        wait_until(lambda: "worker.spawned" in events.read_text(), "the plugin's events in the new file")
    both = (access.read_text() + access.with_name("access.log.old").read_text()).splitlines()
    assert sum('"GET / HTTP/1.1" 200' in line for line in both) == len(load.outcomes)


def test_reopen_takes_no_name(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        assert run.app("reopen", "shop").status == 2
