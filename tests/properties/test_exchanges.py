"""One exchange after the other, whole: every framing, every version, every cut of the bytes, both ways."""

from __future__ import annotations

from typing import Any

import h11
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from tests.kit.examples import one_in
from tests.kit.memory import MemorySocket
from tests.kit.memory_front import TOKEN, MemoryFront, memory_front
from tests.properties.heads import heads, loaded_fields, ordinary_fields
from tests.properties.messages import END_OF_HEAD, Answer, AppEnd, Ask, Coding, VisitorEnd
from tests.properties.test_chunked import cut
from tests.properties.test_forwarding_in_any_order import answers, requests, sane, sane_answer

places = st.lists(st.integers(0, 1 << 20), max_size=8)
fields = st.lists(loaded_fields | ordinary_fields, max_size=5)


class Scene:
    """One visitor and the app, which answers each whole request in its turn."""

    def __init__(
        self, front: MemoryFront, answers: list[Answer], app_cuts: list[int], visitor: Any = None
    ) -> None:
        self.front = front
        self.asks: dict[int, Ask] = {}
        self.apps: list[AppEnd] = []
        self.visitor = VisitorEnd(visitor or front.visit())
        self._answers = answers
        self._cuts = app_cuts

    def ask(self, ask: Ask) -> None:
        ask.number = len(self.asks) + 1
        self.asks[ask.number] = ask
        self.visitor.asked.append(ask)

    def say(self, data: bytes) -> None:
        if self.visitor.sock.can_write() and not self.visitor.sock.broken:
            self.visitor._sent += self.visitor.sock.send(data)
        self.let_happen()

    def let_happen(self) -> None:
        """Everything that follows, until nobody has anything to do."""
        self.front.settle()
        for end in self.front.apps[len(self.apps) :]:
            self.apps.append(AppEnd(end, self.asks))
        for app in self.apps:
            app.read()
            if app.waiting and app.waiting.complete and self._answers:
                self._give(app, self._answers.pop(0))
                self.let_happen()
        self.visitor.read()
        self.front.settle()

    def _give(self, app: AppEnd, answer: Answer) -> None:
        app.answer(answer)
        for piece in cut(app.outbox, self._cuts):
            app.send(len(piece))
            self.front.settle()
            self.visitor.read()
        if answer.cut or answer.lasts_until_close or answer.connection == b"close":
            app.gone = True
            app.sock.close()

    def end(self) -> None:
        self.visitor.read()
        self.visitor.sock.close()
        for app in self.apps:
            app.sock.close()
        self.front.settle()
        self.front.check_at_rest()


def served_in_order(scene: Scene, asks: list[Ask], cuts: list[int]) -> int:
    """How many of these, asked one after the other on one connection, were served: the first ones, each once and
    whole."""
    for ask in asks:
        scene.ask(ask)
    for piece in cut(b"".join(ask.wire for ask in asks), cuts):
        scene.say(piece)
    scene.let_happen()
    scene.visitor.check()
    served = [ask for ask in asks if ask.seen]
    event(f"{len(served)} of {len(asks)} served")
    assert served
    assert served == asks[: len(served)]
    assert all(ask.seen[0].complete and len(ask.seen) == 1 for ask in served)
    return len(served)


whole_answers = answers.map(sane_answer).filter(lambda answer: not answer.cut and not answer.noise)
sane_requests = requests.map(sane)


@settings(max_examples=one_in(4))
@given(
    st.lists(sane_requests, min_size=1, max_size=5),
    st.lists(whole_answers, min_size=5, max_size=5),
    places,
    places,
)
def test_pipelined_requests_get_their_own_answers_in_order_whole_and_unchanged(
    asks: list[Ask], given_answers: list[Answer], visitor_cuts: list[int], app_cuts: list[int]
) -> None:
    with memory_front() as front:
        front.publish(1)
        scene = Scene(front, list(given_answers), app_cuts)
        if served_in_order(scene, asks, visitor_cuts) < len(asks):
            # RFC 9112 9.3, 9.6: only a connection that has ended leaves requests behind
            assert scene.visitor.sock.ended
        scene.end()


@given(sane_requests, whole_answers, places)
@example(Ask(1, version=b"1.0", connection=b"keep-alive"), Answer(1, coding=Coding.CHUNKED, size=7), [])
@example(Ask(1, version=b"1.0", connection=b"keep-alive"), Answer(1, coding=Coding.CLOSE, size=7), [])
def test_the_end_of_every_answer_can_be_told(ask: Ask, answer: Answer, app_cuts: list[int]) -> None:
    with memory_front() as front:
        front.publish(1)
        scene = Scene(front, [answer], app_cuts)
        scene.ask(ask)
        scene.say(ask.wire)
        scene.visitor.check()
        head = scene.visitor.got.rpartition(b"X-Number")[2].partition(END_OF_HEAD)[0].lower()
        bodiless = ask.method == b"HEAD" or answer.status in (204, 304)
        framed = b"content-length:" in head or b"transfer-encoding:" in head
        assert framed or bodiless or (scene.visitor.sock.ended and b"connection: close" in head)
        assert not (answer.status == 204 and b"content-length" in head)
        assert ask.version == b"1.1" or b"transfer-encoding" not in head
        assert (b"connection: close" in head) == scene.visitor.sock.ended
        scene.end()


