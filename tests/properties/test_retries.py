"""Never two requests for one: what is sent again, what is not, and what the visitor is told then (RFC 9110 9.2.2)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor_conf.control.messages import Bad, Need
from tests.kit.memory import MemorySocket
from tests.kit.memory_front import MemoryFront, memory_front
from tests.properties.messages import Ask, Coding

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def first_exchange(front: MemoryFront) -> tuple[MemorySocket, MemorySocket]:
    """A visitor and an app whose connection is in the pool."""
    front.publish(1)
    visitor = front.visit()
    visitor.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
    front.settle()
    app = front.apps[0]
    app.recv_all()
    app.send(OK)
    front.settle()
    assert visitor.recv_all() == OK
    return visitor, app


def asked(app: MemorySocket) -> bytes:
    try:
        return app.recv_all()
    except ConnectionResetError:
        return b""


@given(
    method=st.sampled_from(
        [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"POST", b"PUT", b"DELETE", b"PATCH", b"get"]
    ),
    coding=st.sampled_from([Coding.NONE, Coding.LENGTH, Coding.CHUNKED]),
    size=st.sampled_from([1, 200_000]),
    said=st.sampled_from([b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n", OK[:-1]]),
    reset=st.booleans(),
    reused=st.booleans(),
)
@example(b"GET", Coding.NONE, 1, b"", False, True)
@example(b"GET", Coding.NONE, 1, b"", False, False)
@example(b"GET", Coding.NONE, 1, b"HTTP/1.1 100 Continue\r\n\r\n", False, True)
@example(b"GET", Coding.NONE, 1, b"H", True, True)
@example(b"GET", Coding.LENGTH, 1, b"", False, True)
@example(b"GET", Coding.CHUNKED, 1, b"", False, True)
@example(b"POST", Coding.NONE, 1, b"", False, True)
@example(b"get", Coding.NONE, 1, b"", False, True)
def test_only_a_safe_request_without_body_on_a_connection_used_before_without_a_byte_of_answer_is_sent_again(
    method: bytes, coding: Coding, size: int, said: bytes, reset: bool, reused: bool
) -> None:
    ask = Ask(2, method=method, coding=coding, size=size)
    with memory_front() as front:
        if reused:
            visitor, app = first_exchange(front)
        else:
            front.publish(1)
            visitor = front.visit()
        visitor.send(ask.wire)
        front.settle()
        app = front.apps[0]
        assert b"/r/2" in asked(app)
        if said:
            app.send(said)
        front.settle()
        app.reset() if reset else app.close()
        front.loop.pass_time(3)
        repeated = (
            reused
            and not said
            and method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE")
            and coding is Coding.NONE
        )
        # A lone connection that was reset is followed by one that asks whether somebody listens, and says nothing.
        for silent in front.apps[1 + repeated :]:
            assert reset
            assert asked(silent) == b""
        if repeated:
            again = front.apps[1]
            assert b"/r/2" in asked(again)
            again.send(OK if method != b"HEAD" else OK[:-2])
            front.settle()
            assert visitor.recv_all().startswith(b"HTTP/1.1 200 ")
        elif said == OK[:-1] and method != b"HEAD":
            visitor.recv_all()
            assert visitor.broken
        elif said != OK[:-1]:
            assert b"HTTP/1.1 502 " in visitor.recv_all()
        visitor.close()
        front.settle()
        front.close_idle()
        front.check_at_rest()


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("dead", [True, False])
def test_a_connection_that_a_process_took_with_it_unread_counts_as_refused(method: bytes, dead: bool) -> None:
    """The kernel makes connections for a process that is about to die; what is on them nobody has seen."""
    with memory_front() as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(Ask(1, method=method).wire)
        front.settle()
        front.app_refuses = dead
        front.apps[0].reset()
        front.loop.pass_time(3)
        waits = dead and method == b"GET"
        assert (Need("shop") in front.told) is waits
        if not waits:
            assert visitor.recv_all().startswith(b"HTTP/1.1 502 ")
            return
        front.app_refuses = False
        front.publish(2)
        front.settle()
        assert b"/r/1" in front.apps[1].recv_all()
        front.apps[1].send(OK)
        front.settle()
        assert visitor.recv_all() == OK


def test_a_process_that_is_just_ending_is_not_taken_for_one_that_lives() -> None:
    with memory_front() as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        front.apps[0].reset()
        front.settle()
        front.app_refuses = True
        front.apps[1].reset()
        front.settle()
        assert Need("shop") in front.told
        front.app_refuses = False
        front.publish(2)
        front.settle()
        front.apps[2].send(OK)
        front.settle()
        assert visitor.recv_all() == OK


def test_a_request_that_was_read_is_not_sent_to_the_next_generation() -> None:
    with memory_front() as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        front.apps[0].recv_all()
        front.app_refuses = True
        front.apps[0].close()
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 502 ")


def test_a_repeated_request_is_repeated_once() -> None:
    with memory_front() as front:
        visitor, app = first_exchange(front)
        visitor.send(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        app.recv_all()
        app.close()
        front.settle()
        front.apps[1].recv_all()
        front.apps[1].close()
        front.settle()
        assert len(front.apps) == 2
        assert visitor.recv_all().startswith(b"HTTP/1.1 502 ")


def test_a_repetition_takes_a_new_connection_not_another_idle_one() -> None:
    with memory_front() as front:
        front.publish(1)
        visitors = [front.visit(), front.visit()]
        for visitor in visitors:
            visitor.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
            front.settle()
        for app in front.apps:
            app.recv_all()
            app.send(OK)
        front.settle()
        assert len(front.apps) == 2
        visitors[0].send(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        taken = next(app for app in front.apps if app.can_read())
        taken.recv_all()
        taken.close()
        front.settle()
        assert b"/again" in front.apps[2].recv_all()


@pytest.mark.parametrize("when", ["before", "unnoticed"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_pooled_connection_that_has_ended_costs_nobody_anything(method: bytes, when: str) -> None:
    with memory_front() as front:
        visitor, app = first_exchange(front)
        app.close()
        if when == "before":
            front.settle()
        visitor.send(Ask(2, method=method, coding=Coding.LENGTH, size=3).wire)
        front.settle()
        assert b"/r/2" in front.apps[1].recv_all()
        front.apps[1].send(OK)
        front.settle()
        assert visitor.recv_all() == OK


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_refused_connection_waits_for_the_next_generation_once(method: bytes) -> None:
    ask = Ask(1, method=method, coding=Coding.LENGTH, size=200_000)
    with memory_front() as front:
        front.publish(1)
        front.app_refuses = True
        visitor = front.visit()
        visitor.send(ask.wire)
        front.settle()
        assert [type(message) for message in front.told][:1] == [Bad]
        assert Need("shop") in front.told
        front.app_refuses = False
        front.publish(2)
        front.settle()
        assert front.apps[0].recv_all().partition(b"\r\n\r\n")[2] == ask.body
        front.apps[0].send(OK)
        front.settle()
        assert visitor.recv_all() == OK
        front.app_refuses = True
        front.close_idle()
        visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        front.publish(3)
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("late", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL", b"x"])
@pytest.mark.parametrize("noticed", [True, False])
def test_what_an_app_says_out_of_turn_answers_nobody(late: bytes, noticed: bool) -> None:
    with memory_front() as front:
        visitor, app = first_exchange(front)
        app.send(late)
        if noticed:
            front.settle()
        visitor.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        assert b"/second" in front.apps[1].recv_all()
        front.apps[1].send(OK)
        front.settle()
        assert visitor.recv_all() == OK
