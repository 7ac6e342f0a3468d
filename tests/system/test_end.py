"""The end: running requests finish, apps are told, then made to go, and nothing is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.client import Response, Visitor, get, refuses_connections
from tests.kit.configs import app, front
from tests.kit.run import Person, PorticoRun
from tests.kit.until import wait_until

STUBBORN = """
import signal, threading, uvicorn, probe
uvicorn.Server.install_signal_handlers = lambda self: None
uvicorn.Server.capture_signals = __import__("contextlib").nullcontext
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
uvicorn.run(probe.asgi, log_level="warning")
"""


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM"])
def test_running_requests_finish_and_nothing_is_left(folder: Path, person: Person, way: str) -> None:
    config = front() + app() + app("other", "gunicorn --workers 2 probe:wsgi", path="/other")
    with PorticoRun(folder, config, person=person) as run:
        family = run.get("/family").json()
        assert run.get("/other/").status == 200
        answers: list[Response] = []
        slow = threading.Thread(target=lambda: answers.append(get(run.url, "/sleep?s=3")))
        slow.start()
        run.wait_for_sleepers()
        run.interrupt() if way == "Ctrl-C" else run.process.terminate()
        assert run.wait_for_exit() == 0
        slow.join(10)
        assert [answer.status for answer in answers] == [200]
        run.assert_nothing_left()
        assert not any(procfs.alive(pid) for pid in family.values())
        assert not (run.run_directory / "supervisord.pid").exists()
        assert "Traceback" not in run.output


def test_new_visitors_are_refused_while_the_front_ends(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run, Visitor(run.url) as slow:
        run.get("/")
        slow.send("GET", "/sleep?s=3")
        run.wait_for_sleepers()
        run.interrupt()
        wait_until(lambda: refuses_connections(run.url), "closed listeners", 2.5)
        assert slow.receive().status == 200
        assert run.wait_for_exit() == 0


def test_a_visitor_who_waits_for_a_start_is_told_that_it_ends(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command="sleep 600")) as run, Visitor(run.url) as waiting:
        waiting.send("GET", "/")
        wait_until(lambda: run.pid_of("shop"), "the app that never listens")
        run.interrupt()
        answer = waiting.receive()
        assert answer.status == 503
        assert answer.header("retry-after")
        assert run.wait_for_exit() == 0


def test_a_request_longer_than_the_drain_limit_is_cut(folder: Path) -> None:
    with PorticoRun(folder, front(drain_limit=1) + app()) as run, Visitor(run.url) as endless:
        endless.send("GET", "/sse")
        assert endless.head().status == 200
        began = time.monotonic()
        run.interrupt()
        assert run.wait_for_exit() == 0
        assert time.monotonic() - began < 25


def test_an_app_that_ignores_every_word_is_killed(folder: Path) -> None:
    (folder / "apps" / "stubborn.py").write_text(STUBBORN)
    config = front() + app(command="python stubborn.py", shutdown_time_limit=2)
    with PorticoRun(folder, config) as run:
        pid = run.get("/facts").json()["pid"]
        run.interrupt()
        assert run.wait_for_exit() == 0
        assert not procfs.alive(pid)


def test_a_gunicorn_master_goes_with_all_its_workers(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command="gunicorn --workers 2 probe:wsgi")) as run:
        run.get("/")
        master = run.pid_of("shop")
        # The first worker may answer before the second one is there.
        workers = wait_until(lambda: len(found := procfs.descendants(master)) == 2 and found, "two workers")
        family = {master, *workers}
        assert run.app("stop", "shop").status == 0
        wait_until(lambda: not any(procfs.alive(pid) for pid in family), "the end of master and workers")


def test_an_app_that_stops_gracefully_hears_of_it(folder: Path) -> None:
    """The shutdown message stops uvicorn, whose lifespan ends before the process does."""
    (folder / "apps" / "polite.py").write_text(
        "import probe\n"
        "async def app(scope, receive, send):\n"
        "    await probe.asgi(scope, receive, send)\n"
        "    if scope['type'] == 'lifespan':\n"
        "        print('goodbye', flush=True)\n"
    )
    with PorticoRun(folder, front() + app(command="uvicorn polite:app")) as run:
        run.get("/")
        run.interrupt()
        assert run.wait_for_exit() == 0
    (log,) = (folder / "logs" / "shop").iterdir()
    assert "goodbye" in log.read_text()


def test_a_second_ctrl_c_does_no_harm(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        run.interrupt()
        os.kill(run.pid, signal.SIGINT)
        assert run.wait_for_exit() == 0
