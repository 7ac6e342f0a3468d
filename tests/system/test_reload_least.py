"""A reload does no more than a changed key needs: nothing is replaced that goes on as it is."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.kit import procfs
from tests.kit.client import free_port
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until
from tests.system.test_reload import LIFE, pid_of, post

BASE = front() + app(command=LIFE)


@contextmanager
def nobody_is_replaced(run: PorticoRun) -> Iterator[None]:
    before = pid_of(run, "/"), run.workers(), run.keeper()
    yield
    assert (pid_of(run, "/"), run.workers(), run.keeper()) == before


def kill_new_worker(run: PorticoRun, number: int, signal_number: int = signal.SIGKILL) -> int:
    """As soon as it is there: it has not even imported what it needs. Returns its pid, 0 while it is not there."""
    spawned = [event["pid"] for event in run.events("worker.spawned", worker=f"portico-front:{number}-new")]
    if spawned:
        os.kill(spawned[-1], signal_number)
    return spawned[-1] if spawned else 0


def test_what_the_keeper_sees_to_replaces_nobody(folder: Path) -> None:
    with PorticoRun(folder, BASE) as run, nobody_is_replaced(run):
        keys = {
            "start": "eager",
            "startup_time_limit": 60,
            "shutdown_time_limit": 5,
            "rapid_fails_per_minute": 3,
            "queue_limit": 10,
            "idle_stop": 3600,
            "ready": "/ready",
            "warm_up": ["/warm"],
            "health": "/health",
            "health_interval": 60,
            "health_failures": 2,
            "overlap": False,
            "recycle_after": {"requests": 100000},
        }
        assert "changed shop" in run.reload(front() + app(command=LIFE, **keys))


def test_health_that_is_asked_for_from_now_on_is_asked_for(folder: Path) -> None:
    with PorticoRun(folder, BASE) as run:
        shop = pid_of(run, "/")
        (folder / "apps" / "sick").write_text(str(shop))
        run.reload(front() + app(command=LIFE, health="/health", health_interval=60))
        run.reload(front() + app(command=LIFE, health="/health", health_interval=1, health_failures=1))
        wait_for_end(shop)


def test_an_app_that_is_eager_from_now_on_is_started(folder: Path) -> None:
    with PorticoRun(folder, BASE) as run:
        run.reload(front() + app(command=LIFE, start="eager"))
        wait_until(lambda: run.pid_of("shop"), "the app")


def test_what_workers_do_replaces_them_alone(folder: Path) -> None:
    with PorticoRun(folder, BASE) as run:
        shop, workers = pid_of(run, "/"), run.workers()
        with Load(run.url, "/", clients=4) as load:
            run.reload(front() + app(command=LIFE, methods=["GET"], request_timeout=0.5))
            load.wait_for_more(20)
        assert set(load.tally) == {"200"}, load.tally
        assert not set(run.workers().values()) & set(workers.values())
        assert pid_of(run, "/") == shop
        assert post(run, 10) == 405
        assert run.get("/sleep?s=30").status == 504


def test_the_output_goes_to_another_file_from_now_on(folder: Path) -> None:
    with PorticoRun(folder, BASE) as run, nobody_is_replaced(run):
        run.get("/sleep?s=0")
        run.reload(front() + app(command=LIFE, stdout_log="elsewhere/out"))
        run.get("/sleep?s=0")
        logs = folder / "elsewhere"
        wait_until(
            lambda: [one.read_text() for one in logs.glob("out_*.log")] == ["a request sleeps\n"], "it"
        )
        assert run.log_of("shop").count("a request sleeps") == 1
        assert "a request sleeps" in run.app("log", "shop").out
        run.reload(front() + app(command=LIFE, stdout_log="elsewhere/out", stdout_log_max_bytes=20))
        for _ in range(3):
            run.get("/sleep?s=0")
        wait_until(lambda: len(list(logs.glob("out_*"))) > 1, "a log that was turned over")
        run.reload(front() + app(command=LIFE, stdout_log=""))
        run.get("/sleep?s=0")
        run.reload(BASE)
        run.get("/sleep?s=0")
        wait_until(lambda: run.log_of("shop").count("a request sleeps") == 2, "the first file again")


def test_another_content_of_the_environment_file_recycles_the_app(folder: Path) -> None:
    file = folder / "shop.env"
    file.write_text("COLOUR=red\n")
    config = front() + app(command=LIFE, environment_file="shop.env", rapid_fails_per_minute=0)
    with PorticoRun(folder, config) as run:
        shop = pid_of(run, "/")
        os.utime(file, (0, 0))
        assert "nothing has changed" in run.reload(config)
        assert pid_of(run, "/") == shop
        file.write_text("COLOUR=blue\n")
        assert "changed shop" in run.reload(config)
        wait_for_end(shop)
        assert procfs.environ(pid_of(run, "/"))["COLOUR"] == "blue"
        procfs.kill(pid_of(run, "/"))
        wait_until(lambda: run.get("/").status == 502, "too many failures")
        assert "nothing has changed" in run.reload(config)
        assert run.get("/").status == 502
        file.write_text("COLOUR=green\n")
        run.reload(config)
        assert (
            procfs.environ(pid_of(run, "/"))["COLOUR"] == "green"
        )  # a fresh breaker, as after any other change
        file.write_text("no pair\n")
        refused = run.app("reload")
        assert refused.status == 1
        assert "shop.env" in refused.err


def test_a_fixed_port_that_moves_loses_no_request(folder: Path) -> None:
    first, second = free_port(), free_port()
    with PorticoRun(folder, front() + app(command=LIFE, port=first)) as run:
        shop = pid_of(run, "/")
        with Load(run.url, "/", clients=4) as load:
            run.reload(front() + app(command=LIFE, port=second))
            load.wait_for_more(10)
        assert set(load.tally) == {"200"}, load.tally
        assert httpx.get(f"http://127.0.0.1:{second}/").json()["pid"] == pid_of(run, "/") != shop
        with socket.create_server(("127.0.0.1", 0)) as foreign:
            taken = foreign.getsockname()[1]
            run.rewrite(front() + app(command=LIFE, port=taken))
            refused = run.app("reload")
        assert refused.status == 1
        assert f"somebody else listens on 127.0.0.1:{taken}" in refused.err


def test_two_fixed_ports_may_be_exchanged(folder: Path) -> None:
    first, second = free_port(), free_port()

    def config(one: int, two: int) -> str:
        return front() + app(command=LIFE, port=one) + app("other", path="/other", command=LIFE, port=two)

    with PorticoRun(folder, config(first, second)) as run:
        shop, other = pid_of(run, "/"), pid_of(run, "/other/")
        run.rewrite(config(second, first))
        run.app("reload")
        wait_for_end(shop)
        wait_for_end(other)
        ports = {first: "/other/", second: "/"}
        for port, path in ports.items():
            wait_until(lambda path=path: run.get(path).status == 200, "the app")  # type: ignore[misc]
            assert httpx.get(f"http://127.0.0.1:{port}/").json()["pid"] == pid_of(run, path)


def test_between_two_paths_nobody_is_sent_where_the_other_is_meant(folder: Path) -> None:
    old, new = app(command=LIFE, path="/old"), app(command=LIFE, path="/new")
    (folder / "apps" / "slow").write_text("0.5")
    with PorticoRun(folder, front() + old) as run:
        run.get("/old/")
        with (
            Load(run.url, "/old/x", clients=3, keep_alive=False) as leaving,
            Load(run.url, "/new/x", clients=3, keep_alive=False) as coming,
        ):
            leaving.wait_for_more(5)
            run.reload(front() + new)
            coming.wait_for_more(20)
        assert set(leaving.tally) == set(coming.tally) == {"200", "404"}
        for load, path in ((leaving, b'"base": "/old"'), (coming, b'"base": "/new"')):
            assert all(path in outcome.body for outcome in load.outcomes if outcome.status == 200)
            assert not any(b'"pid"' in outcome.body for outcome in load.outcomes if outcome.status == 404)


def test_an_app_that_moves_and_does_not_come_is_told(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE, path="/old")) as run:
        run.get("/old/")
        (folder / "apps" / "broken").touch()
        run.rewrite(front() + app(command=LIFE, path="/new"))
        done = run.app("reload")
        assert done.status == 1
        assert "broken by a file" in done.err
        assert run.get("/new/").status == 502
        assert run.get("/old/").status == 404
        (folder / "apps" / "broken").unlink()
        wait_until(lambda: run.get("/new/").status == 200, "the app at its new path")


def test_workers_that_do_not_come_leave_the_others_and_their_apps(folder: Path) -> None:
    other = app("other", path="/other", command=LIFE)
    movers = app("one", path="/a", command=LIFE) + app("two", path="/c", command=LIFE)
    moved = app("one", path="/b", command=LIFE, processes=2) + app("two", path="/d", command=LIFE)
    with PorticoRun(folder, front() + app(command=LIFE) + other + movers) as run:
        shop, gone, workers = pid_of(run, "/"), pid_of(run, "/other/"), run.workers()
        stays, crashes = pid_of(run, "/a/"), pid_of(run, "/c/")
        run.rewrite(front(max_request_body=1000) + app(command=LIFE) + moved)
        with Load(run.url, "/", clients=3) as load:
            os.kill(run.pid, signal.SIGHUP)
            wait_until(lambda: kill_new_worker(run, 0, signal.SIGSTOP), "a new worker")
            procfs.kill(crashes)
            wait_until(lambda: run.get("/c/").status == 503, "a start where no worker looks")
            kill_new_worker(run, 0)
            run.wait_for_output("The workers, one, two, other go on with the earlier settings")
            load.wait_for_more(10)
        assert set(load.tally) == {"200"}, load.tally
        assert run.workers() == workers
        assert (pid_of(run, "/"), pid_of(run, "/other/"), pid_of(run, "/a/")) == (shop, gone, stays)
        assert post(run, 2000) != 413
        # Who dies is followed by one like it: an app that was to move, and a worker.
        assert run.get("/c/").json()["base"] == "/c"
        procfs.kill(stays)
        wait_for_end(stays)
        again = run.get("/a/").json()
        assert (again["base"], again["pid"] != stays) == ("/a", True)
        procfs.kill(run.workers()["portico-front:0"])
        wait_until(lambda: run.workers().keys() == workers.keys() and run.workers() != workers, "a worker")
        assert {post(run, 2000) for _ in range(8)}.isdisjoint({413})
        workers = run.workers()
        assert "ended before it was ready" in run.output
        assert run.app("reload").status == 0
        assert post(run, 2000) == 413
        assert not set(run.workers().values()) & set(workers.values())
        wait_for_end(gone)
        assert pid_of(run, "/other/") == shop
        assert (run.get("/b/").json()["base"], pid_of(run, "/a/")) == ("/b", shop)


def test_a_worker_more_that_does_not_come_is_tried_again(folder: Path) -> None:
    with PorticoRun(folder, BASE) as run:
        shop, workers = pid_of(run, "/"), run.workers()
        run.rewrite(front(workers=3) + app(command=LIFE))
        os.kill(run.pid, signal.SIGHUP)
        wait_until(lambda: kill_new_worker(run, 2), "a new worker")
        run.wait_for_output("go on with the earlier settings")
        assert run.workers() == workers
        assert run.app("reload").status == 0
        assert len(run.workers()) == 3
        assert pid_of(run, "/") == shop
