"""Every known server as a real process: bound to our address whatever it was told, guarded, and stopped as a whole."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.backend_shim.backend import APPS, Backend, free_port, parse
from tests.backend_shim.conftest import Launch
from tests.backend_shim.test_identity import REQUEST_ID, identity
from tests.kit.until import wait_until

# `{asked}`: a port that the command line or the code asks for, and must not get.
BY_COMMAND_LINE = {
    "uvicorn": "python -m uvicorn --host 0.0.0.0 --port {asked} facts:asgi",
    "uvicorn workers": "python -m uvicorn --workers 2 --port {asked} facts:asgi",
    "uvicorn reload": "python -m uvicorn --reload --port {asked} facts:asgi",
    "uvicorn socket": "python -m uvicorn --uds {folder}/asked.sock facts:asgi",
    "uvicorn wsgi": "python -m uvicorn --interface wsgi --port {asked} facts:wsgi",
    "gunicorn sync": "python -m gunicorn --no-control-socket -b 0.0.0.0:{asked} -b [::1]:{asked} facts:wsgi",
    "gunicorn gthread": "python -m gunicorn -k gthread --threads 2 -b 0.0.0.0:{asked} facts:wsgi",
    "gunicorn gevent": "python -m gunicorn -k gevent -b 0.0.0.0:{asked} facts:wsgi",
    "gunicorn preload": "python -m gunicorn --preload -w 2 -b 0.0.0.0:{asked} facts:wsgi",
    "gunicorn uvicorn_worker": "python -m gunicorn -k uvicorn_worker.UvicornWorker -b 0.0.0.0:{asked} facts:asgi",
    "gunicorn uvicorn.workers": "python -m gunicorn -k uvicorn.workers.UvicornWorker -b 0.0.0.0:{asked} facts:asgi",
    "gunicorn configuration file": "python -m gunicorn -c two_binds.py facts:wsgi",
    "hypercorn": "python -m hypercorn -b 0.0.0.0:{asked} -b [::1]:{asked} facts:asgi",
    "hypercorn workers": "python -m hypercorn -w 2 -b 0.0.0.0:{asked} facts:asgi",
    "hypercorn wsgi": "python -m hypercorn -b 0.0.0.0:{asked} wsgi:facts:wsgi",
    "waitress": "python -m waitress --listen 0.0.0.0:{asked} --listen [::1]:{asked} facts:wsgi",
    "granian asgi": "python -m granian --interface asgi --host 0.0.0.0 --port {asked} facts:asgi",
    "granian wsgi": "python -m granian --interface wsgi --workers 2 --host 0.0.0.0 --port {asked} facts:wsgi",
    "flask": "python -m flask --app flask_app run --host 0.0.0.0 --port {asked}",
    "flask debug": "python -m flask --app flask_app run --debug --host 0.0.0.0 --port {asked}",
    "django": "python django_site.py runserver --noreload 0.0.0.0:{asked}",
    "django reloader": "python django_site.py runserver 0.0.0.0:{asked}",
    "django ipv6": "python django_site.py runserver -6 --noreload {asked}",
}
BY_CODE = {
    "uvicorn code": "python serve.py uvicorn {asked}",
    "uvicorn own sockets": "python serve.py uvicorn_sockets {asked}",
    "gunicorn code": "python serve.py gunicorn {asked}",
    "hypercorn code": "python serve.py hypercorn {asked}",
    "waitress code": "python serve.py waitress {asked}",
    "granian code": "python serve.py granian {asked}",
    "granian embedded": "python serve.py granian_embed {asked}",
    "flask code": "python serve.py flask {asked}",
    "werkzeug code": "python serve.py werkzeug {asked}",
    "wsgiref code": "python serve.py wsgiref {asked}",
}
COMMANDS = {**BY_COMMAND_LINE, **BY_CODE}
ELSEWHERE = [
    "uvicorn workers",
    "gunicorn configuration file",
    "gunicorn uvicorn_worker",
    "hypercorn",
    "waitress",
    "granian wsgi",
    "flask debug",
    "django reloader",
    "wsgiref code",
]
MASTERS = (
    "uvicorn workers",
    "uvicorn reload",
    "gunicorn",
    "hypercorn",
    "granian asgi",
    "granian wsgi",
    "granian code",
)
WEBSOCKET_SERVERS = ("uvicorn", "hypercorn", "granian asgi")


def words(server: str, asked: int, folder: Path) -> list[str]:
    return COMMANDS[server].format(asked=asked, folder=folder).split()


def start(launch: Launch, server: str, folder: Path, **fields: object) -> Backend:
    asked = free_port()
    environment = {"ASKED_PORT": str(asked)}
    return launch(*words(server, asked, folder), environment=environment, **fields)


@pytest.mark.parametrize("server", COMMANDS)
def test_it_is_bound_guarded_told_who_calls_and_stopped(launch: Launch, server: str, tmp_path: Path) -> None:
    app = start(launch, server, tmp_path, base="/shop")

    assert app.listening() == {("127.0.0.1", app.port)}
    refuses_without_the_token(app)
    tells_who_calls_and_where(app)
    hides_the_token_in_every_spelling(app)

    status = app.stop()
    assert status == 0 if server.startswith(MASTERS) else status in (0, -15)
    assert app.token not in app.log


@pytest.mark.parametrize("server", ELSEWHERE)
def test_in_another_virtual_environment(
    launch: Launch, other_python: str, server: str, tmp_path: Path
) -> None:
    asked = free_port()
    command = [other_python if word == "python" else word for word in words(server, asked, tmp_path)]
    app = launch(*command, environment={"ASKED_PORT": str(asked)})

    assert app.listening() == {("127.0.0.1", app.port)}
    refuses_without_the_token(app)
    assert app.paired("/x").facts["path"] == "/x"
    app.stop()


@pytest.mark.parametrize(
    "server", [*BY_CODE, "uvicorn", "uvicorn workers", "gunicorn sync", "hypercorn", "waitress"]
)
def test_on_a_unix_socket(launch: Launch, server: str, tmp_path: Path) -> None:
    app = start(launch, server, tmp_path, base="/shop", socket_path=str(tmp_path / "app.sock"))

    assert app.listening() == set()
    refuses_without_the_token(app)
    tells_who_calls_and_where(app)
    app.stop()


@pytest.mark.parametrize(
    "server", [*BY_CODE, "uvicorn", "uvicorn workers", "gunicorn sync", "django reloader"]
)
def test_on_a_passed_descriptor(launch: Launch, server: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = start(launch, server, tmp_path, base="/shop", listener=listener)

        assert app.listening() == {listener.getsockname()}
        refuses_without_the_token(app)
        tells_who_calls_and_where(app)
        app.stop()


def refuses_without_the_token(app: Backend) -> None:
    for target in ("/", "/nowhere", app.base.rstrip("/") + "/iisintegration"):
        for method in ("GET", "POST", "OPTIONS"):
            answer = app.ask(target, method=method)
            assert (answer.status, answer.body) == (400, b"")
    shutdown = app.ask("/iisintegration", "MS-ASPNETCORE-EVENT: shutdown", method="POST")
    assert (shutdown.status, shutdown.body) == (400, b"")
    field = "MS-ASPNETCORE-TOKEN: "
    for fields in (
        [field + "wrong"],
        [field],
        [field + app.token.upper() + "x"],
        [field + app.token, field + app.token],
        [field + app.token, field + "wrong"],
        [field + "wrong", field + app.token],
        [field + app.token, "ms-aspnetcore-token: wrong"],
        [field + app.token + "," + app.token],
    ):
        answer = app.ask("/", *fields)
        assert (answer.status, answer.body) == (400, b""), fields
    assert "refused without the pairing token" in app.log


def tells_who_calls_and_where(app: Backend) -> None:
    front = ("X-Forwarded-For: 198.51.100.9, 192.0.2.7", "X-Forwarded-Proto: https")
    facts = app.paired("/SHOP/x/y?q=1", *front).facts
    assert (facts["client"], facts["scheme"], facts["host"]) == ("192.0.2.7", "https", "visitors.example")
    whole = facts["kind"] == "asgi"
    assert (facts["script"], facts["path"]) == ("/SHOP", "/SHOP/x/y" if whole else "/x/y")
    outside = app.paired("/shopping").facts
    assert (outside["script"], outside["path"]) == ("", "/shopping")


def hides_the_token_in_every_spelling(app: Backend) -> None:
    for name in ("ms-aspnetcore-token", "Ms-AspNetCore-Token", "MS-ASPNETCORE-TOKEN"):
        facts = app.ask(
            "/", f"{name}: {app.token}", "MS-ASPNETCORE-WINAUTHTOKEN: 0", "MS-ASPNETCORE-EVENT: x"
        ).facts
        assert not [header for header in facts["headers"] if "aspnetcore" in header.lower()]
    # A server may drop a name with `_`, or hand it on as the same name: then it is one token too many.
    answer = app.ask("/", f"MS_ASPNETCORE_TOKEN: {app.token}", token=app.token)
    if answer.status != 400:
        assert not [header for header in answer.facts["headers"] if "aspnetcore" in header.lower()]


@pytest.mark.parametrize("server", WEBSOCKET_SERVERS)
def test_websockets(launch: Launch, server: str, tmp_path: Path) -> None:
    app = start(launch, server, tmp_path)
    fields = (
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Forwarded-Proto: https\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    refused = parse(app.exchange((fields + "\r\n").encode()))  # until the server closes
    assert (refused.status, refused.body) == (400, b"")
    with app.connect() as client:
        client.sendall((fields + f"MS-ASPNETCORE-TOKEN: {app.token}\r\n\r\n").encode())
        seen = b""
        while b"wss" not in seen:
            chunk = client.recv(4096)
            assert chunk, seen
            seen += chunk
        assert seen.startswith(b"HTTP/1.1 101")


def test_the_lifespan_is_the_apps_own(launch: Launch, tmp_path: Path) -> None:
    app = start(launch, "uvicorn", tmp_path)
    assert "lifespan: up" in app.log
    app.stop()
    assert "lifespan: down" in app.log


def test_an_rsgi_app_is_guarded_too(launch: Launch) -> None:
    app = launch("python", "-m", "granian", "--interface", "rsgi", "facts:rsgi", base="/shop")
    refuses_without_the_token(app)
    assert app.paired("/x").facts == {"kind": "rsgi"}
    said = f"MS-ASPNETCORE-IDENTITY: {identity(app.token)}"
    assert app.paired("/x", said, f"X-Request-ID: {REQUEST_ID}").facts == {"kind": "rsgi"}
    assert app.paired("/x", said, "X-Request-ID: another").status == 400
    assert "identity that cannot be believed (it belongs to another request)" in app.log
    assert app.stop() == 0


IDENTITY_SERVERS = [
    "gunicorn sync",
    "gunicorn uvicorn_worker",
    "hypercorn",
    "hypercorn wsgi",
    "granian asgi",
    "granian wsgi",
    "uvicorn wsgi",
    "wsgiref code",
]


@pytest.mark.parametrize("server", IDENTITY_SERVERS)
def test_who_the_visitor_is_reaches_the_app_through_every_kind_of_server(
    launch: Launch, tmp_path: Path, server: str
) -> None:
    app = start(launch, server, tmp_path)
    who, request_id = f"MS-ASPNETCORE-IDENTITY: {identity(app.token)}", f"X-Request-ID: {REQUEST_ID}"
    assert app.paired("/", who, request_id).facts["user"] == "ann"
    assert app.paired("/", request_id, "Remote-User: eve").facts["user"] is None
    assert app.paired("/", who, "X-Request-ID: another").status == 400


def test_who_the_visitor_is_reaches_a_wsgi_app_inside_an_asgi_one(launch: Launch) -> None:
    app = launch("python", "-m", "uvicorn", "--port", str(free_port()), "mounted:app")
    who, request_id = f"MS-ASPNETCORE-IDENTITY: {identity(app.token)}", f"X-Request-ID: {REQUEST_ID}"
    for wrapper in ("starlette", "asgiref", "a2wsgi"):
        assert app.paired(f"/{wrapper}/", who, request_id).facts["user"] == "ann"
        assert app.paired(f"/{wrapper}/", request_id, "Remote-User: eve").facts["user"] is None


def test_fastapi_below_an_application_path(launch: Launch) -> None:
    app = launch("python", "-m", "uvicorn", "--port", str(free_port()), "fastapi_app:app", base="/shop")
    assert app.paired("/shop/").facts == {"kind": "fastapi"}
    facts = app.paired("/shop/facts/x").facts
    assert (facts["script"], facts["path"]) == ("/shop/facts", "/shop/facts/x")
    app.stop()


@pytest.mark.parametrize(
    "command",
    ["python -m uvicorn --root-path /shop facts:asgi", "python -m waitress --url-prefix /shop facts:wsgi"],
)
def test_a_server_told_the_same_path_by_its_own_settings(launch: Launch, command: str) -> None:
    facts = launch(*command.split(), base="/shop").paired("/shop/x").facts
    assert facts["script"] == "/shop"
    assert facts["path"] == ("/shop/x" if facts["kind"] == "asgi" else "/x")


def test_guarded_in_code_too(launch: Launch) -> None:
    app = launch("python", "serve.py", "integrated", str(free_port()), base="/shop")
    refuses_without_the_token(app)
    tells_who_calls_and_where(app)
    assert app.paired("/shop/shop").facts["path"] == "/shop"
    app.stop()


@pytest.mark.parametrize("order", ["metrics_too", "metrics_of_a_known_package_first"])
def test_the_second_server_of_a_process_keeps_its_address(launch: Launch, order: str) -> None:
    metrics = free_port()
    app = launch("python", "serve.py", order, str(metrics))
    assert app.listening() == {("127.0.0.1", app.port), ("127.0.0.1", metrics)}
    assert app.ask().status == 400
    assert Backend([], app.shim, app.output, port=metrics).ask().facts["kind"] == "wsgi"  # as without us


@pytest.mark.parametrize(
    "command",
    [
        "python -m gunicorn -w 1 -b 0.0.0.0:{asked} metrics_in_worker:app",
        "python -m gunicorn --preload -w 1 -b 0.0.0.0:{asked} metrics_in_worker:app",
        "python -m uvicorn --port {asked} metrics_in_worker:asgi",
        "python -m uvicorn --reload --port {asked} metrics_in_worker:asgi",
        "python -m hypercorn -b 0.0.0.0:{asked} metrics_in_worker:asgi",
        "python -m granian --interface asgi --port {asked} metrics_in_worker:asgi",
    ],
)
def test_a_metrics_port_opened_by_the_app_is_left_alone(launch: Launch, command: str) -> None:
    metrics = free_port()
    line = command.format(asked=free_port())
    app = launch(*line.split(), environment={"METRICS_PORT": str(metrics)})
    assert app.listening() == {("127.0.0.1", app.port), ("127.0.0.1", metrics)}
    assert app.ask().status == 400
    assert app.paired().facts["path"] == "/"
    app.stop()


def test_gunicorn_takes_the_address_again_after_its_configuration_was_reloaded(launch: Launch) -> None:
    app = launch("python", "-m", "gunicorn", "-w", "1", "-b", f"0.0.0.0:{free_port()}", "facts:wsgi")
    worker = app.paired().facts["pid"]
    os.kill(app.process.pid, signal.SIGHUP)
    wait_until(lambda: app.paired().facts["pid"] != worker, "an answer of a new worker")
    assert app.listening() == {("127.0.0.1", app.port)}
    assert app.ask().status == 400
    assert app.stop() == 0


def test_a_reloaded_child_takes_the_address_again(launch: Launch, tmp_path: Path) -> None:
    for name in ("django_site.py", "facts.py"):
        shutil.copy(APPS / name, tmp_path)
    app = launch("python", str(tmp_path / "django_site.py"), "runserver", str(free_port()))
    source = tmp_path / "django_site.py"
    source.write_text(source.read_text().replace('"django"', '"new"'))

    def is_new() -> bool:
        try:
            answer = app.paired()
        except OSError:
            return False
        if answer.facts["kind"] == "django":
            os.utime(source)  # Django looks once a second, and its first look may have come after our change
        return bool(answer.facts["kind"] == "new")

    wait_until(is_new, "the changed app on the same address")
    assert app.listening() == {("127.0.0.1", app.port)}
    assert app.ask().status == 400


def test_without_the_address_nothing_happens(launch: Launch) -> None:
    asked = free_port()
    app = launch(
        "python",
        "serve.py",
        "wsgiref",
        str(asked),
        port=asked,
        environment={"ASPNETCORE_PORT": "", "LISTEN_FDS": "1"},
    )
    assert app.ask().facts["path"] == "/"  # no token asked
    assert ("0.0.0.0", asked) in app.listening()


@pytest.mark.parametrize(
    "command",
    [
        "uvicorn --ssl-keyfile key.pem --ssl-certfile certificate.pem facts:asgi",
        "gunicorn --keyfile key.pem --certfile certificate.pem -b 0.0.0.0:{asked} facts:wsgi",
        "hypercorn --keyfile key.pem --certfile certificate.pem -b 0.0.0.0:{asked} facts:asgi",
        "granian --interface asgi --ssl-keyfile key.pem --ssl-certificate certificate.pem facts:asgi",
        "flask --app flask_app run --key key.pem --cert certificate.pem",
    ],
)
def test_tls_ends_at_the_front(launch: Launch, command: str) -> None:
    app = launch("python", "-m", *command.format(asked=free_port()).split())
    assert app.paired().facts["scheme"] == "http"
    assert app.paired("/", "X-Forwarded-Proto: https").facts["scheme"] == "https"
    assert app.ask().status == 400


def test_a_gunicorn_that_replaces_itself_hands_the_address_on(launch: Launch) -> None:
    app = launch("python", "-m", "gunicorn", "-w", "1", "-b", f"0.0.0.0:{free_port()}", "facts:wsgi")
    replace_itself(app)
    assert app.paired().facts["path"] == "/"
    assert app.ask().status == 400
    assert app.listening() == {("127.0.0.1", app.port)}


def test_a_gunicorn_that_replaces_itself_hands_the_descriptor_on_and_stays_guarded(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = launch("python", "-m", "gunicorn", "-w", "1", "facts:wsgi", listener=listener)
        replace_itself(app)
        assert app.paired().facts["path"] == "/"
        assert app.ask().status == 400
        assert app.listening() == {listener.getsockname()}


def replace_itself(app: Backend) -> None:
    os.kill(app.process.pid, signal.SIGUSR2)
    wait_until(lambda: app.log.count("Booting worker") == 2, "a worker of the second master")
    os.kill(app.process.pid, signal.SIGTERM)
    assert app.process.wait(20) == 0
