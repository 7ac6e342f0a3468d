"""Rows of the tests of IIS's ASP.NET Core Module (ANCM) that concern forwarding, WebSockets or the shim, from outside.

Each test bears the name of its row. Where Portico decides otherwise, the docstring says so. Rows that need TLS
(SendHTTPSRequestTest, HttpsHelloWorld, ClientCertificateMappingTest) and those of the process's life (test_ancm_*.py)
are elsewhere; docs/ancm-tests.md lists all.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import CloseCode, Opcode

from tests.kit import procfs
from tests.kit.client import (
    Headers,
    Response,
    Visitor,
    address_of,
    exchange,
    free_port,
    get,
    refuses_connections,
)
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until
from tests.kit.websocket import WebSocketVisitor
from tests.system.apps.wire import content

UVICORN = "uvicorn --log-level warning"
EVENT = "MS-ASPNETCORE-EVENT"
TOKEN = "MS-ASPNETCORE-TOKEN"
SEED = 20261123


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    config = front(drain_limit=1)
    config += app("root", f"{UVICORN} wire:asgi", shutdown_time_limit=5)
    config += app("base", f"{UVICORN} wire:asgi", path="/pathBase", shutdown_time_limit=5)
    config += app("careful", f"{UVICORN} integrated:asgi", path="/careful")
    config += app("wsgi", "gunicorn probe:wsgi", path="/wsgi")
    config += app("socket", ["python", "plain_socket.py"], path="/socket")
    with PorticoRun(module_folder, config) as started:
        yield started


APPS = {"/": "root", "/pathBase": "base"}
at_each_base = pytest.mark.parametrize("base", APPS)


class Straight:
    """The app's own port, past the front, with the token the front would send."""

    def __init__(self, run: PorticoRun, base: str) -> None:
        self.pid = told(run, base)["pid"]
        self.port = int(procfs.environ(self.pid)["PORT"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = run.token_of(self.pid)

    def ask(self, method: str, target: str, *fields: tuple[str, str], token: bool = True) -> Response:
        own = [(TOKEN, self.token)] if token else []
        with Visitor(self.url) as visitor:
            return visitor.request(method, target, [*own, *fields])


def told(run: PorticoRun, target: str, headers: Headers | None = None) -> Any:
    """What the app tells of a GET."""
    answer = run.get(target, headers)
    assert answer.status == 200, answer
    return answer.json()


def below(base: str, path: str) -> str:
    return base.rstrip("/") + path


# ------------------------------------------------------------------------------------------------------------
# 8.1: the shim


def test_middleware_skipped_if_token_is_missing(run: PorticoRun) -> None:
    """Without its token in the environment the shim does nothing: the app runs as if Portico did not exist."""
    told(run, "/")
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASPNETCORE")}
    environment |= {"PYTHONPATH": str(run.run_directory / "shim"), "ASPNETCORE_PORT": str(free_port())}
    command = [sys.executable, "-m", *UVICORN.split(), "--port", str(port), "wire:asgi"]
    with subprocess.Popen(command, cwd=run.directory / "apps", env=environment) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: not refuses_connections(url), "an app on the port of its own choice")
            assert get(url, "/").status == 200
        finally:
            process.terminate()


@at_each_base
def test_middleware_rejects_request_if_token_header_is_missing(run: PorticoRun, base: str) -> None:
    straight = Straight(run, base)
    wrong = straight.token[:-1] + ("0" if straight.token[-1] != "0" else "1")
    for fields in ((), ((TOKEN, ""),), ((TOKEN, wrong),), ((TOKEN, straight.token), (TOKEN, straight.token))):
        answer = straight.ask("GET", below(base, "/crash"), *fields, token=False)
        assert (answer.status, answer.body) == (400, b"")
    assert told(run, base)["pid"] == straight.pid  # the app's code was not run


@at_each_base
@pytest.mark.parametrize("event", ["shutdown", "Shutdown"])
def test_middleware_shuts_down_given_ancm_shutdown(run: PorticoRun, base: str, event: str) -> None:
    straight = Straight(run, base)
    answer = straight.ask("POST", below(base, "/iisintegration"), (EVENT, event))
    assert (answer.status, answer.body) == (202, b"")
    wait_for_end(straight.pid)
    assert told(run, base)["pid"] != straight.pid


@at_each_base
def test_middleware_ignores_shutdown_without_the_token(run: PorticoRun, base: str) -> None:
    """Nor does the front let a visitor say it."""
    straight = Straight(run, base)
    answer = straight.ask("POST", below(base, "/iisintegration"), (EVENT, "shutdown"), token=False)
    assert answer.status == 400
    with Visitor(run.url) as visitor:
        answer = visitor.request("POST", below(base, "/iisintegration"), [(EVENT, "shutdown")])
        assert answer.json()["method"] == "POST"
    assert told(run, base)["pid"] == straight.pid


@at_each_base
@pytest.mark.parametrize("method", ["PUT", "TRACE", "HEAD", "GET", "DELETE", "OPTIONS"])
def test_middleware_ignores_shutdown_given_wrong_method(run: PorticoRun, base: str, method: str) -> None:
    straight = Straight(run, base)
    answer = straight.ask(method, below(base, "/iisintegration"), (EVENT, "shutdown"))
    assert answer.status == 200
    assert told(run, base)["pid"] == straight.pid


@at_each_base
@pytest.mark.parametrize("path", ["/", "/path", "/path/iisintegration"])
def test_middleware_ignores_shutdown_given_wrong_path(run: PorticoRun, base: str, path: str) -> None:
    straight = Straight(run, base)
    assert straight.ask("POST", below(base, path), (EVENT, "shutdown")).json()["pid"] == straight.pid
    assert told(run, base)["pid"] == straight.pid


@at_each_base
@pytest.mark.parametrize("event", ["event", "", None])
def test_middleware_ignores_shutdown_given_wrong_event(run: PorticoRun, base: str, event: str | None) -> None:
    straight = Straight(run, base)
    fields = [] if event is None else [(EVENT, event)]
    answer = straight.ask("POST", below(base, "/iisintegration"), *fields)
    assert answer.json()["pid"] == straight.pid
    assert told(run, base)["pid"] == straight.pid


def test_adds_use_path_base_middleware_when_path_base_specified(run: PorticoRun) -> None:
    """WSGI splits SCRIPT_NAME from PATH_INFO; ASGI names the prefix in root_path and keeps the path whole."""
    wsgi = told(run, "/wsgi/facts")
    assert (wsgi["script_name"], wsgi["path"]) == ("/wsgi", "/facts")
    asgi = told(run, "/pathBase/here")
    assert (asgi["root_path"], asgi["path"]) == ("/pathBase", "/pathBase/here")


def test_does_not_blow_up_without_auth(run: PorticoRun) -> None:
    facts = told(run, "/wsgi/facts")
    assert "ASPNETCORE_IIS_HTTPAUTH" in facts["names"]


def test_calling_use_iis_integration_multiple_times_works(run: PorticoRun) -> None:
    seen = told(run, "/careful/x")
    assert seen["root_path"] == "/careful"
    assert TOKEN.lower() not in {name for name, _ in seen["headers"]}
    port = procfs.environ(seen["pid"])["PORT"]
    assert get(f"http://127.0.0.1:{port}", "/careful/x").status == 400


# ------------------------------------------------------------------------------------------------------------
# 8.2: forwarding


def test_basic_test(run: PorticoRun) -> None:
    answer = run.get("/wsgi/")
    assert answer.status == 200
    assert answer.text.startswith("hello from ")
    assert run.pid_of("root") == told(run, "/")["pid"]


@pytest.mark.parametrize("form", ["a", "name=" + "value+%C3%A4&" * 35])
def test_post_method_test(run: PorticoRun, form: str) -> None:
    kind = [("Content-Type", "application/x-www-form-urlencoded")]
    for base in ("/", "/wsgi/"):
        with Visitor(run.url) as visitor:
            assert visitor.request("POST", f"{base}echo", kind, form.encode()).text == form


@pytest.mark.parametrize(
    "name",
    [
        "MS-ASPNETCORE",
        "mS-ASPNETCORE",
        "MS-ASPNETCORE-",
        "mS-ASPNETCORE-f",
        "MS-ASPNETCORE-foo",
        "MS-ASPNETCORE-" + "long" * 1000,
        "MS_ASPNETCORE_TOKEN",
        "Ms_AspNetCore-Token",
    ],
)
def test_filter_out_ms_request_headers_test(run: PorticoRun, name: str) -> None:
    """Asserted on what the app saw; ANCM's own test looks at the response's fields and proves little."""
    for base in ("/", "/wsgi/facts"):
        fields = told(run, base, [(name, "forged"), ("X-Ordinary", "kept")])["headers"]
        assert ["x-ordinary", "kept"] in fields
        assert not [value for _, value in fields if value == "forged"]
        assert not [key for key, _ in fields if key.replace("_", "-").startswith("ms-aspnetcore")]


def test_web_socket_errorhandling_test(run: PorticoRun) -> None:
    """The app has no WebSockets (plain WSGI): its ordinary answer has nothing of an upgrade, and the next one comes."""
    with WebSocketVisitor(run.url, "/wsgi/") as visitor:
        assert visitor.answer.status_code == 200
        assert "upgrade" not in visitor.answer.headers.get("Connection", "").lower()
        assert "Upgrade" not in visitor.answer.headers
    assert run.get("/wsgi/").status == 200


def test_web_socket_test(run: PorticoRun) -> None:
    pid = told(run, "/")["pid"]
    with WebSocketVisitor(run.url, "/") as visitor:
        assert visitor.answer.status_code == 101
        assert visitor.answer.headers["Connection"].lower() == "upgrade"
        visitor.send("hello")
        assert visitor.text() == "hello"
        visitor.protocol.send_close(CloseCode.NORMAL_CLOSURE)
        visitor.flush()
        assert visitor.frame().opcode is Opcode.CLOSE
    for _ in range(3):
        with WebSocketVisitor(run.url, "/") as visitor:
            visitor.send("[close]")
            last = visitor.until_end()[-1]
            assert last.opcode is Opcode.CLOSE
            assert b"app says so" in last.data
    assert told(run, "/")["pid"] == pid


CHUNKED, LENGTH, CLOSE = "transfer-encoding: chunked", "content-length: 11", "connection: close"


@pytest.mark.parametrize(
    ("framing", "lines", "without"),
    [
        ("chunked", [CHUNKED], [LENGTH, CLOSE]),
        ("manuallychunked", [CHUNKED], [LENGTH, CLOSE]),
        ("contentlength", [LENGTH], [CHUNKED, CLOSE]),
        ("connectionclose", [CHUNKED], [LENGTH, CLOSE]),
        ("notchunked", [CHUNKED], [LENGTH, CLOSE]),
    ],
)
def test_check_chunked_async(run: PorticoRun, framing: str, lines: list[str], without: list[str]) -> None:
    """A length and the chunked coding stay what they are. A body that only the connection's end delimits gets the
    chunked coding, so that its end can be told from a broken connection, and the client's connection lives on."""
    with Visitor(run.url) as visitor:
        for _ in range(2):
            answer = visitor.get(f"/socket/{framing}")
            said = {f"{name}: {value.lower()}" for name, value in answer.headers}
            assert answer.body == b"hello world"
            assert said.issuperset(lines)
            assert said.isdisjoint(without)
            assert visitor.reusable


# ------------------------------------------------------------------------------------------------------------
# 8.3: forwarding


def test_hello_world(run: PorticoRun) -> None:
    assert told(run, "/Path/%3F%3F?query")["path"] == "/Path/??"
    assert told(run, "/Query/%3FPath?query?")["query"] == "query?"
    assert told(run, "/")["directory"] == str(run.directory / "apps")


def test_client_disconnect_stress(run: PorticoRun) -> None:
    """A hundred POSTs dropped at a random place cost nobody anything; the fixture's end is the clean stop."""
    workers = run.workers()
    chance = random.Random(SEED)
    request = b"POST /?name=stress HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    places = [chance.randrange(len(request)) for _ in range(100)]
    descriptors = {pid: procfs.descriptors(pid) for pid in workers.values()}

    def drop(place: int) -> None:
        with socket.create_connection(address_of(run.url), 20) as client:
            client.sendall(request[:place])

    threads = [threading.Thread(target=drop, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert run.get("/").status == 200
    assert run.workers() == workers
    wait_until(
        lambda: all(procfs.descriptors(pid) <= was + 4 for pid, was in descriptors.items()),
        "the end of every broken connection",
    )


def test_client_disconnect(run: PorticoRun) -> None:
    """The app's «client disconnected» fires; weak in ANCM, at once here."""
    with Visitor(run.url) as visitor:
        visitor.send("GET", "/abandon?name=gone")
        visitor.head()
    assert told(run, "/poll?name=gone") == "disconnected"


def test_closes_connection_on_server_abort(run: PorticoRun) -> None:
    answer = run.get("/socket/abort")
    assert answer.status == 502
    assert "error=connection_terminated" in str(answer.header("proxy-status"))
    head = exchange_until_reset(run, "/socket/break")
    assert head.startswith(b"HTTP/1.1 200 ")


def exchange_until_reset(run: PorticoRun, target: str) -> bytes:
    """What comes before the connection is reset; an orderly end fails."""
    received = b""
    with socket.create_connection(address_of(run.url), 20) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        try:
            while data := client.recv(65536):
                received += data
        except ConnectionResetError:
            return received
    raise AssertionError(f"ended cleanly after {len(received)} bytes")


def test_passes_through_compression(run: PorticoRun) -> None:
    answer = run.get("/zipped?size=50000", [("Accept-Encoding", "gzip")])
    assert answer.header("content-encoding") == "gzip"
    assert answer.body == gzip.compress(content(50_000), mtime=0)


def test_upgrade_feature_detection_enabled_out_of_process(run: PorticoRun) -> None:
    """Portico always passes upgrades on, so there is no row «disabled»."""
    assert "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED" in told(run, "/wsgi/facts")["names"]


@pytest.mark.parametrize(
    ("target", "base", "path"),
    [
        ("/pathBase", "/pathBase", ""),
        ("/pathBase/", "/pathBase", "/"),
        ("/pathBase/Path", "/pathBase", "/Path"),
        ("/PathBase/Path", "/PathBase", "/Path"),
        ("/PATHBASE/PATH", "/PATHBASE", "/PATH"),
        ("/pathBase2/Path", "", "/pathBase2/Path"),
        ("/Path", "", "/Path"),
    ],
)
def test_request_path_base_split(run: PorticoRun, target: str, base: str, path: str) -> None:
    seen = told(run, target)
    assert (seen["root_path"], seen["path"]) == (base, base + path)


@pytest.mark.parametrize(
    "rest", ["//Path", "/Path//", "/%2FPath", "/Path%2Fmore", "/./Path", "/a/../Path", "/;x=1"]
)
def test_request_path_base_with_double_slashes(run: PorticoRun, rest: str) -> None:
    """`//`, `%2F` and dot segments below the base cross as they are."""
    seen = told(run, f"/pathBase{rest}")
    assert (seen["root_path"], seen["raw_path"]) == ("/pathBase", f"/pathBase{rest}")


@pytest.mark.parametrize(
    "target", ["//pathBase/Path", "/pathBase%2FPath", "/pathBase/../Path", "/x/../pathBase"]
)
def test_request_path_base_that_is_ambiguous(run: PorticoRun, target: str) -> None:
    """Portico's own: a path that means one app to it and another's to a reader that normalises is refused."""
    assert run.get(target).status == 400


def test_sets_connection_close_header(run: PorticoRun) -> None:
    """Connection is about one hop (RFC 9110 7.6.1): the app's `close` ends the app's connection, not the visitor's."""
    with Visitor(run.url) as visitor:
        answer = visitor.get("/socket/closewithlength")
        assert answer.header("connection") is None
        assert visitor.get("/socket/contentlength").body == b"hello world"


def test_web_sockets_tests(run: PorticoRun) -> None:
    """Echo, close and subprotocol; extensions pass, where ANCM allows none."""
    with WebSocketVisitor(run.url, "/", deflate=True, subprotocols=["a", "b"]) as visitor:
        assert visitor.answer.headers["Sec-WebSocket-Protocol"] == "b"
        assert visitor.extensions == ["permessage-deflate"]
        for text in ("one", "two" * 10_000):
            visitor.send(text)
            assert visitor.text() == text
        visitor.protocol.send_close(4001, "enough")
        visitor.flush()
        assert visitor.frame().data[:2] == (4001).to_bytes(2, "big")


# RequestResponse, row by row


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/a%20b", "/a b"),
        ("/%41%42", "/AB"),
        ("/%C3%A4", "/ä"),
        ("/%2525", "/%25"),
        ("/a%2Fb", "/a/b"),
        ("/a+b", "/a+b"),
        ("/%zz", "/%zz"),
        ("/a/./b/../c", "/a/./b/../c"),
    ],
)
def test_request_response_url_unescape_and_dot_segments(run: PorticoRun, raw: str, path: str) -> None:
    """The raw target crosses byte for byte; the app's server decodes it, once."""
    seen = told(run, raw)
    assert (seen["raw_path"], seen["path"]) == (raw, path)


@pytest.mark.parametrize("byte", [*range(0x21), 0x7F, 0x80, 0xFF])
def test_request_response_control_characters_are_400(run: PorticoRun, byte: int) -> None:
    answer = exchange(run.url, b"GET /a%bb HTTP/1.1\r\nHost: x\r\n\r\n" % bytes([byte]))
    assert answer.split(b" ")[1] == b"400"


def test_request_response_a_hundred_chunked_posts(run: PorticoRun) -> None:
    with Visitor(run.url) as visitor:
        for number in range(100):
            sent = content(number * 37)
            answer = visitor.request("POST", "/echo", [("Transfer-Encoding", "chunked")], sent)
            assert answer.body == sent


def test_request_response_a_client_that_sends_byte_by_byte(run: PorticoRun) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    with socket.create_connection(address_of(run.url), 20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            client.sendall(bytes([byte]))
        received = b""
        while data := client.recv(65536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["sha256"] == hashlib.sha256(b"hello").hexdigest()


def test_request_response_a_partial_body(run: PorticoRun) -> None:
    """A body that breaks off is never whole to the app, which learns that its client is gone."""
    with socket.create_connection(address_of(run.url), 20) as client:
        client.sendall(b"POST /?name=partial HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
    assert told(run, "/poll?name=partial") == "disconnected"


def test_request_response_connection_close_after_a_partial_read(run: PorticoRun) -> None:
    """The app answers without reading the body and closes: the answer arrives, and the connection ends."""
    request = b"POST /socket/early HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000
    answer = exchange(run.url, request)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"too much")
    assert b"\r\nConnection: close\r\n" in answer


def test_latin_1_bytes_in_a_field_cross(run: PorticoRun) -> None:
    """Latin1Tests: obs-text is passed on unread (RFC 9110 5.5)."""
    answer = exchange(run.url, b"GET / HTTP/1.1\r\nHost: x\r\nX-Name: \xe4\xff\r\nConnection: close\r\n\r\n")
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert ["x-name", "\xe4\xff"] in seen["headers"]
