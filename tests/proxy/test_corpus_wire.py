"""Every file of the corpus over real sockets: a real worker between a visitor who sends its bytes and an app."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h11
import pytest

from tests.kit.corpus import REQUESTS, RESPONSES, Case, Seen, load
from tests.kit.raw_app import END_OF_HEAD, AppSide, raw_app
from tests.kit.worker_process import WorkerProcess, worker_process

TOKEN = b"t0ken"


@dataclass
class Recorder:
    """An app: answers each whole request with 200, or says what it was told to say and ends the connection."""

    seen: list[Seen] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    says: bytes = b""

    def serve(self, app: AppSide) -> None:
        judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        while judge.our_state is not h11.MUST_CLOSE and self._one(app.socket, judge):
            judge.start_next_cycle()

    def _one(self, sock: socket.socket, judge: h11.Connection) -> bool:
        request, length = None, 0
        while not isinstance(event := judge.next_event(), h11.EndOfMessage):
            match event:
                case h11.Request():
                    request = event
                    self.fields += event.headers.raw_items()
                case h11.Data():
                    length += len(event.data)
                case h11.ConnectionClosed():
                    return False
                case h11.NEED_DATA:
                    if judge.they_are_waiting_for_100_continue:
                        sock.sendall(
                            judge.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                        )
                    data = sock.recv(65536)
                    if not data and judge.their_state is not h11.IDLE:
                        return False  # the front gave up: this was no whole request
                    judge.receive_data(data)
        assert request is not None
        self.fields += event.headers.raw_items()
        self.seen.append(Seen(request.method, request.target, length))
        if self.says:
            sock.sendall(self.says)
            return False
        sock.sendall(judge.send(h11.Response(status_code=200, headers=[("Content-Length", "0")])) or b"")
        sock.sendall(judge.send(h11.EndOfMessage()) or b"")
        return True


@dataclass(frozen=True)
class Wire:
    worker: WorkerProcess
    app: Recorder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder: Path = tmp_path_factory.mktemp("corpus")
    recorder = Recorder()
    with worker_process(folder) as worker, raw_app(recorder.serve) as app:
        worker.publish(app.port, token=TOKEN.decode())
        yield Wire(worker, recorder)
        worker.close()


@pytest.fixture
def wire(shared: Wire) -> Wire:
    shared.app.seen.clear()
    shared.app.fields.clear()
    shared.app.says = b""
    return shared


class Visitor:
    """Reads responses as a client does."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._data = b""

    def response(self, method: bytes) -> int:
        """The status of the next final response; its body is read over."""
        while True:
            self._fill(lambda: END_OF_HEAD in self._data)
            head, _, self._data = self._data.partition(END_OF_HEAD)
            status = int(head.split(b" ")[1])
            if status >= 200:
                break
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2]) if lengths and method != b"HEAD" else 0
        self._fill(lambda: len(self._data) >= length)
        self._data = self._data[length:]
        return status

    def _fill(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            more = self.socket.recv(65536)
            assert more, f"the connection ended after {self._data!r}"
            self._data += more

    def rest(self) -> bytes:
        """All that is said until the connection ends."""
        try:
            while more := self.socket.recv(65536):
                self._data += more
        except ConnectionResetError:
            pass  # what we sent was not read to its end
        return self._data


def named(cases: list[Case]) -> list[object]:
    return [pytest.param(case, id=case.name) for case in cases]


def send(visitor: socket.socket, data: bytes, step: int) -> None:
    visitor.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for at in range(0, len(data), step):
            visitor.sendall(data[at : at + step])
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before its end


BEFORE = b"GET /before HTTP/1.1\r\nHost: before\r\n\r\n"


@pytest.mark.parametrize("case", named(load(REQUESTS)))
def test_a_visitor_sends_it_whole(wire: Wire, case: Case) -> None:
    with wire.worker.connect() as sock:
        send(sock, case.data, len(case.data))
        _check_answers(wire, case, Visitor(sock))


@pytest.mark.parametrize("case", named(load(REQUESTS)))
def test_a_visitor_sends_it_byte_by_byte(wire: Wire, case: Case) -> None:
    # A size's limit does not turn on where each byte ends.
    step = 1 if len(case.data) < 2000 else 997
    with wire.worker.connect() as sock:
        send(sock, case.data, step)
        _check_answers(wire, case, Visitor(sock))


@pytest.mark.parametrize("case", named(load(REQUESTS)))
def test_a_visitor_sends_it_behind_a_good_request(wire: Wire, case: Case) -> None:
    with wire.worker.connect() as sock:
        send(sock, BEFORE + case.data, 1 << 20)
        visitor = Visitor(sock)
        assert visitor.response(b"GET") == 200
        assert wire.app.seen.pop(0) == Seen(b"GET", b"/before", 0)
        _check_answers(wire, case, visitor)


def _check_answers(wire: Wire, case: Case, visitor: Visitor) -> None:
    for number, outcome in enumerate(case.expect):
        method = case.seen[number].method if number < len(case.seen) else b""
        assert visitor.response(method) == (200 if outcome == "forwarded" else int(outcome))
    if case.expect[-1] == "forwarded":
        visitor.socket.shutdown(socket.SHUT_WR)
    assert visitor.rest() == b""
    if case.seen or case.refused_head:
        assert tuple(wire.app.seen) == case.seen
    _check_fields(wire.app.fields, case)


def _check_fields(fields: list[tuple[bytes, bytes]], case: Case) -> None:
    for marker in case.lacks:
        assert not [pair for pair in fields if marker in pair[0] or marker in pair[1]]
    for wanted in case.has:
        assert wanted in fields
    tokens = [value for name, value in fields if name.lower().startswith(b"ms-aspnetcore")]
    assert set(tokens) <= {TOKEN}
    assert len(tokens) >= len(case.seen)


@pytest.mark.parametrize("case", named(load(RESPONSES)))
def test_an_app_says_it(wire: Wire, case: Case) -> None:
    wire.app.says = case.data
    with wire.worker.connect() as sock:
        sock.sendall(case.request + b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        said = Visitor(sock).rest()
    assert b"EVIL" not in said
    for marker in case.lacks:
        assert marker not in said
    if case.expect == ("502",):
        assert said.startswith(b"HTTP/1.1 502 ")
        assert b"evil" not in said
        return
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method=case.request, target="/", headers=[("Host", "a"), ("Connection", "close")]))
    judge.send(h11.EndOfMessage())
    if case.expect == ("cut",):
        with pytest.raises(h11.RemoteProtocolError):
            _read_to_end(judge, said)
        return
    fields = _read_to_end(judge, said)
    for wanted in case.has:
        assert wanted in fields


def _read_to_end(judge: h11.Connection, said: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of the final response. Raises RemoteProtocolError unless the message is whole."""
    fields: list[tuple[bytes, bytes]] = []
    judge.receive_data(said)
    judge.receive_data(b"")
    while not isinstance(event := judge.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        if isinstance(event, h11.Response):
            fields = list(event.headers.raw_items())
    return fields
