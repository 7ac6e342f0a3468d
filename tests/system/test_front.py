"""The workers: replaced without a visitor noticing, idle when nobody can read, and finishing what runs."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from tests.kit import procfs
from tests.kit.client import Visitor, address_of, get
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until

OBSERVED = 2.0  # seconds during which an idle worker is watched
IDLE = 0.25  # share of a processor that still counts as doing nothing; a spinning loop takes 1.0
PATIENCE = 8.0  # seconds: far below the endless, far above what a loaded machine needs


def test_restarting_all_workers_under_load_refuses_and_resets_nobody(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        before = run.workers()
        with (
            Load(run.url, "/", clients=4) as kept,
            Load(run.url, "/", clients=4, keep_alive=False) as fresh,
        ):
            for _ in range(3):
                assert run.supervisorctl("restart", "portico-front:*").status == 0
        assert not kept.failures, kept.tally
        assert not fresh.failures, fresh.tally
        after = run.workers()
        assert after.keys() == before.keys()
        assert not set(after.values()) & set(before.values())


def test_recycling_the_front_makes_nobody_wait_for_an_endless_client(folder: Path) -> None:
    with PorticoRun(folder, front(drain_limit=60) + app()) as run, Visitor(run.url) as listener:
        listener.send("GET", "/sse")
        assert listener.head().status == 200
        ticks = listener.chunks()
        assert next(ticks)
        before = run.workers()
        with Load(run.url, "/", clients=4, keep_alive=False) as load:
            recycling = threading.Thread(target=run.app, args=("recycle", "portico-front"))
            recycling.start()
            wait_until(lambda: run.workers() != before, "a new worker under an old name")
            load.wait_for_more(100)
            assert next(ticks) == b"data: tick\n\n"  # it still serves its client
            listener.close()
            recycling.join(60)
        assert not load.failures, load.tally
        assert max(outcome.seconds for outcome in load.outcomes) < PATIENCE
        after = run.workers()
        assert after.keys() == before.keys()
        assert not set(after.values()) & set(before.values())
        wait_until(
            lambda: not set(before.values()) & {process.pid for process in run.survivors()},
            "the end of the old workers",
        )


def test_recycling_the_front_keeps_the_number_of_workers(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        before = run.workers()
        assert run.app("recycle", "portico-front").status == 0
        after = run.workers()
        assert after.keys() == before.keys()
        assert not set(after.values()) & set(before.values())
        assert run.get("/").status == 200


def test_an_idle_connection_outlives_the_restart_of_its_worker_by_one_answer(folder: Path) -> None:
    """A worker that drains answers one more request on an idle connection and says that it closes."""
    with PorticoRun(folder, front(workers=1) + app()) as run, Visitor(run.url) as visitor:
        assert visitor.get("/").header("connection") != "close"
        (old,) = run.workers().values()
        restart = threading.Thread(target=run.supervisorctl, args=("restart", "portico-front:*"))
        restart.start()
        wait_until(lambda: "STOPPING" in {seat.state for seat in run.status().values()}, "a draining worker")
        last = visitor.get("/")
        assert last.status == 200
        assert last.header("connection") == "close"
        restart.join(60)
        assert not procfs.alive(old)


def test_a_reader_that_stops_reading_costs_no_cpu(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run, socket.socket() as reader:
        run.get("/")
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(address_of(run.url))
        reader.sendall(b"GET /stream?n=1000&size=100000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reader.recv(1000)
        settled(run)
        assert share_of_a_processor(run) < IDLE


def test_a_half_closed_client_costs_no_cpu(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        with socket.create_connection(address_of(run.url)) as silent, Visitor(run.url) as waiting:
            silent.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            silent.shutdown(socket.SHUT_WR)
            waiting.send("GET", "/sleep?s=20")
            waiting.socket.shutdown(socket.SHUT_WR)
            settled(run)
            assert share_of_a_processor(run) < IDLE


def test_many_idle_connections_cost_no_cpu(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        idle = [Visitor(run.url) for _ in range(400)]
        for visitor in idle[:50]:
            assert visitor.get("/").status == 200
        settled(run)
        assert share_of_a_processor(run) < IDLE
        for visitor in idle:
            visitor.close()


def test_a_request_in_flight_survives_the_restart_of_its_worker(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        answers: list[int] = []

        def slow() -> None:
            answers.append(get(run.url, "/sleep?s=3").status)

        threads = [threading.Thread(target=slow) for _ in range(4)]
        for thread in threads:
            thread.start()
        run.wait_for_sleepers(4)
        assert run.supervisorctl("restart", "portico-front:*").status == 0
        for thread in threads:
            thread.join(60)
        assert answers == [200] * 4


def test_status_shows_the_pid_of_the_app_itself(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        assert run.pid_of("shop") == pid
        assert run.supervisorctl("pid", "shop").out.strip() == str(pid)
        assert "uvicorn" in " ".join(procfs.argv(pid))
        assert set(run.workers()) == {"portico-front:0", "portico-front:1"}
        assert "supervisor_conf.keeper" in procfs.argv(run.keeper())
        for worker in run.workers().values():
            assert "proxy" in procfs.argv(worker)
            assert "-P" in procfs.argv(worker)


def settled(run: PorticoRun) -> None:
    """Wait until the workers have done what the test gave them to do."""
    wait_until(lambda: share_of_a_processor(run, 0.3) < IDLE, "workers at rest")


def share_of_a_processor(run: PorticoRun, seconds: float = OBSERVED) -> float:
    """How busy the busiest worker is, watched for a while: 1.0 is a whole processor."""
    workers = list(run.workers().values())
    before = [procfs.cpu_seconds(pid) for pid in workers]
    began = time.monotonic()
    time.sleep(seconds)
    spent = [procfs.cpu_seconds(pid) - was for pid, was in zip(workers, before, strict=True)]
    return max(spent) / (time.monotonic() - began)
