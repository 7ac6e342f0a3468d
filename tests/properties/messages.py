"""Requests and responses with a mark in every part, so that whoever reads them can tell whose they are; and readers
that let h11 judge what came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

import h11

from tests.kit.memory import MemorySocket

MAX = 1 << 21
END_OF_HEAD = b"\r\n\r\n"


class Coding(Enum):
    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "until-close"  # responses only


def fill(mark: bytes, size: int) -> bytes:
    """`size` bytes that name their owner and their place."""
    return b"".join(b"%b.%d;" % (mark, at) for at in range(size // (len(mark) + 3) + 1))[:size]


def chunks(body: bytes, size: int) -> bytes:
    """`body` in chunks of `size`, with an extension on each and the last chunk."""
    size = max(size, 1)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;n=%d\r\n%b\r\n" % (len(p), n, p) for n, p in enumerate(parts)) + b"0\r\n\r\n"


@dataclass
class Ask:
    """A request as its visitor sends it."""

    number: int
    method: bytes = b"GET"
    version: bytes = b"1.1"
    coding: Coding = Coding.NONE
    size: int = 0
    chunk: int = 1000
    connection: bytes = b""
    seen: list[Seen] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return fill(b"up%d" % self.number, self.size)

    @property
    def wire(self) -> bytes:
        lines = [b"%b /r/%d HTTP/%b" % (self.method, self.number, self.version), b"Host: a"]
        if self.connection:
            lines.append(b"Connection: " + self.connection)
        if self.coding is Coding.LENGTH:
            lines.append(b"Content-Length: %d" % self.size)
        if self.coding is Coding.CHUNKED:
            lines.append(b"Transfer-Encoding: chunked")
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        if self.coding is Coding.CHUNKED:
            return head + chunks(self.body, self.chunk)
        return head + (self.body if self.coding is Coding.LENGTH else b"")

    @property
    def may_be_repeated(self) -> bool:
        return self.method in (b"GET", b"HEAD", b"OPTIONS") and self.coding is Coding.NONE


@dataclass
class Seen:
    """A request as the app sees it. `fresh`: the first on its connection; `answer`: what the app sends; `taken_along`:
    its connection was reset, and nobody has listened since, as when a process dies."""

    number: int
    head: h11.Request
    fresh: bool
    body: bytes = b""
    complete: bool = False
    answer: Answer | None = None
    begun: bool = False  # a byte of the answer was sent
    reset: bool = False
    taken_along: bool = False


@dataclass
class Answer:
    """A response as the app sends it. `cut`: bytes left off at its end, after which the app sends no more."""

    number: int
    status: int = 200
    version: bytes = b"1.1"
    coding: Coding = Coding.LENGTH
    size: int = 0
    chunk: int = 1000
    interim: int = 0
    connection: bytes = b""
    cut: int = 0
    noise: bytes = b""  # sent right behind it
    head: bool = False  # it answers HEAD

    @property
    def body(self) -> bytes:
        if self.head or self.status in (204, 304):
            return b""
        return fill(b"down%d" % self.number, self.size)

    @property
    def lasts_until_close(self) -> bool:
        return self.coding is Coding.CLOSE and not (self.head or self.status in (204, 304))

    @property
    def wire(self) -> bytes:
        lines = [b"HTTP/%b %d Fine" % (self.version, self.status), b"X-Number: %d" % self.number]
        if self.connection:
            lines.append(b"Connection: " + self.connection)
        if self.coding is Coding.LENGTH:
            lines.append(b"Content-Length: %d" % (self.size if self.status != 204 else 0))
        if self.coding is Coding.CHUNKED and self.status not in (204, 304):
            lines.append(b"Transfer-Encoding: chunked")
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </%d>\r\n\r\n" % self.number * self.interim
        whole = early + b"\r\n".join(lines) + b"\r\n\r\n"
        if not self.head and self.status not in (204, 304):
            whole += chunks(self.body, self.chunk) if self.coding is Coding.CHUNKED else self.body
        return whole[: len(whole) - self.cut] + (b"" if self.cut else self.noise)


class AppEnd:
    """The app's end of a connection: h11 reads what the front sends, one judge a request."""

    def __init__(self, sock: MemorySocket, asks: dict[int, Ask], generation: int = 1) -> None:
        self.sock = sock
        self.generation = generation
        self.outbox = b""
        self.requests: list[Seen] = []
        self.gone = False
        self._asks = asks
        self._judge = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX)

    def read(self) -> None:
        """Take what the front has sent. Fails when h11 cannot read it as one clean request after the other."""
        if self.gone:
            return
        try:
            data = self.sock.recv_all()
        except ConnectionResetError:
            return
        if data:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._judge.receive_data(data)
        while True:
            event = self._judge.next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self.requests[-1].body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._complete()
                rest = self._judge.trailing_data[0]
                self._judge = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX)
                if not rest:
                    return
                assert self.requests[-1].begun, "a request before the one before it was answered"
                self._judge.receive_data(rest)
            else:
                return

    def _begin(self, head: h11.Request) -> None:
        number = int(head.target.rpartition(b"/")[2])
        seen = Seen(number, head, fresh=not self.requests)
        self.requests.append(seen)
        self._asks[number].seen.append(seen)
        assert head.method == self._asks[number].method

    def _complete(self) -> None:
        seen = self.requests[-1]
        seen.complete = True
        assert seen.body == self._asks[seen.number].body

    @property
    def waiting(self) -> Seen | None:
        """The request that the app may answer now."""
        return self.requests[-1] if self.requests and self.requests[-1].answer is None else None

    def answer(self, answer: Answer) -> None:
        seen = self.requests[-1]
        answer.number, answer.head = seen.number, seen.head.method == b"HEAD"
        answer.cut = min(answer.cut, len(replace(answer, cut=0, noise=b"").wire) - 1)
        seen.answer = answer
        self.outbox += answer.wire

    def send(self, count: int) -> None:
        if self.gone or not self.outbox or not self.sock.can_write():
            return
        if self.requests:
            self.requests[-1].begun = True
        try:
            sent = self.sock.send(self.outbox[:count])
        except BrokenPipeError:
            return
        self.outbox = self.outbox[sent:]


