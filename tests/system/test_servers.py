"""Zero-code activation: each server, with its address set by command line and by code, here and in another environment.

All apps of one environment are one run; the name in Host tells which is meant.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import procfs
from tests.kit.client import Response, exchange, get
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until

# An address nobody gave to the app: what it asks for is not what it must get.
COMMANDS = {
    "uvicorn-line": "uvicorn --host 0.0.0.0 --port 9876 probe:asgi",
    "uvicorn-workers": "uvicorn --host 0.0.0.0 --port 9876 --workers 2 probe:asgi",
    "uvicorn-code": "python serve.py uvicorn",
    "uvicorn-socket-line": "uvicorn --uds uvicorn.sock probe:asgi",
    "gunicorn-sync-line": "gunicorn --bind 0.0.0.0:9876 probe:wsgi",
    "gunicorn-workers": "gunicorn --workers 2 --bind 0.0.0.0:9876 probe:wsgi",
    "gunicorn-gthread-line": "gunicorn --worker-class gthread --threads 4 --bind 0.0.0.0:9876 probe:wsgi",
    "gunicorn-uvicorn-line": "gunicorn -k uvicorn_worker.UvicornWorker --bind 0.0.0.0:9876 probe:asgi",
    "gunicorn-config": "gunicorn --config bind_by_code.conf.py probe:wsgi",
    "gunicorn-code": "python serve.py gunicorn",
    "hypercorn-line": "hypercorn --bind 0.0.0.0:9876 probe:asgi",
    "hypercorn-code": "python serve.py hypercorn",
    "waitress-line": "waitress-serve --listen 0.0.0.0:9876 probe:wsgi",
    "waitress-code": "python serve.py waitress",
    "granian-asgi-line": "granian --interface asgi --host 0.0.0.0 --port 9876 probe:asgi",
    "granian-wsgi-line": "granian --interface wsgi --host 0.0.0.0 --port 9876 probe:wsgi",
    "granian-code": "python serve.py granian",
    "flask-line": "flask --app flask_app run --host 0.0.0.0 --port 9876",
    "flask-debug-line": "flask --app flask_app run --debug --port 9876",
    "flask-code": "python serve.py flask",
    "werkzeug-code": "python serve.py werkzeug",
    "django-line": "python manage.py runserver --noreload 0.0.0.0:9876",
    "django-reloader-line": "python manage.py runserver 0.0.0.0:9876",
    "django-code": "python serve.py django",
    "fastapi-line": "uvicorn --port 9876 fastapi_app:app",
    "wsgiref-line": "python wsgiref_app.py 9876",
    "wsgiref-code": "python serve.py wsgiref",
}


@pytest.fixture(scope="module", params=["same environment", "another environment"])
def run(request: pytest.FixtureRequest, module_folder: Path) -> Iterator[PorticoRun]:
    commands = Path(sys.executable).parent
    if request.param == "another environment":
        commands = request.getfixturevalue("servers_commands")
    apps = [
        app(name, [str(commands / program), *words], hosts=[f"{name}.test"])
        for name, (program, *words) in ((name, command.split()) for name, command in COMMANDS.items())
    ]
    with PorticoRun(module_folder, front() + "".join(apps)) as started:
        yield started


@pytest.mark.parametrize("server", COMMANDS)
def test_the_server_is_bound_guarded_and_serves(run: PorticoRun, server: str) -> None:
    facts = visit(run, server).json()
    port = int(facts["environment"]["PORT"])
    assert visit(run, server).json()["environment"]["PORT"] == str(port)

    # the token did not reach the app's code
    assert not [name for name, _ in facts["headers"] if "aspnetcore" in name.lower()]

    # bound to the address it was given, and to nothing else
    pid = run.pid_of(server)
    family = {pid, *procfs.descendants(pid)}
    assert facts["pid"] in family
    assert procfs.listening(family) == {("127.0.0.1", port)}

    # straight to the port, without the token
    straight = f"http://127.0.0.1:{port}"
    for target in ("/facts", "/nowhere", "/"):
        refused = get(straight, target, [("Connection", "close")])
        assert (refused.status, refused.body) == (400, b"")


@pytest.mark.parametrize("server", ["uvicorn-line", "hypercorn-code", "granian-asgi-line", "fastapi-line"])
def test_a_websocket_without_the_token_is_refused(run: PorticoRun, server: str) -> None:
    port = visit(run, server).json()["environment"]["PORT"]
    handshake = (
        b"GET /facts HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    status = exchange(f"http://127.0.0.1:{port}", handshake).split(b"\r\n")[0]
    assert status.split()[1] in (b"400", b"403")


def test_app_status_says_who_is_guarded(run: PorticoRun) -> None:
    for server in COMMANDS:
        visit(run, server)
    wait_until(lambda: all(row["guarded"] for row in rows(run)), "every app found guarded")
    assert {row["name"] for row in rows(run)} == set(COMMANDS)
    status = run.app("status").out
    assert "not guarded" not in status
    assert status.count("guarded") == len(COMMANDS)


def rows(run: PorticoRun) -> list[dict[str, Any]]:
    apps: list[dict[str, Any]] = json.loads(run.app("status", "--json").out)["apps"]
    return apps


def visit(run: PorticoRun, server: str) -> Response:
    answer = get(run.url, "/facts", [("Host", f"{server}.test")])
    assert answer.status == 200, f"{answer.status}\n{answer.text}\n{run.app('why', server).said}"
    return answer
