"""Killing anything is survived: the app, a worker, the keeper; and when supervisord goes, everything goes."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import h11
import pytest

from tests.kit import procfs
from tests.kit.client import Visitor
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import Person, PorticoRun
from tests.kit.until import wait_for_end, wait_until

VISITORS = 6


def test_the_app_killed_ten_times_under_load(folder: Path) -> None:
    """Only what was in flight may fail, with 502, never as a broken connection; the next answer is a new pid's."""
    with PorticoRun(folder, front() + app(command="python one_piece.py")) as run:
        killed = [run.get("/facts").json()["pid"]]
        with Load(run.url, "/", clients=VISITORS) as load:
            for _ in range(10):
                procfs.kill(killed[-1])
                load.wait_for_more(VISITORS + 1)
                killed.append(run.get("/facts").json()["pid"])
        assert len(set(killed)) == 11
        assert set(load.tally) <= {"200", "502"}, load.tally
        assert load.tally["502"] <= 10 * VISITORS, load.tally


def test_a_request_that_no_byte_of_the_dead_app_saw_goes_to_the_next_generation(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        for ended in [True, False] * 5:
            pid = run.get("/facts").json()["pid"]
            procfs.kill(pid)
            if ended:
                wait_for_end(pid)  # else the kernel may still make connections for it
            answer = run.get("/facts")
            assert answer.status == 200
            assert answer.json()["pid"] != pid


def test_a_request_in_flight_when_the_app_dies_gets_502(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run, Visitor(run.url) as visitor:
        pid = run.get("/facts").json()["pid"]
        answer = visitor.get("/kill", [("Accept", "text/plain")])
        assert answer.status == 502
        assert answer.header("proxy-status")
        assert answer.header("x-request-id")
        wait_for_end(pid)
        assert run.get("/facts").json()["pid"] != pid


def test_an_answer_that_breaks_off_never_looks_whole(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run, Visitor(run.url) as visitor:
        visitor.send("GET", "/break")
        assert visitor.head().status == 200
        with pytest.raises((h11.RemoteProtocolError, ConnectionResetError)):
            b"".join(visitor.chunks())


def test_what_a_killed_app_had_started_is_swept(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        family = run.get("/family").json()
        assert all(procfs.alive(member) for member in family.values())
        procfs.kill(pid)
        wait_until(
            lambda: not any(procfs.alive(member) for member in family.values()), f"the end of {family}"
        )
        assert run.get("/").status == 200


def test_a_killed_worker_costs_its_own_requests_only(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        workers = run.workers()
        assert len(workers) == 2
        with Load(run.url, "/", clients=VISITORS) as load:
            load.wait_for_more(50)
            procfs.kill(workers["portico-front:0"])
            wait_until(lambda: len(run.workers()) == 2 and run.workers() != workers, "the new worker")
            load.wait_for_more(50)
        broken = load.failures
        assert len(broken) <= VISITORS, load.tally
        assert {failure.error for failure in broken} <= {"ConnectionResetError", "RemoteProtocolError"}
        assert run.workers()["portico-front:1"] == workers["portico-front:1"]


def test_a_killed_keeper_is_not_noticed_by_the_visitors_of_a_warm_app(folder: Path) -> None:
    with PorticoRun(folder, front() + app() + app("other", path="/other")) as run:
        pid = run.get("/facts").json()["pid"]
        keeper = run.keeper()
        with Load(run.url, "/", clients=VISITORS) as load:
            load.wait_for_more(50)
            procfs.kill(keeper)
            wait_until(lambda: run.keeper() != keeper, "the new keeper")
            wait_until(lambda: run.app("status").status == 0, "the new keeper's answer")
            assert run.get("/other/").status == 200  # the new keeper starts apps
            load.wait_for_more(50)
        assert not load.failures, load.tally
        assert run.get("/facts").json()["pid"] == pid  # the app went on living
        assert "READY" in run.app("status").out.upper()


def test_a_cold_request_while_the_keeper_is_dead_is_answered(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        procfs.kill(run.keeper())
        assert run.get("/").status == 200


def test_when_supervisord_is_killed_nothing_survives_and_a_new_run_starts_at_once(
    folder: Path, person: Person
) -> None:
    config = front() + app() + app("other", "gunicorn --workers 2 probe:wsgi", path="/other")
    with PorticoRun(folder, config, person=person) as run:
        family = run.get("/family").json()
        assert run.get("/other/").status == 200
        everything = {process.pid for process in run.survivors()} | set(family.values())
        assert (
            len(everything) >= 1 + 1 + 2 + 4 + 2
        )  # supervisord, keeper, workers, the family, gunicorn and a worker
        procfs.kill(run.pid)
        run.wait_for_exit()
        with PorticoRun(folder, arguments=["run"], person=person) as again:
            assert again.url == run.url
            assert again.get("/").status == 200
            wait_until(
                lambda: not any(procfs.alive(pid) for pid in everything), "the end of the first run", 10
            )


def test_when_keeper_and_supervisord_are_killed_together_nothing_survives(folder: Path) -> None:
    """The kernel's PDEATHSIG takes workers and apps, the last will what apps have started."""
    with PorticoRun(folder, front() + app()) as run:
        family = run.get("/family").json()
        assert all(procfs.alive(member) for member in family.values())
        keeper = run.keeper()
        os.kill(keeper, signal.SIGSTOP)
        procfs.kill(run.pid)
        procfs.kill(keeper)
        wait_until(lambda: not run.survivors(), "the end of everything")
        for path in run.sockets():
            path.unlink()


def test_all_workers_killed_at_once_refuse_nobody(folder: Path) -> None:
    """The listening socket stays with the plugin: who connects meanwhile waits in its backlog."""
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        for pid in run.workers().values():
            procfs.kill(pid)
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.append(run.get("/").status)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert statuses == [200] * 5
