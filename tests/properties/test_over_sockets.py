"""A few of the properties once more, over real sockets and through a real worker: kernel buffers, splice and all."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.raw_app import AppSide, raw_app
from tests.kit.worker_process import WorkerProcess, worker_process
from tests.properties.messages import END_OF_HEAD, Coding, chunks, fill

FEW = max(12, settings.default.max_examples // 50)
sizes = st.sampled_from([0, 1, 1000, 65_536, 65_537, 1_000_000])
codings = st.sampled_from([Coding.LENGTH, Coding.CHUNKED])
#: Sizes of the pieces in which both ends send; the front sees any cut of them.
pieces = st.sampled_from([1 << 20, 30_000, 1500])


def echo(app: AppSide) -> None:
    """An app that answers with the body it was sent, in the coding that the target asks for."""
    try:
        echo_all(app)
    except (ConnectionResetError, BrokenPipeError):
        pass  # its visitor broke off


def echo_all(app: AppSide) -> None:
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    while True:
        request, body = None, b""
        while not isinstance(event := judge.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif event is h11.NEED_DATA and (data := app.socket.recv(65536)):
                judge.receive_data(data)
            else:
                return
        assert request is not None
        framing = [(b"Content-Length", b"%d" % len(body))] if b"length" in request.target else []
        app.say(judge.send(h11.Response(status_code=200, headers=framing)) or b"")
        for at in range(0, len(body), 40_000):
            app.say(judge.send(h11.Data(data=body[at : at + 40_000])) or b"")
        app.say(judge.send(h11.EndOfMessage()) or b"")
        judge.start_next_cycle()


@pytest.fixture(scope="module", params=["true", "false"], ids=["quick", "judge"])
def worker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    folder: Path = tmp_path_factory.mktemp("sockets")
    with worker_process(folder, front=f"quick_lane = {request.param}") as worker, raw_app(echo) as app:
        worker.publish(app.port)
        yield worker
        worker.close()


def send(sock: socket.socket, data: bytes, piece: int) -> threading.Thread:
    def run() -> None:
        for at in range(0, len(data), piece):
            sock.sendall(data[at : at + piece])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def wire(number: int, size: int, coding: Coding, answer: Coding) -> bytes:
    body = fill(b"up%d" % number, size)
    framing = b"Content-Length: %d" % size if coding is Coding.LENGTH else b"Transfer-Encoding: chunked"
    head = b"POST /%b HTTP/1.1\r\nHost: a\r\n%b" % (answer.value.encode(), framing) + END_OF_HEAD
    return head + (body if coding is Coding.LENGTH else chunks(body, 7001))


@settings(max_examples=FEW)
@given(st.lists(st.tuples(sizes, codings, codings), min_size=1, max_size=4), pieces)
def test_pipelined_bodies_come_back_whole_and_in_order(
    worker: WorkerProcess, asks: list[tuple[int, Coding, Coding]], piece: int
) -> None:
    with worker.connect() as visitor:
        data = b"".join(wire(number, *ask) for number, ask in enumerate(asks))
        sending = send(visitor, data, piece)
        judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        for number, (size, _, _) in enumerate(asks):
            judge.send(
                h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")])
            )
            judge.send(h11.EndOfMessage())
            received = b""
            while not isinstance(event := judge.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    judge.receive_data(visitor.recv(65536))
                elif isinstance(event, h11.Data):
                    received += event.data
                else:
                    assert isinstance(event, h11.Response)
                    assert event.status_code == 200
            wanted = fill(b"up%d" % number, size)
            assert hashlib.sha256(received).digest() == hashlib.sha256(wanted).digest()
            judge.start_next_cycle()
        sending.join()


@settings(max_examples=FEW)
@given(sizes, st.sampled_from([1, 700, 65_000]), st.booleans())
def test_an_upload_that_breaks_off_leaves_the_next_visitor_unharmed(
    worker: WorkerProcess, size: int, sent: int, reset: bool
) -> None:
    with worker.connect() as visitor:
        visitor.sendall(wire(1, size, Coding.LENGTH, Coding.LENGTH)[:sent])
        if reset:
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with worker.connect() as visitor:
        sending = send(visitor, wire(2, 5, Coding.CHUNKED, Coding.LENGTH), 10)
        received = b""
        while not received.endswith(fill(b"up2", 5)):
            data = visitor.recv(65536)
            assert data
            received += data
        sending.join()
        assert received.startswith(b"HTTP/1.1 200 ")


LONG = 2_000_000


def test_after_a_long_upload_a_client_that_goes_is_still_noticed(tmp_path: Path) -> None:
    taken, gone = threading.Event(), threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        assert app.exactly(LONG) == bytes(LONG)
        taken.set()
        assert app.is_ended()
        gone.set()

    with worker_process(tmp_path) as worker, raw_app(script) as app:
        worker.publish(app.port)
        with worker.connect() as visitor:
            visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LONG + bytes(LONG))
            assert taken.wait(20)
        assert gone.wait(20)


def test_after_a_long_answer_an_app_that_ends_its_idle_connection_is_still_noticed(tmp_path: Path) -> None:
    gone = threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LONG + bytes(LONG))
        app.socket.shutdown(socket.SHUT_WR)
        assert app.is_ended()
        gone.set()

    with worker_process(tmp_path) as worker, raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        left = LONG
        while left > 0:
            data = visitor.recv(1 << 20)
            assert data
            left -= len(data)
        assert gone.wait(20)
