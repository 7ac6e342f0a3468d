"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): app_offline.htm. Each test bears the name of its row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.frames import CloseCode, Opcode

from tests.kit import environments
from tests.kit.ancm import pid_of, row
from tests.kit.client import Response
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import Person, PorticoRun
from tests.kit.until import wait_for_end, wait_until
from tests.kit.websocket import WebSocketVisitor

PAGE = "The app is offline: we move house."
WEBSOCKETS = app("sockets", "uvicorn --log-level warning wire:asgi", directory="sockets", path="/sockets")


@pytest.fixture
def run(folder: Path) -> Iterator[PorticoRun]:
    with PorticoRun(folder, front() + row(path="/")) as started:
        yield started


def answers(run: PorticoRun, status: int, target: str = "/") -> Response:
    """The first answer with this status; until then only 200 and 503 come."""

    def asked() -> Response | None:
        answer = run.get(target)
        assert answer.status in (200, 503), answer
        return answer if answer.status == status else None

    return wait_until(asked, f"an answer {status}")


def is_the_page(answer: Response) -> bool:
    return (answer.status, answer.text, answer.header("content-type")) == (503, PAGE, "text/html")


def shows_the_page(run: PorticoRun) -> None:
    """A file that was just made may be seen before anything is in it."""
    wait_until(lambda: is_the_page(answers(run, 503)), "the page")


def file_of(run: PorticoRun, name: str = "app_offline.htm") -> Path:
    return run.directory / "apps" / name


def test_app_offline_test_with_renaming(run: PorticoRun) -> None:
    """In mixed case; what the app has in its folder can be taken away meanwhile, and put back."""
    away, here = file_of(run, "_App_Offline.Htm"), file_of(run, "App_Offline.Htm")
    away.write_text(PAGE)
    for _ in range(3):
        pid = pid_of(run, "/")
        away.rename(here)
        assert is_the_page(answers(run, 503))
        wait_for_end(pid)
        file_of(run, "row.py").rename(file_of(run, "row.away"))
        assert is_the_page(run.get("/"))
        file_of(run, "row.away").rename(file_of(run, "row.py"))
        here.rename(away)
        answers(run, 200)
        assert pid_of(run, "/") != pid
        assert run.events("app.moved", ancm=1001)[-1]["generation"] > 1
    assert {told["ancm"] for told in run.events("app.offline")} == {1012}


def test_app_offline_test_with_deleting(run: PorticoRun) -> None:
    """AppOfflineTestWithUrlRewriteAndDeleting without the rewriting, which is the application's."""
    for _ in range(3):
        pid = pid_of(run, "/")
        file_of(run).write_text(PAGE)
        shows_the_page(run)
        wait_for_end(pid)
        file_of(run).unlink()
        answers(run, 200)
        assert pid_of(run, "/") != pid


def test_app_offline_dropped_while_site_is_down_site_returns_503(folder: Path) -> None:
    (folder / "apps" / "app_offline.htm").write_text(PAGE)
    with PorticoRun(folder, front() + row(path="/")) as run:
        assert is_the_page(run.get("/"))
        assert not run.events("app.spawned")


