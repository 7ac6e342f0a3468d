"""One worker against visitors and an app on real sockets: what a request meets on its way, and what it does not."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf.control.messages import AppRoutes, Bad, Counters, Drained, GiveUp, Need, Refusal, Report
from tests.kit.raw_app import AppSide, answer, answering, raw_app
from tests.kit.worker_process import WorkerProcess, worker_process

GET = b"GET /a%2Fb?q=1 HTTP/1.1\r\nHost: shop.test\r\n\r\n"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    with worker_process(tmp_path) as worker:
        yield worker


def read_response(sock: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of a response with Content-Length or chunked (undecoded)."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        assert more, f"the connection ended after {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
    while (lengths and len(body) < lengths[0]) or (
        b"transfer-encoding: chunked" in lines and not body.endswith(b"0\r\n\r\n")
    ):
        more = sock.recv(65536)
        assert more, f"the connection ended in the body after {body!r}"
        body += more
    return head, body


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


# ------------------------------------------------------------------------------------------------------------
# To the app


def test_what_the_app_gets(worker: WorkerProcess) -> None:
    heads: list[bytes] = []

    def script(app: AppSide) -> None:
        heads.append(app.head())
        app.say(answer(b"200 OK", b"hello"))
        assert app.is_ended()

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(
            b"GET /a%2Fb?q=1 HTTP/1.1\r\nHost: shop.test\r\nMS-ASPNETCORE-TOKEN: stolen\r\nX-Forwarded-For: 9.9.9.9\r\n"
            b"X-A: 1\r\nX-A: 2\r\nConnection: x-hop, ms-aspnetcore-token\r\nX-Hop: h\r\n\r\n"
        )
        head, body = read_response(visitor)
        assert (status(head), body) == (200, b"hello")
        worker.close()
    lines = heads[0].split(b"\r\n")
    assert lines[0] == b"GET /a%2Fb?q=1 HTTP/1.1"
    assert lines.count(b"MS-ASPNETCORE-TOKEN: t0ken") == 1
    assert b"X-Forwarded-For: 127.0.0.1" in lines
    assert b"X-Forwarded-Proto: http" in lines
    assert [line for line in lines if line.startswith(b"X-A")] == [b"X-A: 1", b"X-A: 2"]
    assert b"stolen" not in heads[0]
    assert b"9.9.9.9" not in heads[0]
    assert b"X-Hop" not in heads[0]


@pytest.mark.parametrize("size", [0, 1, 5, 70_000, 3_000_000])
def test_a_body_with_a_length_goes_up_unchanged(worker: WorkerProcess, size: int) -> None:
    body = os.urandom(size)

    def script(app: AppSide) -> None:
        head = app.head()
        assert b"Content-Length: %d\r\n" % size in head
        app.say(answer(b"200 OK", app.exactly(size)))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        sender = threading.Thread(
            target=visitor.sendall,
            args=(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body,),
        )
        sender.start()
        head, echoed = read_response(visitor)
        sender.join()
        assert status(head) == 200
        assert echoed == body


def test_a_chunked_body_goes_up_without_extensions_and_with_its_trailers(worker: WorkerProcess) -> None:
    seen: list[bytes] = []

    def script(app: AppSide) -> None:
        assert b"Transfer-Encoding: chunked\r\n" in app.head()
        seen.append(app.until(b"\r\n0\r\n") + app.until(b"\r\n\r\n"))
        app.say(answer(b"200 OK", b"ok"))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        visitor.sendall(b"5;ext=evil\r\nhello\r\n")
        visitor.sendall(b"6\r\n world\r\n0\r\nX-Sum: 1\r\nMS-ASPNETCORE-TOKEN: t\r\n\r\n")
        head, _ = read_response(visitor)
        assert status(head) == 200
    body, _, trailers = seen[0].partition(b"\r\n0\r\n")
    assert b"".join(body.split(b"\r\n")[1::2]) == b"hello world"
    assert b"ext" not in body
    assert trailers == b"X-Sum: 1\r\n\r\n"


def test_the_apps_own_100_is_relayed_and_none_is_invented(worker: WorkerProcess) -> None:
    asked = threading.Event()

    def script(app: AppSide) -> None:
        assert b"Expect: 100-continue\r\n" in app.head()
        assert asked.wait(20)
        app.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        app.say(answer(b"200 OK", app.exactly(4)))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        visitor.settimeout(0.3)
        with pytest.raises(TimeoutError):
            visitor.recv(1)
        visitor.settimeout(20)
        asked.set()
        assert visitor.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        visitor.sendall(b"body")
        head, body = read_response(visitor)
        assert (status(head), body) == (200, b"body")


def test_an_early_answer_reaches_the_client_while_it_uploads(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        app.head()
        app.say(answer(b"413 Content Too Large", b"no", b"Connection: close"))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 100_000)
        head, body = read_response(visitor)
        assert (status(head), body) == (413, b"no")
        assert b"Connection: close" in head
        assert visitor.recv(1) == b""


def test_full_duplex_each_piece_is_answered_before_the_next_is_sent(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            app.say(b"3\r\n" + app.exactly(3) + b"\r\n")
        app.say(b"0\r\n\r\n")

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n")
        received = b""
        while b"\r\n\r\n" not in received:
            received += visitor.recv(65536)
        received = received.partition(b"\r\n\r\n")[2]
        for number in range(5):
            visitor.sendall(b"%03d" % number)
            while not chunks(received).endswith(b"%03d" % number):
                received += visitor.recv(65536)
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += visitor.recv(65536)


def chunks(data: bytes) -> bytes:
    """The content of the chunks that have arrived whole."""
    content = b""
    while b"\r\n" in data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if len(rest) < length + 2:
            break
        content, data = content + rest[:length], rest[length + 2 :]
    return content


# ------------------------------------------------------------------------------------------------------------
# To the client


@pytest.mark.parametrize(
    ("sent", "version", "received"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"1.1", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"1.1", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"\r\nhello", b"1.1", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Content-Length: 5\r\n\r\nhello", b"1.0", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"1.0", b"hello"),
        (b"\r\nhello", b"1.0", b"hello"),
    ],
    ids=["length", "chunked", "until-close", "length-1.0", "chunked-1.0", "until-close-1.0"],
)
def test_every_framing_reaches_every_client(
    worker: WorkerProcess, sent: bytes, version: bytes, received: bytes
) -> None:
    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\n" + sent)

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"GET / HTTP/%b\r\nHost: a\r\nConnection: close\r\n\r\n" % version)
        head, _, body = read_all(visitor).partition(b"\r\n\r\n")
        assert status(head) == 200
        assert body == received


def test_interim_responses_come_in_order_but_not_to_http_1_0(worker: WorkerProcess) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"

    def script(app: AppSide) -> None:
        while app.head():
            app.say(early + b"HTTP/1.1 102 Processing\r\n\r\n" + answer(b"200 OK", b"x"))

    with raw_app(script) as app:
        worker.publish(app.port)
        with worker.connect() as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            received = read_all(visitor)
            assert received.startswith(early + b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")
        with worker.connect() as visitor:
            visitor.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            assert read_all(visitor).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_no_body_follows_head_and_304(worker: WorkerProcess, method: bytes) -> None:
    first = b"200 OK" if method == b"HEAD" else b"304 Not Modified"

    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 " + first + b"\r\nContent-Length: 500\r\n\r\n")
        app.head()
        app.say(answer(b"200 OK", b"second"))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        received = b""
        while not received.endswith(b"second"):
            received += visitor.recv(65536)
        assert b"Content-Length: 500\r\n" in received
        assert app.connections == 1


def test_each_event_of_a_stream_is_passed_on_at_once(worker: WorkerProcess) -> None:
    go_on = threading.Semaphore(0)

    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            assert go_on.acquire(timeout=20)
            app.say(b"9\r\ndata: %d\n\n\r\n" % number)
        app.say(b"0\r\n\r\n")

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(GET)
        received = b""
        for number in range(3):
            go_on.release()
            while b"data: %d\n\n" % number not in received:
                received += visitor.recv(65536)
        while not received.endswith(b"0\r\n\r\n"):  # who goes away earlier closes the app's connection
            received += visitor.recv(65536)


@pytest.mark.parametrize(
    "broken",
    [
        b"Content-Length: 100\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_that_breaks_off_never_looks_whole(
    worker: WorkerProcess, broken: bytes, version: bytes
) -> None:
    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\n" + broken)

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        received = b""
        with pytest.raises(ConnectionResetError):  # noqa: PT012  the reset may come with any read
            while True:
                more = visitor.recv(65536)
                assert more, f"a clean end after {received!r}"
                received += more
        assert not received.endswith(b"0\r\n\r\n")


# ------------------------------------------------------------------------------------------------------------
# Connections


def test_both_connections_are_kept_alive(worker: WorkerProcess) -> None:
    with raw_app(answering(answer(b"200 OK", b"x"))) as app, worker.connect() as visitor:
        worker.publish(app.port)
        for _ in range(20):
            visitor.sendall(GET)
            assert status(read_response(visitor)[0]) == 200
        assert app.connections == 1


def test_pipelined_requests_are_answered_in_order(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        while head := app.head():
            app.say(answer(b"200 OK", head.split(b" ")[1]))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(50)))
        received = b""
        while not received.endswith(b"/49"):
            received += visitor.recv(65536)
        assert [b"/%d" % n for n in range(50)] == [
            part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK\r\n")[1:]
        ]


def test_an_idle_connection_that_the_app_closed_costs_a_get_nothing(worker: WorkerProcess) -> None:
    closing = threading.Event()

    def once(app: AppSide) -> None:
        app.head()
        app.say(answer(b"200 OK", b"one"))
        app.head()  # the second request is read, and the connection closed without a word
        closing.set()

    with raw_app(once, answering(answer(b"200 OK", b"two"))) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(GET)
        assert read_response(visitor)[1] == b"one"
        visitor.sendall(GET)
        assert read_response(visitor)[1] == b"two"
        assert closing.is_set()


def test_a_post_is_never_sent_twice(worker: WorkerProcess) -> None:
    def once(app: AppSide) -> None:
        app.head()
        app.say(answer(b"200 OK", b"one"))
        app.head()

    with raw_app(once, answering(answer(b"200 OK", b"two"))) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(GET)
        read_response(visitor)
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        assert status(read_response(visitor)[0]) == 502
        assert app.connections == 1


def test_a_client_that_goes_away_ends_the_apps_connection(worker: WorkerProcess) -> None:
    gone = threading.Event()
    there = threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        there.set()
        assert app.is_ended()
        gone.set()

    with raw_app(script) as app:
        worker.publish(app.port)
        with worker.connect() as visitor:
            visitor.sendall(GET)
            assert there.wait(20)
        assert gone.wait(20)


def test_a_client_that_goes_away_in_its_upload_ends_the_apps_connection(worker: WorkerProcess) -> None:
    gone = threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        assert app.exactly(10) == b"x" * 10
        assert app.is_ended()
        gone.set()

    with raw_app(script) as app:
        worker.publish(app.port)
        with worker.connect() as visitor:
            visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 10)
        assert gone.wait(20)


# ------------------------------------------------------------------------------------------------------------
# Upgrades


def test_an_accepted_upgrade_is_a_tunnel_with_half_close(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        head = app.head()
        assert b"Upgrade: echo\r\n" in head
        assert b"Connection: Upgrade\r\n" in head
        app.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nwelcome")
        received = app.exactly(200_000)
        assert app.is_ended()
        app.say(received[::-1])

    sent = os.urandom(200_000)
    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + sent)
        received = b""
        while not received.endswith(b"\r\n\r\nwelcome"):
            received += visitor.recv(65536)
        assert received.startswith(b"HTTP/1.1 101 ")
        visitor.shutdown(socket.SHUT_WR)
        assert read_all(visitor) == sent[::-1]


def test_a_refused_upgrade_is_an_ordinary_answer(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        assert b"Upgrade: websocket\r\n" in app.head()
        app.say(answer(b"403 Forbidden", b"no"))
        head = app.head()
        assert b"MS-ASPNETCORE-TOKEN: t0ken\r\n" in head
        assert b"evil" not in head
        app.say(answer(b"200 OK", b"judged"))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        visitor.sendall(b"GET /in HTTP/1.1\r\nHost: a\r\nMS-ASPNETCORE-TOKEN: evil\r\n\r\n")
        assert status(read_response_exactly(visitor)) == 403
        assert read_response(visitor)[1] == b"judged"


def read_response_exactly(visitor: socket.socket) -> bytes:
    """A response with Content-Length, and not one byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += visitor.recv(1)
    length = next(
        int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    body = b""
    while len(body) < length:
        body += visitor.recv(length - len(body))
    return head


# ------------------------------------------------------------------------------------------------------------
# The app's trouble


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"HTTP/1.1 200",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
)
def test_an_app_that_answers_nonsense_gives_502(worker: WorkerProcess, nonsense: bytes) -> None:
    def script(app: AppSide) -> None:
        app.head()
        app.say(nonsense)

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(GET)
        head, _ = read_response(visitor)
        assert status(head) == 502
        assert b"\r\nProxy-Status: portico; error=" in head
        assert b"\r\nX-Request-ID: " in head


