"""`transport = "unix"` and `"fd"`: every server that can, told by its own options and by nobody, as root and as an
ordinary user. As root the apps are another user's than the keeper's, and so are the workers.

All apps are one run; the name in Host tells which is meant.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import environments, procfs
from tests.kit.client import Response
from tests.kit.configs import app, front
from tests.kit.run import Person, PorticoRun, myself
from tests.kit.until import wait_until
from tests.system.conftest import PEOPLE

# "told" by its own options where it has some; "shim": asked for another address, or for none.
COMMANDS = {
    "uvicorn-unix-told": "uvicorn --uds {socket} probe:asgi",
    "uvicorn-unix-shim": "uvicorn --port 9876 probe:asgi",
    "uvicorn-fd-told": "uvicorn --fd {fd} probe:asgi",
    "uvicorn-fd-shim": "uvicorn --workers 2 --port 9876 probe:asgi",
    "gunicorn-unix-told": "gunicorn --bind unix:{socket} --workers 2 probe:wsgi",
    "gunicorn-unix-shim": "gunicorn -k gthread --bind 0.0.0.0:9876 probe:wsgi",
    "gunicorn-fd-told": "gunicorn --bind fd://{fd} probe:wsgi",
    "gunicorn-fd-shim": "gunicorn -k uvicorn_worker.UvicornWorker --workers 2 probe:asgi",
    "hypercorn-unix-told": "hypercorn --bind unix:{socket} probe:asgi",
    "hypercorn-unix-shim": "hypercorn --bind 0.0.0.0:9876 probe:asgi",
    "hypercorn-fd-told": "hypercorn --bind fd://{fd} probe:asgi",
    "hypercorn-fd-shim": "hypercorn probe:asgi",
    "waitress-unix-told": "waitress-serve --unix-socket={socket} probe:wsgi",
    "waitress-unix-shim": "waitress-serve --listen 0.0.0.0:9876 probe:wsgi",
    "waitress-fd-shim": "python serve.py waitress",
    "granian-unix-told": "granian --interface asgi --uds {socket} probe:asgi",
    "granian-unix-shim": "granian --interface wsgi --port 9876 probe:wsgi",
    "granian-fd-shim": "granian --interface asgi --port 9876 probe:asgi",
    "flask-unix-shim": "flask --app flask_app run --port 9876",
    "flask-fd-shim": "flask --app flask_app run --port 9876",
    "django-fd-shim": "python manage.py runserver --noreload 0.0.0.0:9876",
    "wsgiref-unix-shim": "python wsgiref_app.py 9876",
    "wsgiref-fd-shim": "python wsgiref_app.py 9876",
    "node-unix": "/usr/bin/env node listens.js",
    "node-fd": "/usr/bin/env node listens.js",
}
# Without the shim nothing but the command tells the server where to listen.
BARE = {
    "bare-unix": "uvicorn --uds {socket} probe:asgi",
    "bare-fd": "uvicorn --fd {fd} probe:asgi",
}
PORT_NAMES = {"PORT", "HOST", "ASPNETCORE_PORT", "HTTP_PLATFORM_PORT"}
UNPAIRED = b"GET /facts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def transport_of(server: str) -> str:
    return "unix" if "-unix" in server else "fd"


@pytest.fixture(scope="module", params=PEOPLE)
def run(request: pytest.FixtureRequest, module_folder: Path, servers_commands: Path) -> Iterator[PorticoRun]:
    person, keys = myself(), {"user": environments.ORDINARY_USER}
    if request.param != "root":
        keys = {}
        if os.geteuid() == 0:
            person = environments.ordinary_person(request.getfixturevalue("ordinary_commands"))
    apps = [_app(name, command, servers_commands, **keys) for name, command in COMMANDS.items()]
    apps += [_app(name, command, servers_commands, shim="off", **keys) for name, command in BARE.items()]
    with PorticoRun(
        module_folder, front(run_directory=_run_folder(request.param)) + "".join(apps), person=person
    ) as made:
        made.run_directory = module_folder / _run_folder(request.param)
        yield made


def _run_folder(person: str) -> str:
    """One each: the folder that root's run leaves is root's."""
    return "r" if person == "root" else "o"


def _app(name: str, command: str, commands: Path, **keys: Any) -> str:
    program, *words = command.split()
    argv = [program if program.startswith("/") else str(commands / program), *words]
    return app(name, argv, hosts=[f"{name}.test"], transport=transport_of(name), **keys)


def visit(run: PorticoRun, server: str) -> Response:
    answer = run.get("/facts", [("Host", f"{server}.test"), ("X-Forwarded-For", "192.0.2.1")])
    assert answer.status == 200, f"{answer.status}\n{answer.text}\n{run.app('why', server).said}"
    return answer


def folder_of(run: PorticoRun, server: str) -> Path:
    return run.run_directory / "apps" / server


def sockets_of(run: PorticoRun, server: str) -> list[Path]:
    return [path for path in folder_of(run, server).iterdir() if stat.S_ISSOCK(path.lstat().st_mode)]


def exchange(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(30)
        visitor.connect(str(path))
        visitor.sendall(data)
        received = b""
        while more := visitor.recv(65536):
            received += more
        return received


@pytest.mark.parametrize("server", [*COMMANDS, *BARE])
def test_it_serves_on_the_socket_it_was_given_and_on_nothing_else(run: PorticoRun, server: str) -> None:
    facts = visit(run, server).json()
    pid = run.pid_of(server)
    family = {pid, *procfs.descendants(pid)}
    assert facts["pid"] in family
    assert procfs.listening(family) == set()
    (path,) = sockets_of(run, server)

    environment = procfs.environ(pid)
    assert not PORT_NAMES & environment.keys()
    assert not PORT_NAMES & set(facts["names"])
    if transport_of(server) == "unix":
        assert environment["PORTICO_SOCKET"] == str(path)
        assert environment["ASPNETCORE_URLS"] == f"http://unix:{path}"
        assert "LISTEN_FDS" not in environment
    else:
        assert (environment["LISTEN_FDS"], environment["LISTEN_PID"]) == ("1", str(pid))
        assert not {"PORTICO_SOCKET", "ASPNETCORE_URLS"} & environment.keys()

    headers = dict(facts["headers"])
    assert headers["host"] == f"{server}.test"
    if not server.startswith("waitress"):  # whose own middleware keeps these fields from the app
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-host"] == f"{server}.test"
        assert headers["x-forwarded-proto"] == "http"


@pytest.mark.parametrize("server", COMMANDS)
def test_straight_on_the_socket_nobody_gets_further_than_400(run: PorticoRun, server: str) -> None:
    visit(run, server)
    (path,) = sockets_of(run, server)
    head, _, body = exchange(path, UNPAIRED).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert body in (b"", b"0\r\n\r\n")
    wait_until(lambda: " guarded" in run.app("status", server).out, "the app found guarded")


@pytest.mark.parametrize("server", COMMANDS)
def test_after_a_crash_a_new_process_has_a_new_socket(run: PorticoRun, server: str) -> None:
    visit(run, server)
    (before,) = sockets_of(run, server)
    pid = run.pid_of(server)
    token = run.token_of(pid)
    procfs.kill(pid)
    # Its workers may answer until they have been swept.
    wait_until(lambda: not before.exists(), "the socket of the one that crashed gone")
    assert visit(run, server).json()["pid"] != pid
    (after,) = sockets_of(run, server)
    assert after != before
    assert run.token_of(run.pid_of(server)) not in ("", token)


@pytest.mark.parametrize("server", COMMANDS)
def test_a_stopped_app_leaves_no_socket(run: PorticoRun, server: str) -> None:
    visit(run, server)
    (path,) = sockets_of(run, server)
    stopped = run.app("stop", server)
    assert stopped.status == 0, stopped.said
    assert sockets_of(run, server) == []
    assert not path.exists()
    assert run.app("start", server).status == 0
    visit(run, server)


@pytest.mark.parametrize("server", ["gunicorn-unix-shim", "gunicorn-fd-told", "node-unix", "node-fd"])
def test_a_successor_has_a_socket_of_its_own(run: PorticoRun, server: str) -> None:
    pid = visit(run, server).json()["pid"]
    (before,) = sockets_of(run, server)
    recycled = run.app("recycle", server)
    assert recycled.status == 0, recycled.said
    assert visit(run, server).json()["pid"] != pid
    wait_until(lambda: not before.exists(), "the socket of the predecessor gone")
    assert len(sockets_of(run, server)) == 1


def test_no_supervisord_keeps_a_socket_that_it_handed_down(run: PorticoRun) -> None:
    visit(run, "uvicorn-fd-told")
    (path,) = sockets_of(run, "uvicorn-fd-told")
    held = [
        line.split() for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(str(path))
    ]
    listening = {f"socket:[{words[6]}]" for words in held if words[5] == "01" and words[3] == "00010000"}
    assert len(listening) == 1
    holders = {pid for pid in _family(run) if listening & _open_files(pid)}
    assert holders == {run.pid_of("uvicorn-fd-told")}


def test_the_token_is_on_no_command_line_and_in_no_file(run: PorticoRun) -> None:
    tokens = set()
    for server in ("uvicorn-unix-told", "uvicorn-fd-told"):
        visit(run, server)
        tokens.add(run.token_of(run.pid_of(server)).encode())
    assert b"" not in tokens
    written = b"".join(path.read_bytes() for path in run.files())
    lines = " ".join(process.command for process in procfs.processes()).encode()
    assert not [token for token in tokens if token in written or token in lines]


def test_rights(run: PorticoRun) -> None:
    nobody = Person(environments.ORDINARY_USER, run.person.bin).uid
    for server in ("gunicorn-unix-told", "uvicorn-fd-told"):
        facts = visit(run, server).json()
        folder, (path,) = folder_of(run, server), sockets_of(run, server)
        status, sock = folder.stat(), path.lstat()
        assert facts["uid"] == status.st_uid == (nobody if os.geteuid() == 0 else os.geteuid())
        if run.person.uid == 0:
            workers = Path(f"/proc/{next(iter(run.workers().values()))}").stat().st_gid
            assert stat.S_IMODE(status.st_mode) == 0o2710
            assert (status.st_gid, sock.st_gid, stat.S_IMODE(sock.st_mode)) == (workers, workers, 0o660)
        else:
            assert stat.S_IMODE(status.st_mode) == 0o700
            assert stat.S_IMODE(run.run_directory.stat().st_mode) == 0o700


def _family(run: PorticoRun) -> set[int]:
    return {run.pid, *procfs.descendants(run.pid)}


def _open_files(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except FileNotFoundError:
            continue
    return found