@given(sane_requests, st.integers(0, 1 << 20), st.booleans())
def test_a_request_that_breaks_off_is_never_whole_to_the_app_and_ends_its_connection(
    ask: Ask, place: int, reset: bool
) -> None:
    with memory_front() as front:
        front.publish(1)
        scene = Scene(front, [], [])
        scene.ask(ask)
        scene.say(ask.wire[: place % len(ask.wire)])
        scene.visitor.gone = True
        scene.visitor.sock.reset() if reset else scene.visitor.sock.close()
        scene.let_happen()
        for app in scene.apps:
            assert not any(seen.complete for seen in app.requests)
            assert app.sock.ended or app.sock.broken
        scene.end()


@given(sane_requests, answers.map(sane_answer), st.integers(0, 1 << 20), st.booleans())
def test_an_answer_that_breaks_off_never_looks_whole(
    ask: Ask, answer: Answer, place: int, reset: bool
) -> None:
    with memory_front() as front:
        front.publish(1)
        answer.coding = Coding.LENGTH if answer.coding is Coding.CLOSE and not reset else answer.coding
        scene = Scene(front, [], [])
        scene.ask(ask)
        scene.say(ask.wire)
        app = scene.apps[0]
        answer.head, answer.cut, answer.noise = ask.method == b"HEAD", 0, b""
        answer.number = 1
        answer.cut = 1 + place % len(answer.wire)
        app.answer(answer)
        app.send(1 << 30)
        front.settle()
        app.sock.reset() if reset else app.sock.close()
        app.gone = True
        scene.let_happen()
        scene.visitor.check()
        if b"X-Number" in scene.visitor.got:  # its head has gone out
            assert scene.visitor.sock.broken
        scene.end()


@given(heads | st.binary(max_size=60), st.booleans(), places)
def test_whatever_a_visitor_sends_the_app_reads_clean_requests_with_our_token_alone(
    data: bytes, more: bool, visitor_cuts: list[int]
) -> None:
    data += b"0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\nMS-ASPNETCORE-TOKEN: evil\r\n\r\n" if more else b""
    with memory_front() as front:
        front.publish(1)
        visitor = front.visit()
        for piece in cut(data, visitor_cuts):
            if not visitor.broken:
                visitor.send(piece)
            front.settle()
        for app in front.apps:
            event("reached the app")
            for head in requests_in(app):
                ours = [
                    v for n, v in head.headers if bytes(n).replace(b"_", b"-").startswith(b"ms-aspnetcore")
                ]
                assert ours == [TOKEN.encode()]
                assert [v for n, v in head.headers if n == b"x-forwarded-for"] == [b"unix"]
        visitor.close()
        front.settle()
        front.close_idle()
        front.check_at_rest()


def requests_in(app: MemorySocket) -> list[h11.Request]:
    """The requests on a connection whose first was not answered: one, by h11's reading."""
    try:
        data = app.recv_all()
    except ConnectionResetError:
        return []
    if not data:
        return []
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    judge.receive_data(data)
    request = judge.next_event()
    assert isinstance(request, h11.Request)
    while isinstance(judge.next_event(), h11.Data):
        pass
    assert not judge.trailing_data[0]
    return [request]


@given(
    fields,
    st.sampled_from([b"200 OK", b"404 No", b"204 No Content", b"304 Not Modified", b"103 Early Hints"]),
)
def test_whatever_an_app_says_the_client_reads_one_answer_without_our_token(
    said: list[tuple[bytes, bytes]], status: bytes
) -> None:
    lines = b"".join(b"%b:%b\r\n" % field for field in said)
    with memory_front() as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        front.apps[0].send(b"HTTP/1.1 " + status + b"\r\n" + lines + b"\r\nhello")
        front.settle()
        front.apps[0].close()
        front.settle()
        got = visitor.here()
        if not got:
            assert visitor.broken  # cut before its head went out: its first piece of body was malformed
            return
        judge = h11.Connection(h11.CLIENT)
        judge.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        judge.send(h11.EndOfMessage())
        judge.receive_data(got)
        while isinstance(read := judge.next_event(), h11.InformationalResponse):
            assert not [name for name, _ in read.headers if name in (b"content-length", b"transfer-encoding")]
            assert not names_of_ours(read)
        assert not isinstance(read, h11.Response) or not names_of_ours(read)
        assert isinstance(read, h11.Response) or (visitor.broken and read is h11.NEED_DATA)


def names_of_ours(message: h11.Response | h11.InformationalResponse) -> list[bytes]:
    """Field names that a CGI-like reader takes for one of Portico's."""
    names = (
        bytes(name).translate(bytes(c if chr(c).isalnum() else 45 for c in range(256)))
        for name, _ in message.headers
    )
    return [name for name in names if name.startswith(b"ms-aspnetcore")]