def test_a_silent_app_gives_504(tmp_path: Path) -> None:
    def script(app: AppSide) -> None:
        app.head()
        assert app.is_ended()

    with (
        worker_process(tmp_path, app="request_timeout = 1") as worker,
        raw_app(script) as app,
        worker.connect() as visitor,
    ):
        worker.publish(app.port)
        visitor.sendall(GET)
        assert status(read_response(visitor)[0]) == 504


def test_a_refused_connection_waits_for_the_next_generation(worker: WorkerProcess) -> None:
    with raw_app(answering(answer(b"200 OK", b"next"))) as app, worker.connect() as visitor:
        closed = socket.create_server(("127.0.0.1", 0))
        dead = closed.getsockname()[1]
        closed.close()
        worker.publish(dead)
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        bad = worker.hear_a(Bad)
        assert (bad.app, bad.generation) == ("shop", 1)
        worker.hear_a(Need)
        worker.publish(app.port, first=2)
        assert read_response(visitor)[1] == b"next"


# ------------------------------------------------------------------------------------------------------------
# The keeper


def test_one_question_for_all_who_wait(worker: WorkerProcess) -> None:
    with raw_app(answering(answer(b"200 OK", b"x"))) as app:
        visitors = [worker.connect() for _ in range(100)]
        for visitor in visitors:
            visitor.sendall(GET)
        worker.hear_a(Need)
        worker.publish(app.port)
        for visitor in visitors:
            assert status(read_response(visitor)[0]) == 200
            visitor.close()
        worker.publish()
        assert not isinstance(worker.hear(), Need)


