"""Request and response at the same time: early answers, 1xx, what a connection is worth afterwards, who goes when."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.streams import READ_AHEAD_LIMIT
from proxy.upload import Upload
from tests.kit.memory import MemorySocket
from tests.kit.memory_front import MemoryFront, memory_front
from tests.properties.messages import END_OF_HEAD, Ask, Coding, fill

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
uploads = st.sampled_from([Coding.LENGTH, Coding.CHUNKED])


def begun(front: MemoryFront, data: bytes) -> tuple[MemorySocket, MemorySocket]:
    """A visitor who has sent this, and the app that got it."""
    front.publish(1)
    visitor = front.visit()
    visitor.send(data)
    front.settle()
    return visitor, front.apps[0]


@given(coding=uploads, pieces=st.integers(1, 6), size=st.sampled_from([1, 1000, 70_000]))
def test_each_piece_up_is_answered_by_a_piece_down_before_the_next(
    coding: Coding, pieces: int, size: int
) -> None:
    body = fill(b"piece", size)
    head = (
        Ask(1, method=b"POST", coding=coding, size=pieces * size).wire.partition(END_OF_HEAD)[0] + END_OF_HEAD
    )
    with memory_front() as front:
        visitor, app = begun(front, head)
        app.recv_all()
        app.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        front.settle()
        visitor.recv_all()
        for _ in range(pieces):
            visitor.send(b"%x\r\n%b\r\n" % (size, body) if coding is Coding.CHUNKED else body)
            front.settle()
            got = app.here()
            assert body == got or (coding is Coding.CHUNKED and len(got) >= size + 5)
            app.send(b"%x\r\n%b\r\n" % (size, body))
            front.settle()
            back = visitor.here()
            assert len(back) >= size
        visitor.close()
        front.settle()
        assert app.broken or (not app.here() and app.ended)


@given(coding=uploads, status=st.sampled_from([200, 413, 401]), more=st.booleans(), keeps=st.booleans())
def test_an_early_answer_arrives_and_what_is_left_of_the_body_is_no_request(
    coding: Coding, status: int, more: bool, keeps: bool
) -> None:
    ask = Ask(1, method=b"POST", coding=coding, size=5000)
    with memory_front() as front:
        visitor, app = begun(front, ask.wire[:300])
        app.recv_all()
        app.send(
            b"HTTP/1.1 %d Early\r\nContent-Length: 2\r\n%b\r\nno"
            % (status, b"" if keeps else b"Connection: close\r\n")
        )
        front.settle()
        got = visitor.recv_all()
        assert got.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close\r\n" in got
        assert got.endswith(b"no")
        app.here()
        assert app.ended or app.broken  # half a request is on it
        if more:
            visitor.send(EVIL)
            front.settle()
        front.loop.pass_time(5)
        assert visitor.ended
        assert len(front.apps) == 1
        visitor.close()
        front.settle()
        front.check_at_rest()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("interim", [0, 1, 4])
def test_interim_answers_come_at_once_in_order_without_length_and_never_to_http_1_0(
    version: bytes, interim: int
) -> None:
    with memory_front() as front:
        visitor, app = begun(front, b"GET / HTTP/%b\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % version)
        for number in range(interim):
            app.send(b"HTTP/1.1 103 Early Hints\r\nLink: </%d>\r\nContent-Length: 9\r\n\r\n" % number)
            front.settle()
            wanted = b"HTTP/1.1 103 Early Hints\r\nLink: </%d>\r\n\r\n" % number if version == b"1.1" else b""
            assert visitor.here() == wanted
        app.send(OK)
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 200 OK\r\n")


def test_no_100_is_invented_and_the_apps_own_is_relayed() -> None:
    with memory_front() as front:
        visitor, app = begun(
            front, b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        assert b"\r\nExpect: 100-continue\r\n" in app.recv_all()
        front.loop.pass_time(60)
        assert not visitor.can_read()
        app.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        front.settle()
        assert visitor.recv_all() == b"HTTP/1.1 100 Continue\r\n\r\n"
        visitor.send(b"body")
        front.settle()
        assert app.recv_all() == b"body"


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("stage", ["wait", "response", "upload", "queue"])
def test_a_client_that_goes_ends_its_exchange_at_once(how: str, stage: str) -> None:
    with memory_front() as front:
        if stage == "queue":
            visitor = front.visit()
            visitor.send(EVIL)
            front.settle()
        else:
            upload = Ask(1, method=b"POST", coding=Coding.LENGTH, size=500).wire[:200]
            visitor, app = begun(front, upload if stage == "upload" else EVIL)
            app.recv_all()
            if stage == "response":
                app.send(OK[:-1])
                front.settle()
                visitor.recv_all()
        visitor.close() if how == "close" else visitor.reset() if how == "reset" else visitor.shutdown(1)
        front.settle()
        if stage == "queue":
            assert not front.desk._waiting
        else:
            assert app.ended or app.broken
            app.close()
        if how == "half-close":
            visitor.close()
        front.settle()
        front.check_at_rest()


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n", b"5\r\nhelloX", b"5\r\nhello\r\n0\r\nX: 1\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5;\x00\r\n"],
)
@pytest.mark.parametrize("split", [False, True])
def test_a_malformed_body_is_400_and_what_follows_is_no_request(body: bytes, split: bool) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with memory_front() as front:
        visitor, app = begun(front, head + b"" if split else head + body + EVIL)
        if split:
            visitor.send(body)
            front.settle()
            visitor.send(EVIL)
            front.settle()
        got = visitor.recv_all()
        assert got.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nConnection: close\r\n" in got
        assert got.count(b"HTTP/1.1 ") == 1
        assert not app.here().endswith(b"0\r\n\r\n")
        assert app.ended or app.broken
        assert len(front.apps) == 1


def test_a_body_that_grows_too_large_is_413_though_its_head_was_fine() -> None:
    limit = 30 << 20
    with memory_front() as front:
        visitor, app = begun(front, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n%b\r\n" % (1 << 19, bytes(1 << 19))
        for _ in range(limit // (1 << 19) + 1):
            if visitor.broken:
                break
            visitor.send(piece)
            front.settle()
            app.here()
        assert visitor.here().startswith(b"HTTP/1.1 413 ")


def test_a_refusal_before_the_body_was_read_ends_the_connection() -> None:
    with memory_front(methods=("GET",)) as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(Ask(1, method=b"POST", coding=Coding.LENGTH, size=len(EVIL)).wire[: -len(EVIL)] + EVIL)
        front.settle()
        got = visitor.recv_all()
        assert got.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: GET\r\n" in got
        assert got.count(b"HTTP/1.1") == 1
        assert visitor.ended or b"Connection: close" in got
        assert not front.apps


def test_options_of_a_whole_server_is_a_star_at_the_app() -> None:
    with memory_front() as front:
        _, app = begun(front, b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert app.recv_all().startswith(b"OPTIONS * HTTP/1.1\r\n")
        for target in (b"http://a/", b"http://a?q"):
            visitor = front.visit()
            visitor.send(b"OPTIONS %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
            front.settle()
            assert front.apps[-1].recv_all().startswith(b"OPTIONS /")


@pytest.mark.parametrize("slow", ["visitor", "app"])
def test_who_reads_slowly_makes_the_other_wait_and_costs_a_bounded_buffer(slow: str) -> None:
    size = 3_000_000
    sent = 0
    with memory_front(app_capacity=10_000) as front:
        front.publish(1)
        visitor = front.visit(capacity=10_000)
        sender, reader = visitor, visitor
        ask = Ask(1, method=b"POST", coding=Coding.LENGTH, size=size) if slow == "app" else Ask(1)
        head = ask.wire.partition(END_OF_HEAD)[0] + END_OF_HEAD
        visitor.send(head)
        front.settle()
        app = front.apps[0]
        if slow == "visitor":
            app.recv_all()
            app.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            sender, reader = app, visitor
        else:
            sender, reader = visitor, app
        body = fill(b"x", size)
        while sender.can_write():
            sent += sender.send(body[sent : sent + 10_000])
            front.settle()
        assert sent < 2 * READ_AHEAD_LIMIT + 100_000
        got = b""
        while len(got) < size:
            got += reader.here()
            front.settle()
            if sender.can_write() and sent < size:
                sent += sender.send(body[sent : sent + 10_000])
            front.settle()
            if b"\r\n\r\n" in got[:2000]:
                got = got.partition(END_OF_HEAD)[2]
        assert got == body


def test_each_event_of_a_stream_is_passed_on_at_once() -> None:
    with memory_front() as front:
        visitor, app = begun(front, EVIL)
        app.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        front.settle()
        assert b"Transfer-Encoding: chunked" in visitor.recv_all()
        for number in range(3):
            app.send(b"9\r\ndata: %d\n\n\r\n" % number)
            front.settle()
            assert visitor.recv_all() == b"9\r\ndata: %d\n\n\r\n" % number


@pytest.mark.parametrize(
    ("side", "status"), [("app", 504), ("client", 408), ("slow-client", 0)]
)  # fmt: skip
def test_request_timeout_is_about_silence_on_both_sides(side: str, status: int) -> None:
    with memory_front(front={"min_upload_rate": 0}) as front:
        ask = Ask(1, method=b"POST", coding=Coding.LENGTH, size=50)
        visitor, app = begun(front, ask.wire if side == "app" else ask.wire[:-20])
        app.recv_all()
        for number in range(4):
            front.loop.pass_time(100)
            if side == "slow-client":
                visitor.send(ask.wire[-20 + number : -19 + number])
                front.settle()
        got = visitor.here()
        assert got.startswith(b"HTTP/1.1 %d " % status) if status else not got
        assert bool(status) == (app.broken or (not app.here() and app.ended))


@given(st.integers(1, 5), st.sampled_from([b"TRACE", b"OPTIONS"]), st.booleans())
def test_max_forwards_is_one_less_at_the_app(hops: int, method: bytes, quick_lane: bool) -> None:
    with memory_front(quick_lane=quick_lane) as front:
        _, app = begun(front, b"%b / HTTP/1.1\r\nHost: a\r\nMax-Forwards: %d\r\n\r\n" % (method, hops))
        assert b"\r\nMax-Forwards: %d\r\n" % (hops - 1) in app.recv_all()


@pytest.mark.parametrize("body", [b"", b"Content-Length: 9\r\n"], ids=["of a request", "of half a body"])
def test_who_ends_its_own_half_and_reads_on_does_not_take_half_an_answer_for_the_whole(body: bytes) -> None:
    """HTTP/1.0 has nothing but the end of the connection to tell the end of an answer."""
    with memory_front() as front:
        visitor, app = begun(front, b"GET / HTTP/1.0\r\nHost: a\r\n%b\r\n" % body + b"half"[: len(body)])
        app.recv_all()
        app.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        front.settle()
        assert visitor.recv_all().endswith(b"\r\n\r\nhalf")
        visitor.shutdown(1)
        front.settle()
        assert visitor.broken
        assert not visitor.ended
        app.close()
        front.settle()
        front.check_at_rest()


def test_an_upload_that_is_over_is_freed_at_once() -> None:
    """It and its conversation hold each other, and pieces of a body: thousands of them would wait for the collector."""
    with memory_front() as front:
        gc.collect()
        gc.disable()
        try:
            before = {id(one) for one in gc.get_objects() if type(one) is Upload}
            visitor, app = begun(front, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
            visitor.send(b"later")
            front.settle()
            app.send(OK)
            front.settle()
            assert visitor.recv_all().endswith(b"ok")
            assert [one for one in gc.get_objects() if type(one) is Upload and id(one) not in before] == []
        finally:
            gc.enable()
