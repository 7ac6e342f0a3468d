"""Nothing of an app outlives it: children, daemons, whatever left its group and session, and whoever was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from supervisor_conf.cgroups import find_home
from tests.kit import procfs
from tests.kit.configs import app, front
from tests.kit.run import Person, PorticoRun
from tests.kit.until import wait_until

ESCAPEES = "python escapees.py"


def family(folder: Path) -> set[int]:
    """The pids of the three children of every start so far."""
    return {int(path.name.rpartition(".")[2]) for path in (folder / "apps").glob("family.*")}


def started(run: PorticoRun, folder: Path, count: int = 3) -> set[int]:
    assert run.get("/").status == 200
    wait_until(lambda: len(family(folder)) == count, "the children")
    found = {pid for pid in family(folder) if procfs.alive(pid)}
    assert len(found) == 3
    return found


def gone(pids: set[int]) -> bool:
    return not any(procfs.alive(pid) for pid in pids)


def writable(folder: Path) -> Path:
    (folder / "apps").chmod(0o777)
    return folder


def test_after_a_crash_a_stop_and_offline(folder: Path, person: Person) -> None:
    with PorticoRun(writable(folder), front() + app(command=ESCAPEES), person=person) as run:
        crashed = started(run, folder)
        procfs.kill(run.pid_of("shop"))
        wait_until(lambda: gone(crashed), "the end of what the crashed app had started")
        stopped = started(run, folder, 6)
        assert run.app("stop", "shop").status == 0
        assert gone(stopped)
        run.app("start", "shop")
        taken = started(run, folder, 9)
        assert run.app("offline", "shop").status == 0
        assert gone(taken)


def test_after_supervisord_was_killed(folder: Path) -> None:
    with PorticoRun(writable(folder), front() + app(command=ESCAPEES)) as run:
        children = started(run, folder)
        procfs.kill(run.pid)
        run.wait_for_exit()
        wait_until(lambda: gone(children) and not run.survivors(), "the end of everything")
        for path in run.sockets():
            path.unlink()


def test_after_supervisord_keeper_and_last_will_were_killed_together_the_next_run_sweeps(
    folder: Path, person: Person
) -> None:
    """Nobody is left to do it then; the marks in their environment tell the next one whose they were."""
    with PorticoRun(writable(folder), front() + app(command=ESCAPEES), person=person) as run:
        children = started(run, folder)
        keeper = run.keeper()
        (will,) = [one.pid for one in run.survivors() if "supervisor_conf.last_will" in one.command]
        os.kill(keeper, signal.SIGSTOP)
        procfs.kill(will)
        procfs.kill(run.pid)
        procfs.kill(keeper)
        run.wait_for_exit()
        assert [pid for pid in children if procfs.alive(pid)], "they were to get away"
        with PorticoRun(folder, arguments=["run"], person=person) as again:
            assert gone(children)
            assert "processes of an earlier run" in again.output
            assert again.get("/").status == 200


@pytest.mark.parametrize("killed", ["app", "supervisord", "supervisord and keeper"])
def test_who_has_left_everything_but_its_cgroup(folder: Path, killed: str) -> None:
    """Where generations have cgroups, it goes with the others. Where they have none, it is beyond reach, and the test
    says so by ending it itself."""
    config = front() + app(command=f"{ESCAPEES} vanish")
    with PorticoRun(writable(folder), config) as run:
        children = started(run, folder)
        vanished = int(wait_until(lambda: list((folder / "apps").glob("vanished.*")), "it")[0].suffix[1:])
        try:
            shop, keeper = run.pid_of("shop"), run.keeper()
            has_cgroups = find_home().folder is not None
            assert bool(run.cgroups()) == has_cgroups
            if killed == "app":
                procfs.kill(shop)
            else:
                if "keeper" in killed:
                    os.kill(keeper, signal.SIGSTOP)
                procfs.kill(run.pid)
                if "keeper" in killed:
                    procfs.kill(keeper)
                run.wait_for_exit()
            wait_until(lambda: gone(children), "the end of the others")
            if has_cgroups:
                wait_until(lambda: not procfs.alive(vanished), "its end")
            if killed != "app":
                wait_until(lambda: run.cgroups() == [] and not run.survivors(), "the end of everything")
            for path in run.sockets() if killed != "app" else ():
                path.unlink()
        finally:
            if procfs.alive(vanished):
                procfs.kill(vanished)


def test_a_clean_end_leaves_no_cgroup(folder: Path) -> None:
    with PorticoRun(writable(folder), front() + app(command=ESCAPEES)) as run:
        started(run, folder)
        assert run.app("recycle", "shop").status == 0
        wait_until(lambda: len(run.cgroups()) <= 1, "the end of the first one's")
        os.kill(run.pid, signal.SIGTERM)
        assert run.wait_for_exit() == 0
        assert run.cgroups() == []


def test_a_command_in_the_background_is_told_to_stay_in_the_foreground(folder: Path) -> None:
    command = ["/bin/sh", "-c", "python one_piece.py &"]
    with PorticoRun(folder, front() + app(command=command)) as run:
        answer = run.get("/", [("Accept", "text/plain")])
        assert answer.status == 502
        assert b"foreground" in answer.body
        assert "foreground" in run.app("why", "shop").out