def test_locked_app_offline_dropped_while_site_is_down_site_returns_503(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    """Mode 000, which keeps everybody out but root: so Portico is run by an ordinary user."""
    ordinary = os.geteuid() == 0
    person: Person | None = None
    if ordinary:
        person = environments.ordinary_person(request.getfixturevalue("ordinary_commands"))
    file = folder / "apps" / "app_offline.htm"
    file.write_text(PAGE)
    file.chmod(0)
    with PorticoRun(folder, front() + row(path="/"), person=person) as run:
        answer = run.get("/")
        assert (answer.status, answer.body) == (503, b"")
        assert not run.events("app.spawned")
        assert "Permission denied" in run.events("app.offline-page")[0]["problem"]


def test_app_offline_dropped_while_site_failed_to_start_in_shim_app_offline_served(folder: Path) -> None:
    (folder / "apps" / "nonexistent").write_text("#!/no/such/interpreter\n")
    (folder / "apps" / "nonexistent").chmod(0o755)
    with PorticoRun(folder, front() + row(path="/", command="./nonexistent")) as run:
        failed = run.get("/")
        assert failed.status == 502
        assert "502.5" in failed.text
        file_of(run).write_text(PAGE)
        assert is_the_page(
            wait_until(lambda: found if (found := run.get("/")).status == 503 else None, "503")
        )


def test_app_offline_dropped_while_site_running_site_shuts_down_out_of_process(run: PorticoRun) -> None:
    pid_of(run, "/")
    for _ in range(5):
        file_of(run).write_text(PAGE)
        answers(run, 503)
        file_of(run).unlink()
        answers(run, 200)


def test_app_offline_dropped_can_remove_app_offline_after_adding_and_site_works(folder: Path) -> None:
    (folder / "apps" / "app_offline.htm").write_text(PAGE)
    with PorticoRun(folder, front() + row(path="/")) as run:
        assert is_the_page(run.get("/"))
        file_of(run).unlink()
        answers(run, 200)


def test_app_offline_added_and_removed_stress(run: PorticoRun) -> None:
    """Two workers, visitors who keep their connections and visitors who do not: only 200 and 503, no broken one."""
    pid_of(run, "/")
    with (
        Load(run.url, "/", clients=2) as keeping,
        Load(run.url, "/", clients=2, keep_alive=False) as coming,
    ):
        for number in range(100):
            file_of(run).write_text(PAGE)
            if number % 20 == 0:
                answers(run, 503)
            file_of(run).unlink()
            if number % 20 == 0:
                answers(run, 200)
        answers(run, 200)
    tallies = [dict(load.tally) for load in (keeping, coming)]
    if any(set(tally) != {"200", "503"} for tally in tallies):
        run.show()
    assert all(set(tally) == {"200", "503"} for tally in tallies), tallies


def test_names_that_begin_like_app_offline(run: PorticoRun) -> None:
    """ANCM took `app_o` for it until .NET 9. What shows that the names were seen is the right one, after them."""
    pid = pid_of(run, "/")
    for name in ("app_o", "app_offline", "app_offline.html", "app_offline.htm.bak", "xapp_offline.htm"):
        file_of(run, name).write_text(PAGE)
    (file_of(run, "restart.txt")).touch()
    wait_for_end(pid)
    assert run.get("/").status == 200
    assert not run.events("app.offline")


def test_v21_web_socket_app_offline_test(folder: Path) -> None:
    """The app closes its sockets itself; its own close frame reaches the visitor before the page does."""
    (folder / "apps").rename(folder / "sockets")
    with PorticoRun(folder, front(drain_limit=1) + WEBSOCKETS) as run:
        for _ in range(5):
            answers(run, 200, "/sockets/")
            with WebSocketVisitor(run.url, "/sockets") as visitor:
                visitor.send("hello")
                assert visitor.text() == "hello"
                (folder / "sockets" / "app_offline.htm").write_text(PAGE)
                last = visitor.until_end()[-1]
                going = CloseCode.SERVICE_RESTART.to_bytes(2, "big")
                assert (last.opcode, last.data[:2]) == (Opcode.CLOSE, going)
            assert is_the_page(run.get("/sockets/"))
            (folder / "sockets" / "app_offline.htm").unlink()


def test_v21_web_socket_recycled_with_config_change_test(folder: Path) -> None:
    (folder / "apps").rename(folder / "sockets")
    with PorticoRun(folder, front(drain_limit=1) + WEBSOCKETS) as run:
        for number in range(3):
            before = answers(run, 200, "/sockets/").json()["pid"]
            with WebSocketVisitor(run.url, "/sockets") as visitor:
                visitor.send("hello")
                assert visitor.text() == "hello"
                run.reload(front(drain_limit=1) + WEBSOCKETS + f'environment.NUMBER = "{number}"\n')
                last = visitor.until_end()[-1]
                going = CloseCode.SERVICE_RESTART.to_bytes(2, "big")
                assert (last.opcode, last.data[:2]) == (Opcode.CLOSE, going)
            assert run.get("/sockets/").json()["pid"] != before
