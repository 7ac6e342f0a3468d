"""Taking an app offline: 503 at once, nobody is cut off, nothing starts, and back with the next request."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.client import Response
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until

PAGE = b"<h1>Sch\xf6n, back soon</h1>"  # Latin-1: the file's bytes, whatever they are


def offline(run: PorticoRun) -> Response:
    return wait_until(lambda: found if (found := run.get("/")).status == 503 else None, "503")


def online(run: PorticoRun) -> Response:
    return wait_until(lambda: found if (found := run.get("/facts")).status == 200 else None, "200")


@pytest.mark.parametrize("name", ["app_offline.htm", "APP_Offline.htm"])
def test_the_file_takes_the_app_offline_and_back(folder: Path, name: str) -> None:
    path = folder / "apps" / name
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        path.write_bytes(PAGE)
        answer = wait_until(lambda: found if (found := run.get("/")).body == PAGE else None, "the page")
        assert answer.status == 503
        assert answer.header("content-type") == "text/html"
        assert int(answer.header("retry-after")) > 0
        assert answer.header("content-security-policy") is None  # its pictures and scripts are its own affair
        wait_for_end(pid)
        assert "OFFLINE" in run.app("status").out
        refused = run.supervisorctl("start", "shop")
        assert refused.status != 0
        assert run.pid_of("shop") == 0
        assert run.app("start", "shop").status == 1
        assert run.get("/").body == PAGE
        path.unlink()
        assert online(run).json()["pid"] not in (0, pid)


def test_a_file_that_is_there_at_the_start_lets_nothing_start(folder: Path) -> None:
    (folder / "apps" / "app_offline.htm").write_bytes(PAGE)
    with PorticoRun(folder, front() + app(start="eager")) as run:
        assert run.get("/").body == PAGE
        assert not (folder / "logs" / "shop").exists()
        (folder / "apps" / "app_offline.htm").unlink()
        wait_until(lambda: run.pid_of("shop"), "the eager app")


def test_a_name_that_begins_like_it_does_not_count(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        for name in ("app_o", "app_offline", "app_offline.html"):
            (folder / "apps" / name).write_bytes(PAGE)
        assert (
            run.app("offline", "shop", "once").status == 0
        )  # the keeper has seen the folder's events by now
        assert run.app("online", "shop").status == 0
        assert online(run).json()["pid"] != pid


def test_what_cannot_be_read_is_503_with_an_empty_body(folder: Path) -> None:
    (folder / "apps" / "app_offline.htm").mkdir()
    with PorticoRun(folder, front() + app()) as run:
        answer = run.get("/", [("Accept", "text/html")])
        assert (answer.status, answer.body) == (503, b"")


def test_requests_in_flight_finish(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        answers: list[Response] = []
        visitor = threading.Thread(target=lambda: answers.append(run.get("/sleep?s=1.5")))
        visitor.start()
        run.wait_for_sleepers()
        (folder / "apps" / "app_offline.htm").write_bytes(PAGE)
        assert offline(run).status == 503
        visitor.join(30)
        assert [answer.status for answer in answers] == [200]


def test_an_operator_takes_it_offline_with_a_message_that_survives_the_keeper(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        done = run.app("offline", "shop", "We move house", "until noon.")
        assert done.status == 0
        assert not procfs.alive(pid)
        for _ in range(2):
            answer = run.get("/", [("Accept", "text/html")])
            assert answer.status == 503
            assert b"We move house until noon." in answer.body
            assert answer.header("retry-after")
            keeper = run.keeper()
            procfs.kill(keeper)
            wait_until(lambda old=keeper: run.keeper() != old, "the new keeper")  # type: ignore[misc]
            wait_until(lambda: run.app("status").status == 0, "the new keeper's answer")
            assert "OFFLINE" in run.app("status").out
        assert run.supervisorctl("start", "shop").status != 0
        (folder / "apps" / "app_offline.htm").write_bytes(PAGE)
        wait_until(lambda: run.get("/").body == PAGE, "the file's page")
        still = run.app("online", "shop")
        assert still.status == 1
        assert "app_offline.htm" in still.err
        (folder / "apps" / "app_offline.htm").unlink()
        assert online(run).status == 200
        assert run.app("offline").status == 2


def test_the_file_that_went_while_there_was_no_keeper(folder: Path) -> None:
    path = folder / "apps" / "app_offline.htm"
    path.write_bytes(PAGE)
    with PorticoRun(folder, front() + app()) as run:
        assert run.get("/").body == PAGE
        keeper = run.keeper()
        os.kill(keeper, 19)  # SIGSTOP: it sees nothing any more
        path.unlink()
        procfs.kill(keeper)
        assert online(run).status == 200
        run.app("stop", "shop")
        assert run.supervisorctl("start", "shop").status == 0