class VisitorEnd:
    """A visitor: what it has asked, and what h11 makes of what it got."""

    def __init__(self, sock: MemorySocket) -> None:
        self.sock = sock
        self.outbox = b""
        self.asked: list[Ask] = []
        self.got = b""
        self.gone = False
        self._sent = 0

    def ask(self, ask: Ask) -> None:
        self.asked.append(ask)
        self.outbox += ask.wire

    def send(self, count: int) -> None:
        if self.gone or not self.outbox or not self.sock.can_write():
            return
        try:
            sent = self.sock.send(self.outbox[:count])
        except BrokenPipeError:
            return
        self.outbox = self.outbox[sent:]
        self._sent += sent

    def read(self, count: int = 1 << 30) -> None:
        if self.gone or not self.sock.can_read():
            return
        try:
            self.got += self.sock.recv(count)
        except ConnectionResetError:
            pass

    def check(self) -> None:
        """Every answer belongs to its request, holds its bytes alone, and is whole only if the app's was whole."""
        data, ended, left = self.got, self.sock.ended, self._sent
        for ask in self.asked:
            if not data:
                return
            # A head that did not come whole, or not in time, has no method: it is answered as any refusal.
            whole = left > ask.wire.index(END_OF_HEAD) + 3 and not data.startswith(b"HTTP/1.1 408")
            method = ask.method if whole else b"GET"
            data = self._check_answer(ask, method, data, ended)
            left -= len(ask.wire)
        assert not data, "bytes that answer nobody"

    def _check_answer(self, ask: Ask, method: bytes, data: bytes, ended: bool) -> bytes:
        judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX)
        judge.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        judge.send(h11.EndOfMessage())
        judge.receive_data(data)
        response, body, complete = self._read(judge, ask, ended)
        if response is None:
            return b""
        fields = dict(response.headers)
        rest = judge.trailing_data[0] if complete else b""
        if b"proxy-status" in fields:
            return rest
        assert int(fields[b"x-number"]) == ask.number, "an answer to somebody else's request"
        answers = [seen.answer for seen in ask.seen if seen.answer is not None]
        assert len(answers) == 1
        answer = answers[0]
        assert response.status_code == answer.status
        assert answer.body.startswith(body)
        if complete:
            assert body == answer.body, "a broken answer that looks whole"
            assert not answer.cut or answer.coding is Coding.CLOSE or not answer.body, "cut, and yet whole"
        return rest

    def _read(self, judge: h11.Connection, ask: Ask, ended: bool) -> tuple[h11.Response | None, bytes, bool]:
        response, body = None, b""
        while True:
            event = judge.next_event()
            if isinstance(event, h11.InformationalResponse):
                assert ask.version == b"1.1"
                assert event.status_code == 103
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return response, body, True
            else:
                framed = response is None or {b"content-length", b"transfer-encoding"} & set(
                    dict(response.headers)
                )
                return response, body, ended and not framed