def test_a_failed_start_answers_all_who_wait_with_its_report(worker: WorkerProcess) -> None:
    report = Report("shop", 1, 0, "The app exited before it listened.", "listening", exit="exit status 3")
    visitors = [worker.connect() for _ in range(5)]
    for visitor in visitors:
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n")
    worker.hear_a(Need)
    waiting = 0
    while waiting < 5:
        waiting = worker.hear_a(Counters).waiting
    worker.tell(GiveUp("shop", Refusal(502, "start-failed", "The app could not be started.", report=report)))
    for visitor in visitors:
        head, body = read_response(visitor)
        assert status(head) == 502
        assert b"502.5" in body
        assert b"exit status 3" in body
        visitor.close()


def test_an_apps_output_is_not_for_the_visitors_of_a_proxy_on_this_machine(worker: WorkerProcess) -> None:
    report = Report("shop", 1, 0, "It exited.", "listening", last_lines="s3cret output")
    refusal = Refusal(502, "start-failed", "The app could not be started.", report=report)
    shown = {}
    for field in (
        b"Host: 127.0.0.1",
        b"Host: LocalHost.:8080",
        b"Host: shop.example",
        b"Host: a\r\nX-A: 1",
        b"Host: localhost\r\nX-Forwarded-For: 192.0.2.7",
        b"Host: localhost\r\nx_real_ip: 192.0.2.7",
        b"Host: localhost\r\nVia: 1.1 nginx",
    ):
        with worker.connect() as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nAccept: text/html\r\n%b\r\n\r\n" % field)
            worker.hear_a(Need)
            while worker.hear_a(Counters).waiting != 1:
                pass
            worker.tell(GiveUp("shop", refusal))
            head, body = read_response(visitor)
            assert status(head) == 502
            shown[field] = b"s3cret output" in body
    assert list(shown.values()) == [True, True, False, False, False, False, False]


