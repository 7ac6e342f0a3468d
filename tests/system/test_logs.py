"""Log files: who writes them, and what logrotate may do to them at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
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


def test_logs_of_starts_are_pruned_by_number_and_rotated_by_size(folder: Path) -> None:
    config = front() + app(stdout_log_keep=3, stdout_log_max_bytes=1024)
    with PorticoRun(folder, config) as run:
        for _ in range(4):
            run.get("/sleep?s=0")
            assert run.app("stop", "shop").status == 0
            assert run.app("start", "shop").status == 0
        logs = folder / "logs" / "shop"
        assert len(list(logs.iterdir())) == 3
        for _ in range(100):
            run.get("/sleep?s=0")
        wait_until(lambda: any(path.name.endswith(".log.1") for path in logs.iterdir()), "a rotated part")
        wait_until(lambda: len(list(logs.iterdir())) == 3, "the end of one of an earlier start")
        assert max(path.stat().st_size for path in logs.iterdir()) < 2048


def test_a_log_is_followed_across_starts(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/sleep?s=0")
        run.wait_for_sleepers()
        assert "a request sleeps" in run.app("log", "shop").out
        conf = str(run.run_directory / "supervisorctl.conf")
        argv = [str(run.person.bin / "supervisorctl"), "-c", conf, "app", "log", "shop", "-f"]
        shown = folder / "shown"
        with shown.open("wb") as out, subprocess.Popen(argv, stdout=out, cwd=folder) as follower:
            try:
                wait_until(lambda: shown.read_text().count("a request sleeps") == 1, "what was before")
                for count in (2, 3):
                    assert run.app("stop", "shop").status == 0
                    assert run.app("start", "shop").status == 0
                    run.get("/sleep?s=0")
                    wait_until(
                        lambda wanted=count: shown.read_text().count("a request sleeps") == wanted,  # type: ignore[misc]
                        "the next start's output",
                    )
            finally:
                follower.send_signal(signal.SIGINT)
            assert follower.wait(20) == 0
    with PorticoRun(folder, front() + app(stdout_log="")) as run:
        assert run.app("log", "shop").status == 1


def test_reopen_takes_no_name(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        assert run.app("reopen", "shop").status == 2
