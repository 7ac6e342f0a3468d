"""The clients people use, through Portico, to an app that tells what it got. Bodies are compared by hash."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.client import Visitor, exchange
from tests.kit.clients import CLIENTS, Body, cut
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.system.apps.wire import content

MIB = 1 << 20

every_client = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    config = front(max_request_body="64MiB")
    config += app(command="uvicorn --log-level warning wire:asgi", path="/shop")
    config += app("socket", ["python", "plain_socket.py"], path="/socket")
    with PorticoRun(module_folder, config) as started:
        assert started.get("/shop/").status == 200
        assert started.get("/socket/contentlength").status == 200
        yield started


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------------------------------------------------------
# Every client


@every_client
@pytest.mark.parametrize("size", [0, 1, 65_536, 3 * MIB])
@pytest.mark.parametrize("framing", ["fixed", "stream"])
def test_a_body_comes_down_whole(run: PorticoRun, client: str, framing: str, size: int) -> None:
    answer = CLIENTS[client]("GET", f"{run.url}/shop/{framing}?size={size}&step=50000", [], b"")
    assert answer.status == 200
    assert sha256(answer.body) == sha256(content(size))
    assert answer.header("content-length") == (str(size) if framing == "fixed" else "")


@every_client
@pytest.mark.parametrize("size", [1, 65_536, 3 * MIB])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_goes_up_whole(run: PorticoRun, client: str, framing: str, size: int) -> None:
    sent = content(size)
    body: Body = sent if framing == "length" else list(cut(sent, 50_000))
    told = json.loads(CLIENTS[client]("POST", f"{run.url}/shop/", [], body).body)
    assert (told["method"], told["length"], told["sha256"]) == ("POST", size, sha256(sent))
    names = {name for name, _ in told["headers"]}
    assert ("content-length" in names, "transfer-encoding" in names) == (
        framing == "length",
        framing == "chunked",
    )


@every_client
def test_both_directions_at_once(run: PorticoRun, client: str) -> None:
    sent = content(2 * MIB)
    answer = CLIENTS[client]("PUT", f"{run.url}/shop/echo", [], list(cut(sent, 10_000)))
    assert sha256(answer.body) == sha256(sent)


@every_client
def test_a_compressed_body_is_the_apps_own_bytes(run: PorticoRun, client: str) -> None:
    answer = CLIENTS[client]("GET", f"{run.url}/shop/zipped", [("Accept-Encoding", "gzip")], b"")
    assert answer.header("content-encoding") == "gzip"
    expected = content(100_000) if client == "fetch" else gzip.compress(content(100_000), mtime=0)
    assert answer.body == expected


@every_client
def test_a_redirect_is_the_clients_affair(run: PorticoRun, client: str) -> None:
    answer = CLIENTS[client]("GET", f"{run.url}/shop/redirect", [], b"")
    assert answer.status == 302
    assert answer.header("location") == "/shop/elsewhere?x=%41"


@every_client
def test_cookies_cross_one_by_one(run: PorticoRun, client: str) -> None:
    answer = CLIENTS[client]("GET", f"{run.url}/shop/cookies", [("Cookie", "c=3; d=4")], b"")
    assert answer.all("set-cookie") == ["a=1; Path=/", "b=2; Expires=Wed, 21 Oct 2065"]
    told = json.loads(answer.body)["headers"]
    assert [value for name, value in told if name == "cookie"] == ["c=3; d=4"]


@every_client
def test_head_has_the_fields_and_no_body(run: PorticoRun, client: str) -> None:
    answer = CLIENTS[client]("HEAD", f"{run.url}/shop/fixed?size=12345", [], b"")
    assert (answer.status, answer.header("content-length"), answer.body) == (200, "12345", b"")


@every_client
def test_what_the_app_is_told(run: PorticoRun, client: str) -> None:
    forged = [("X-Forwarded-For", "6.6.6.6"), ("MS-ASPNETCORE-TOKEN", "evil"), ("X-Mine", "kept")]
    told = json.loads(CLIENTS[client]("DELETE", f"{run.url}/shop/a?b=c", forged, b"").body)
    fields = dict(told["headers"])
    assert (told["method"], told["path"], told["query"]) == ("DELETE", "/shop/a", "b=c")
    assert (told["client"], told["scheme"]) == ("127.0.0.1", "http")
    assert (fields["x-mine"], fields["x-forwarded-for"]) == ("kept", "127.0.0.1")
    assert fields["host"] == run.url.removeprefix("http://")
    assert "ms-aspnetcore-token" not in fields


# ------------------------------------------------------------------------------------------------------------
# curl, byte by byte


def curl(
    run: PorticoRun, *arguments: str, body: bytes = b"", ends: tuple[int, ...] = (0,)
) -> tuple[bytes, str]:
    """Standard output and what `--verbose` said; `ends` are the exit statuses that are expected."""
    command = ["curl", "--silent", "--show-error", "--verbose", "--max-time", "60"]
    words = [word.replace("URL", run.url, 1) if word.startswith("URL/") else word for word in arguments]
    done = subprocess.run([*command, *words], input=body, capture_output=True, timeout=90)
    said = done.stderr.decode(errors="replace")
    assert done.returncode in ends, said
    return done.stdout, said


def test_curl_http_1_0(run: PorticoRun) -> None:
    for target in ("fixed", "stream"):
        body, said = curl(run, "--http1.0", f"URL/shop/{target}?size=100000")
        assert sha256(body) == sha256(content(100_000))
        assert "< HTTP/1.1 200" in said  # our own version, whatever the client's (RFC 9110 6.2)
        assert "transfer-encoding" not in said.lower()
    _, said = curl(run, "--http1.0", "URL/socket/hints")
    assert "103" not in said


def test_curl_keeps_its_connection(run: PorticoRun) -> None:
    _, said = curl(run, "URL/shop/fixed?size=10", "URL/shop/stream?size=10", "--head", "URL/shop/fixed")
    assert said.count("* Connected to") == 1


def test_curl_waits_for_100_and_gets_the_apps(run: PorticoRun, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(content(MIB))
    body, said = curl(
        run,
        "--expect100-timeout",
        "30",
        "--header",
        "Expect: 100-continue",
        "--data-binary",
        f"@{file}",
        "URL/shop/",
    )
    assert "HTTP/1.1 100 Continue" in said
    assert "Done waiting for 100-continue" not in said
    assert json.loads(body)["sha256"] == sha256(content(MIB))


def test_curl_waits_for_100_and_gets_a_final_answer(run: PorticoRun) -> None:
    arguments = ["--expect100-timeout", "30", "--header", "Expect: 100-continue", "--data-binary", "hello"]
    body, said = curl(run, *arguments, "--write-out", " %{size_upload}", "URL/socket/expect")
    assert body.startswith(b"none")
    assert "< HTTP/1.1 417" in said
    assert "100 Continue" not in said


def test_curl_sees_a_final_answer_before_its_upload_has_ended(run: PorticoRun) -> None:
    """An app that answers 413 and closes at once: the answer arrives although most of the body never left."""
    body, said = curl(run, "--upload-file", "-", "URL/socket/early", body=content(32 * MIB))
    assert body == b"too much"
    assert "< HTTP/1.1 413" in said


def test_curl_uploads_in_the_chunked_coding(run: PorticoRun) -> None:
    body, said = curl(run, "--upload-file", "-", "URL/shop/", body=content(MIB))
    assert "> Transfer-Encoding: chunked" in said
    assert json.loads(body)["sha256"] == sha256(content(MIB))


def test_curl_asks_for_a_range_and_goes_on_where_it_stopped(run: PorticoRun, tmp_path: Path) -> None:
    body, said = curl(run, "--range", "100-199", "URL/shop/fixed?size=1000")
    assert body == content(200, 100)
    assert "< HTTP/1.1 206" in said
    assert "content-range: bytes 100-199/1000" in said.lower()
    file = tmp_path / "part"
    file.write_bytes(content(400))
    curl(run, "--continue-at", "-", "--output", str(file), "URL/shop/fixed?size=1000")
    assert file.read_bytes() == content(1000)


def test_curl_sees_trailers(run: PorticoRun) -> None:
    asked = ["--header", "TE: trailers", "--header", "Connection: TE", "URL/socket/trailers"]
    body, said = curl(run, "--raw", *asked)
    assert "< Trailer: X-Sum" in said
    assert body.endswith(b"\r\n0\r\nX-Sum: 5d41402a\r\n\r\n")
    body, _ = curl(run, "--include", *asked)
    assert body.partition(b"\r\n\r\n")[2] == b"helloX-Sum: 5d41402a\r\n"  # where curl shows them


def test_curl_sees_interim_answers_in_order(run: PorticoRun) -> None:
    body, said = curl(run, "URL/socket/hints")
    statuses = [line.split(" ")[2] for line in said.splitlines() if line.startswith("< HTTP/1.1 ")]
    assert statuses == ["103", "102", "200"]
    assert "< Link: </a.css>" in said
    assert body == b"hello world"


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_curl_knows_a_broken_body(run: PorticoRun, version: str) -> None:
    body, _ = curl(run, version, "URL/socket/break", ends=(18, 56))  # partial file, connection reset
    assert body == b"hello world"


def test_the_target_crosses_byte_for_byte(run: PorticoRun) -> None:
    target = "/shop/a%2Fb//c/./d%7e%7E;x=1?q=%20&%zz=%"
    body, _ = curl(run, "--path-as-is", "--globoff", "URL" + target)
    told = json.loads(body)
    assert told["raw_path"] + "?" + told["query"] == target


# ------------------------------------------------------------------------------------------------------------
# Errors, and the log of everything


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,*/*;q=0.8", "text/html"),
        ("application/json", "application/problem+json"),
        ("*/*", "text/plain"),
    ],
)
def test_an_error_of_the_fronts_own(run: PorticoRun, accept: str, kind: str) -> None:
    answer = CLIENTS["httpx"]("GET", f"{run.url}/socket/abort", [("Accept", accept)], b"")
    assert answer.status == 502
    assert answer.header("content-type").partition(";")[0] == kind
    assert "error=connection_terminated" in answer.header("proxy-status")
    line = logged(run, answer.header("x-request-id"))
    assert line.status == "502"
    assert line.reason not in ("-", "")


def test_the_access_log_tells_what_happened(run: PorticoRun) -> None:
    """Client, request, status, bytes, app and generation, times, request id, and the reason in a word."""
    seen = CLIENTS["curl"]("GET", f"{run.url}/shop/?mark=fine", [], b"")
    fields = dict(json.loads(seen.body)["headers"])
    line = logged(run, fields["x-request-id"])
    assert (line.client, line.request) == ("127.0.0.1", "GET /shop/?mark=fine HTTP/1.1")
    assert (line.status, line.size, line.app, line.reason) == ("200", str(len(seen.body)), "shop#1", "-")
    assert 0 < float(line.first_byte) <= float(line.last_byte)


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/socket/break?mark=broken", "200", "app-broke-off"),
        ("/socket/abort?mark=aborted", "502", "app-broke-before-head"),
        ("/nowhere?mark=nowhere", "404", "no-app"),
    ],
)
def test_the_access_log_has_a_word_for_each_failure(
    run: PorticoRun, target: str, status: str, reason: str
) -> None:
    try:
        exchange(run.url, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    except ConnectionResetError:
        pass  # a body that breaks off is never ended cleanly
    line = logged(run, target.partition("?")[2])
    assert (line.status, line.reason) == (status, reason)


def test_the_access_log_knows_a_client_that_went_away(run: PorticoRun) -> None:
    with Visitor(run.url) as visitor:
        visitor.send("GET", "/shop/poll?name=never-said")
        run.get("/shop/poll?name=waiting:never-said")
    line = logged(run, "GET /shop/poll?name=never-said")
    assert (line.status, line.reason) == ("499", "client-gone")


class Line:
    """A line of the access log, taken apart as its documentation says."""

    def __init__(self, line: str) -> None:
        before, self.request, after = line.split('"')
        self.time, self.client = before.split()
        (self.status, self.size, self.app, self.first_byte, self.last_byte, self.request_id, self.reason) = (
            after.split()
        )


def logged(run: PorticoRun, mark: str) -> Line:
    """The only line of the access log that has `mark` in it."""
    log = run.directory / "logs" / "access.log"

    def found() -> list[str]:
        return [line for line in log.read_text().splitlines() if mark in line] if log.exists() else []

    (line,) = wait_until(found, f"a line with {mark!r} in the access log")
    return Line(line)
