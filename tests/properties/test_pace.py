"""How slow a client may be, and that an app may be as slow as it likes."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from proxy.forward import MAX_INTERIM
from proxy.pace import GRACE
from tests.kit.memory import MemorySocket
from tests.kit.memory_front import TICK, MemoryFront, memory_front
from tests.properties.messages import fill

RATE = 240
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
LENGTH = HEAD + b"Content-Length: 1000000\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def begun(front: MemoryFront, data: bytes, capacity: int = 1 << 20) -> tuple[MemorySocket, MemorySocket]:
    front.publish(1)
    visitor = front.visit(capacity)
    visitor.send(data)
    front.settle()
    return visitor, front.apps[0]


def is_over(visitor: MemorySocket) -> bool:
    return visitor.ended or visitor.broken


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 1, 100, 240, 1000, 5000])), max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_an_upload_lasts_as_long_as_it_keeps_the_rate(
    steps: list[tuple[int, int]], chunked: bool, quick_lane: bool
) -> None:
    waited, moved = 0.0, 0
    with memory_front(quick_lane=quick_lane) as front:
        visitor, app = begun(front, CHUNKED if chunked else LENGTH)
        for pause, size in steps:
            front.loop.pass_time(pause)
            waited += pause
            left = GRACE + moved / RATE - waited
            if left < -2 * TICK:
                event("too slow")
                assert visitor.here().startswith(b"HTTP/1.1 408 ")
                assert not app.here().endswith(b"\r\n0\r\n\r\n")
                assert app.ended or app.broken
                assert not front.desk._generations[0].in_flight
                break
            if left <= 2 * TICK:  # either is right
                break
            assert not visitor.here()
            data = fill(b"x", size)
            visitor.send(b"%x\r\n%b\r\n" % (size, data) if chunked and size else b"" if chunked else data)
            front.settle()
            moved += size
        visitor.close()
        front.settle()


def test_a_byte_now_and_then_does_not_hold_an_app() -> None:
    with memory_front() as front:
        visitor, app = begun(front, LENGTH)
        seconds = 0
        while not visitor.can_read():
            visitor.send(b"x")
            front.loop.pass_time(1)
            seconds += 1
        assert visitor.here().startswith(b"HTTP/1.1 408 ")
        assert GRACE <= seconds <= GRACE + 3
        front.settle()
        app.here()
        assert app.ended or app.broken


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_keeps_the_rate_may_take_its_time(chunked: bool) -> None:
    with memory_front() as front:
        visitor, app = begun(front, CHUNKED if chunked else LENGTH)
        for _ in range(100):
            visitor.send(b"fa\r\n%b\r\n" % (b"x" * 250) if chunked else b"x" * 250)
            front.loop.pass_time(1)
            assert app.here()
        assert not is_over(visitor)


@pytest.mark.parametrize(
    ("start", "byte"),
    [(b"", b"0"), (b"5;a", b"a"), (b"5\r\nhello\r\n0\r\nX: ", b"a"), (b"1\r\na\r\n", b"0")],
)
def test_the_framing_of_a_body_cannot_be_dribbled(start: bytes, byte: bytes) -> None:
    with memory_front() as front:
        visitor, _ = begun(front, CHUNKED + start)
        for _ in range(12):
            if visitor.can_read():
                break
            visitor.send(byte)
            front.loop.pass_time(1)
        assert visitor.here().startswith(b"HTTP/1.1 408 ")


def test_the_apps_slowness_is_not_the_clients() -> None:
    """What the client has to send waits in buffers, for hours."""
    with memory_front(app_capacity=1000, request_timeout=0) as front:
        visitor, app = begun(front, LENGTH, capacity=1000)
        for _ in range(100):
            while visitor.can_write():
                visitor.send(b"x" * 1000)
                front.settle()
            front.loop.pass_time(100)
            assert app.recv(500)
            front.settle()
        assert not is_over(visitor)


def test_who_waits_for_100_is_not_slow() -> None:
    with memory_front() as front:
        visitor, app = begun(front, HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        front.loop.pass_time(100)  # the app thinks
        app.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 100 ")
        visitor.send(b"hello")
        front.settle()
        app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 200 ")


def test_once_an_answer_has_begun_only_silence_counts() -> None:
    """A conversation: who listens need not speak."""
    with memory_front() as front:
        visitor, app = begun(front, CHUNKED)
        front.loop.pass_time(2)
        app.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        front.settle()
        for _ in range(10):
            front.loop.pass_time(100)
            visitor.send(b"1\r\nx\r\n")
            front.settle()
            assert app.here()
        assert not is_over(visitor)


def test_no_rate_is_none() -> None:
    with memory_front(front={"min_upload_rate": 0, "min_download_rate": 0}) as front:
        visitor, _ = begun(front, LENGTH)
        for _ in range(10):
            front.loop.pass_time(100)
            visitor.send(b"x")
            front.settle()
        assert not visitor.here()
        assert not is_over(visitor)


@pytest.mark.parametrize(("each", "whole"), [(400, True), (1, False)])
def test_a_download_lasts_as_long_as_it_keeps_the_rate(each: int, whole: bool) -> None:
    """The visitor reads `each` bytes a second of what is more than the buffers hold."""
    size = 10_000
    with memory_front(app_capacity=1000) as front:
        visitor, app = begun(front, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", capacity=1000)
        app.recv_all()
        app.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        got, sent = b"", 0
        for _ in range(200):
            front.settle()
            while sent < size and app.can_write() and not app.broken:
                sent += app.send(b"x" * min(1000, size - sent))
                front.settle()
            if not visitor.can_read() or is_over(visitor):
                break
            try:
                got += visitor.recv(each)
            except ConnectionResetError:
                break
            front.loop.pass_time(1)
        assert (got.count(b"x") == size) == whole
        assert visitor.broken != whole
        assert not front.desk._generations[0].in_flight


def test_an_app_that_has_nothing_to_say_does_not_make_its_client_slow() -> None:
    with memory_front() as front:
        visitor, app = begun(front, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        app.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            front.loop.pass_time(100)
            app.send(b"1\r\nx\r\n")
            front.settle()
            assert visitor.here()


@pytest.mark.parametrize("count", [MAX_INTERIM, MAX_INTERIM + 1])
def test_interim_answers_without_end_are_no_answer(count: int) -> None:
    with memory_front() as front:
        visitor, app = begun(front, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        app.send(b"HTTP/1.1 102 Processing\r\n\r\n" * count + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        front.settle()
        got = visitor.recv_all()
        assert got.count(b"HTTP/1.1 102 ") == count
        assert (b"HTTP/1.1 200 " in got) == (count <= MAX_INTERIM)
        assert (b"HTTP/1.1 502 " in got) == (count > MAX_INTERIM)
