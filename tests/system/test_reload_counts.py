"""More processes of an app, fewer, more workers, fewer, while visitors ask: none of them notices."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until
from tests.system.test_reload import LIFE, names, post


def seats(run: PorticoRun) -> dict[str, int]:
    """Name in supervisorctl and pid of the app's processes that run."""
    return {
        name: seat.pid
        for name, seat in run.status().items()
        if name.startswith("shop") and seat.state == "RUNNING"
    }


def reloads(run: PorticoRun) -> int:
    return run.output.count("changed shop")


def reload(run: PorticoRun, config: str) -> str:
    run.rewrite(config)
    done = run.app("reload")
    assert done.status == 0, done.said
    assert "No config updates" in run.supervisorctl("reread").out
    return done.out


def test_an_app_gets_more_processes_and_fewer(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        first = int(run.get("/").json()["pid"])
        workers = run.workers()
        with Load(run.url, "/", clients=6) as load:
            assert "changed shop" in run.reload(front() + app(command=LIFE, processes=3))
            more = wait_until(lambda: len(found := seats(run)) == 3 and found, "three processes")
            assert set(more) == {"shop:0", "shop:1", "shop:2"}
            assert more["shop:0"] == first
            load.wait_for_more(50)
            run.reload(front() + app(command=LIFE))
            for name in ("shop:1", "shop:2"):
                wait_for_end(more[name])
            wait_until(lambda: names(run) == {"shop"}, "one process")
            load.wait_for_more(20)
        assert set(load.tally) == {"200"}, load.tally
        asked = {int(json.loads(outcome.body)["pid"]) for outcome in load.outcomes}
        assert asked == set(more.values()), "some were never asked"
        assert seats(run) == {"shop": first}
        assert run.workers() == workers
        assert run.supervisorctl("restart", "shop").status == 0
        assert int(run.get("/").json()["pid"]) != first


def test_fewer_processes_and_another_command_in_one_step(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE, processes=2)) as run:
        run.get("/")
        old = wait_until(lambda: len(found := seats(run)) == 2 and found, "two processes")
        with Load(run.url, "/", clients=6) as load:
            run.reload(front() + app(command=f"{LIFE} again"))
            load.wait_for_more(20)
        assert set(load.tally) == {"200"}, load.tally
        for pid in old.values():
            wait_for_end(pid)
        (new,) = seats(run).values()
        assert "again" in procfs.argv(new)


def test_an_app_that_does_not_run_has_its_places_at_the_next_start(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE, processes=3)) as run:
        run.reload(front() + app(command=LIFE, processes=2))
        assert names(run) == {"shop:0", "shop:1"}
        run.get("/")
        wait_until(lambda: set(seats(run)) == {"shop:0", "shop:1"}, "two processes")


@pytest.mark.parametrize("at_once", [True, False])
def test_the_keeper_is_killed_in_the_middle(folder: Path, at_once: bool) -> None:
    """The next one means the same by every place, whether or not the last one had heard of the change."""
    with PorticoRun(folder, front() + app(command=LIFE, processes=2)) as run:
        run.get("/")
        old = wait_until(lambda: len(found := seats(run)) == 2 and found, "two processes")
        keeper = run.keeper()
        with Load(run.url, "/", clients=3) as load:
            for number, processes in enumerate((3, 1), 1):
                run.rewrite(front() + app(command=f"{LIFE} {processes}", processes=processes))
                if at_once:  # it never hears of it
                    os.kill(keeper, signal.SIGSTOP)
                os.kill(run.pid, signal.SIGHUP)
                wait_until(lambda number=number: reloads(run) == number, "the reload")  # type: ignore[misc]
                procfs.kill(keeper)
                for pid in old.values():
                    wait_for_end(pid)
                old = wait_until(
                    lambda count=processes: len(found := seats(run)) == count and found,  # type: ignore[misc]
                    f"{processes} processes",
                )
                assert all(procfs.argv(pid)[-1] == str(processes) for pid in old.values())
                keeper = run.keeper()
            load.wait_for_more(10)
        assert set(load.tally) == {"200"}, load.tally
        assert set(seats(run)) == {"shop"}


def test_there_are_more_workers_and_fewer(folder: Path) -> None:
    with PorticoRun(folder, front(workers=1) + app(command=LIFE)) as run:
        before = run.workers()
        shop = int(run.get("/").json()["pid"])
        with Load(run.url, "/sleep?s=0.02", clients=6, keep_alive=False) as load:
            assert "workers" in run.reload(front(workers=3) + app(command=LIFE))
            more = run.workers()
            assert set(more) == {f"portico-front:{number}" for number in range(3)}
            assert before.items() <= more.items(), "the one that was there stays"
            load.wait_for_more(30)
            run.reload(front(workers=2) + app(command=LIFE))
            assert run.workers().items() <= more.items()
            assert len(run.workers()) == 2
            assert not procfs.alive(more["portico-front:2"])
            load.wait_for_more(30)
        assert set(load.tally) == {"200"}, load.tally
        assert int(run.get("/").json()["pid"]) == shop
        procfs.kill(more["portico-front:1"])
        wait_until(lambda: run.workers()["portico-front:1"] != more["portico-front:1"], "the next one")


def test_fewer_workers_and_another_setting_of_theirs_in_one_step(folder: Path) -> None:
    with PorticoRun(folder, front(workers=3) + app(command=LIFE)) as run:
        before = run.workers()
        with Load(run.url, "/", clients=4) as load:
            run.reload(front(workers=1, max_request_body=1000) + app(command=LIFE))
            load.wait_for_more(10)
        assert set(load.tally) == {"200"}, load.tally
        (worker,) = run.workers().values()
        assert worker not in before.values()
        assert post(run, 2000) == 413