def test_a_refusal_answers_at_once_until_it_is_lifted(worker: WorkerProcess) -> None:
    with raw_app(answering(answer(b"200 OK", b"x"))) as app, worker.connect() as visitor:
        worker.tell(AppRoutes("shop", "STOPPED", (), Refusal(503, "stopped", "The app is stopped.", 7)))
        worker.tell(AppRoutes("shop", "STOPPED", (), Refusal(503, "stopped", "The app is stopped.", 9)))
        head = b""
        while b"Retry-After: 9" not in head:
            visitor.sendall(GET)
            head, _ = read_response(visitor)
            assert status(head) == 503
        worker.publish(app.port)
        code = 503
        while code == 503:
            visitor.sendall(GET)
            code = status(read_response(visitor)[0])
        assert code == 200


def test_a_withdrawn_generation_finishes_and_is_told_drained(worker: WorkerProcess) -> None:
    finish = threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        assert finish.wait(20)
        app.say(answer(b"200 OK", b"old"))

    with (
        raw_app(script) as old,
        raw_app(answering(answer(b"200 OK", b"new"))) as new,
        worker.connect() as first,
        worker.connect() as second,
    ):
        worker.publish(old.port)
        first.sendall(GET)
        while not old.connections:
            pass
        worker.publish(new.port, first=2)
        body = b""
        while body != b"new":
            second.sendall(GET)
            body = read_response(second)[1]
        finish.set()
        assert read_response(first)[1] == b"old"
        assert worker.hear_a(Drained) == Drained("shop", 1)


def test_a_keeper_that_comes_back_is_asked_again(worker: WorkerProcess) -> None:
    with raw_app(answering(answer(b"200 OK", b"x"))) as app, worker.connect() as visitor:
        visitor.sendall(GET)
        worker.hear_a(Need)
        worker.reconnect()
        worker.hear_a(Need)
        worker.publish(app.port)
        assert status(read_response(visitor)[0]) == 200


def test_a_client_that_leaves_the_queue_is_forgotten(worker: WorkerProcess) -> None:
    visitor = worker.connect()
    visitor.sendall(GET)
    worker.hear_a(Need)
    visitor.close()
    with worker.connect() as other, raw_app(answering(answer(b"200 OK", b"x"))) as app:
        other.sendall(GET)
        worker.publish(app.port)
        assert status(read_response(other)[0]) == 200
        assert app.connections <= 2


# ------------------------------------------------------------------------------------------------------------
# Limits


def test_no_app_and_wrong_method(tmp_path: Path) -> None:
    with (
        worker_process(tmp_path, app='hosts = ["shop.test"]\nmethods = ["GET"]') as worker,
        worker.connect() as visitor,
    ):
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
        assert status(read_response(visitor)[0]) == 404
        visitor.sendall(b"PUT / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")
        head, _ = read_response(visitor)
        assert status(head) == 405
        assert b"\r\nAllow: GET" in head


def test_a_body_that_is_too_large_is_refused_by_its_length_and_by_its_bytes(tmp_path: Path) -> None:
    def script(app: AppSide) -> None:
        app.head()
        while app.exactly(65536):
            pass

    with worker_process(tmp_path, front="max_request_body = 1000") as worker, raw_app(script) as app:
        worker.publish(app.port)
        with worker.connect() as visitor:
            visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
            assert status(read_response(visitor)[0]) == 413
        with worker.connect() as visitor:
            visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            visitor.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n")
            assert status(read_response(visitor)[0]) == 413


def test_heads_are_limited_in_size_and_time(tmp_path: Path) -> None:
    with worker_process(tmp_path, front='header_timeout = 1\nmax_header_bytes = "8KiB"') as worker:
        with worker.connect() as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000)
            assert status(read_response(visitor)[0]) == 431
        with worker.connect() as visitor:
            visitor.sendall(b"GET /" + b"y" * 9000)
            assert status(read_response(visitor)[0]) == 414
        with worker.connect() as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
            assert status(read_response(visitor)[0]) == 408
        with worker.connect() as visitor:
            assert visitor.recv(1) == b""


def test_tls_on_the_plain_port_is_refused_at_its_first_byte(worker: WorkerProcess) -> None:
    with worker.connect() as visitor:
        visitor.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert status(read_response(visitor)[0]) == 400


# ------------------------------------------------------------------------------------------------------------
# Peers that do not read, or have half gone, cost no CPU


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_reader_that_stops_costs_bounded_memory_and_no_cpu(worker: WorkerProcess) -> None:
    stop = threading.Event()
    sent = 0

    def script(app: AppSide) -> None:
        nonlocal sent
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        app.socket.settimeout(1)
        try:
            while sent < 1 << 30:
                sent += app.socket.send(b"x" * 65536)
        except TimeoutError:
            stop.set()
        app.socket.settimeout(20)
        assert app.is_ended()

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        before = resident(worker.process.pid)
        visitor.sendall(GET)
        assert stop.wait(30)
        assert sent < 64 << 20  # what kernel buffers take
        assert resident(worker.process.pid) - before < 1 << 20
        ticks = cpu_ticks(worker.process.pid)
        visitor.settimeout(1)
        threading.Event().wait(1)
        assert cpu_ticks(worker.process.pid) - ticks < 20


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ------------------------------------------------------------------------------------------------------------
# Draining


def test_draining_finishes_what_runs_and_answers_one_more_on_an_idle_connection(
    worker: WorkerProcess,
) -> None:
    finish = threading.Event()
    arrived = threading.Event()

    def script(app: AppSide) -> None:
        while head := app.head():
            if b"/slow" in head:
                arrived.set()
                assert finish.wait(20)
            app.say(answer(b"200 OK", b"done"))

    with raw_app(script) as app, worker.connect() as idle, worker.connect() as busy:
        worker.publish(app.port)
        idle.sendall(GET)
        read_response(idle)
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert arrived.wait(20)
        worker.process.send_signal(signal.SIGTERM)
        head = b""
        idle.sendall(GET)
        head, _ = read_response(idle)
        while b"Connection: close" not in head:  # the signal may not have been seen yet
            idle.sendall(GET)
            head, _ = read_response(idle)
        idle.close()
        finish.set()
        head, body = read_response(busy)
        assert body == b"done"
        busy.close()
        assert worker.process.wait(20) == 0


def test_a_worker_that_goes_waits_for_nobody_who_is_idle(tmp_path: Path) -> None:
    with (
        worker_process(tmp_path, front="drain_limit = 3600\nkeep_alive_timeout = 3600") as worker,
        raw_app(answering(answer(b"200 OK", b"hello"))) as app,
        worker.connect() as idle,
    ):
        worker.publish(app.port)
        idle.sendall(GET)
        read_response(idle)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(20) == 0
        assert idle.recv(1) == b""


def test_what_runs_still_at_the_end_of_drain_limit_is_cut_off(tmp_path: Path) -> None:
    arrived = threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        arrived.set()
        assert app.is_ended()

    with worker_process(tmp_path, front="drain_limit = 0.2") as worker, raw_app(script) as app:
        worker.publish(app.port)
        with worker.connect() as visitor:
            visitor.sendall(GET)
            assert arrived.wait(20)
            worker.process.send_signal(signal.SIGTERM)
            assert worker.process.wait(20) == 0
            assert visitor.recv(1) == b""


# ------------------------------------------------------------------------------------------------------------
# Max-Forwards and the access log


def test_trace_and_options_go_as_far_as_they_say(worker: WorkerProcess) -> None:
    heads: list[bytes] = []

    def script(app: AppSide) -> None:
        heads.append(app.head())
        app.say(answer(b"200 OK", b"app"))

    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"TRACE /x HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nMax-Forwards: 0\r\n\r\n")
        head, body = read_response(visitor)
        assert status(head) == 200
        assert b"\r\nContent-Type: message/http" in head
        assert body == b"TRACE /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"
        visitor.sendall(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n")
        assert read_response(visitor)[1] == b"app"
        assert heads[0].startswith(b"OPTIONS * HTTP/1.1\r\n")
        assert b"\r\nMax-Forwards: 2\r\n" in heads[0]


def test_the_access_log_has_a_line_for_each_request(worker: WorkerProcess) -> None:
    with raw_app(answering(answer(b"200 OK", b"hello"))) as app, worker.connect() as visitor:
        worker.publish(app.port, first=7)
        visitor.sendall(b'GET /a"b?c HTTP/1.1\r\nHost: a\r\n\r\n')
        read_response(visitor)
        visitor.sendall(b"nonsense\r\n\r\n")
        refused, _ = read_response(visitor)
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(20)
    lines = (worker.folder / "access.log").read_text(encoding="ascii").splitlines()
    assert len(lines) == 2
    first = lines[0].split(" ")
    assert first[1:9] == ["127.0.0.1", '"GET', r"/a\x22b?c", 'HTTP/1.1"', "200", "5", "shop#7", first[8]]
    assert 0 <= float(first[8]) <= float(first[9])
    assert first[11] == "-"
    assert lines[1].endswith("bad-request")
    assert lines[1].split(" ")[-2].encode() in refused
