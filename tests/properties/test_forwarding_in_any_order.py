"""Client, front and app on memory streams, with a clock of the test's, in every order of bytes, ends, resets, stalls.

What must hold whatever the order: h11 reads what the app gets as one clean request after the other, with the bytes
the visitor sent; every answer belongs to its request; an answer that the app broke off never looks whole; no request
is sent twice except as RFC 9110 9.2.2 lets it; no watcher fires without end; and when everybody has gone or time has
passed, nothing is left: no connection, no lease, no stream outside the pool.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.connection import GREENLET_PATIENCE, LINGER
from tests.kit.examples import one_in
from tests.kit.memory_front import TICK, MemoryFront, memory_front
from tests.properties.messages import Answer, AppEnd, Ask, Coding, VisitorEnd

sizes = st.sampled_from([0, 1, 7, 300, 5000, 150_000])
few_bytes = st.sampled_from([1, 2, 20, 200, 1 << 30, 1 << 30])
which = st.integers(0, 7)
#: How late a wait may end: it is looked at once a tick, and begins between two.
ROUNDING = 2 * TICK

requests = st.builds(
    Ask,
    number=st.just(0),
    method=st.sampled_from([b"GET", b"GET", b"HEAD", b"POST", b"PUT"]),
    version=st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]),
    coding=st.sampled_from([Coding.NONE, Coding.NONE, Coding.LENGTH, Coding.CHUNKED]),
    size=sizes,
    chunk=st.sampled_from([1, 10, 4000]),
    connection=st.sampled_from([b"", b"", b"", b"close", b"keep-alive"]),
)
answers = st.builds(
    Answer,
    number=st.just(0),
    status=st.sampled_from([200, 200, 404, 204, 304]),
    version=st.sampled_from([b"1.1", b"1.1", b"1.0"]),
    coding=st.sampled_from([Coding.LENGTH, Coding.LENGTH, Coding.CHUNKED, Coding.CLOSE]),
    size=sizes,
    chunk=st.sampled_from([1, 10, 4000]),
    interim=st.sampled_from([0, 0, 0, 1, 3]),
    connection=st.sampled_from([b"", b"", b"close", b"keep-alive"]),
    cut=st.sampled_from([0, 0, 0, 0, 1, 3, 40]),
    noise=st.sampled_from([b"", b"", b"", b"HTTP/1.1 200 OK\r\nX-Number: 999\r\nContent-Length: 0\r\n\r\n"]),
)


def sane(ask: Ask) -> Ask:
    """What the strict reader takes: no chunked coding from HTTP/1.0, and few bytes in many chunks."""
    if ask.version == b"1.0" and ask.coding is Coding.CHUNKED:
        ask.coding = Coding.LENGTH
    if ask.coding is Coding.NONE:
        ask.size = 0
    ask.chunk = max(ask.chunk, ask.size // 500)
    return ask


def sane_answer(answer: Answer) -> Answer:
    if answer.version == b"1.0" and answer.coding is Coding.CHUNKED:
        answer.coding = Coding.CLOSE
    if answer.coding is Coding.CLOSE:
        answer.cut, answer.noise = 0, b""  # nobody could tell
    answer.chunk = max(answer.chunk, answer.size // 500)
    return answer


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.asks: dict[int, Ask] = {}
        self.visitors: list[VisitorEnd] = []
        self.apps: list[AppEnd] = []
        self.routes = 1

    @initialize(app_capacity=st.sampled_from([500, 1 << 20]), warm=st.booleans(), quick_lane=st.booleans())
    def begin(self, app_capacity: int, warm: bool, quick_lane: bool) -> None:
        self.front = self.open.enter_context(memory_front(app_capacity=app_capacity, quick_lane=quick_lane))
        if warm:
            self.front.publish(1)

    def after(self) -> None:
        self.front.settle()
        for number in range(len(self.apps), len(self.front.apps)):
            self.apps.append(AppEnd(self.front.apps[number], self.asks, self.front.app_generations[number]))

    def visitor(self, index: int) -> VisitorEnd | None:
        there = [visitor for visitor in self.visitors if not visitor.gone]
        return there[index % len(there)] if there else None

    def app(self, index: int) -> AppEnd | None:
        there = [app for app in self.apps if not app.gone]
        return there[-1 - index % len(there)] if there else None

    # Visitors

    @precondition(lambda self: len(self.visitors) < 6)
    @rule(ask=requests, capacity=st.sampled_from([100, 1 << 20]), count=few_bytes)
    def a_visitor_comes(self, ask: Ask, capacity: int, count: int) -> None:
        self.visitors.append(VisitorEnd(self.front.visit(capacity)))
        self.a_visitor_asks(len([v for v in self.visitors if not v.gone]) - 1, ask, count)

    @rule(index=which, ask=requests, count=few_bytes)
    def a_visitor_asks(self, index: int, ask: Ask, count: int) -> None:
        if visitor := self.visitor(index):
            ask = sane(ask)
            ask.number = len(self.asks) + 1
            self.asks[ask.number] = ask
            visitor.ask(ask)
            self.a_visitor_sends(index, count)

    @rule(index=which, count=few_bytes)
    def a_visitor_sends(self, index: int, count: int) -> None:
        if visitor := self.visitor(index):
            visitor.send(count)
            self.after()

    @rule(index=which, count=few_bytes)
    def a_visitor_reads(self, index: int, count: int) -> None:
        if visitor := self.visitor(index):
            visitor.read(count)
            self.after()

    @rule(index=which)
    def a_visitor_half_closes(self, index: int) -> None:
        if (visitor := self.visitor(index)) and not visitor.sock.broken:
            visitor.outbox = b""
            visitor.sock.shutdown(1)
            self.after()

    @rule(index=which, reset=st.booleans())
    def a_visitor_goes(self, index: int, reset: bool) -> None:
        if visitor := self.visitor(index):
            visitor.read()
            visitor.gone = True
            visitor.sock.reset() if reset else visitor.sock.close()
            self.after()

    @rule(index=which, ask=requests, answer=answers)
    def an_exchange_goes_well(self, index: int, ask: Ask, answer: Answer) -> None:
        if visitor := self.visitor(index):
            self.a_visitor_asks(index, ask, 1 << 30)
            for _ in range(1000):
                before = len(visitor.outbox), len(visitor.got)
                for app in [app for app in self.apps if not app.gone]:
                    app.read()
                    if app.waiting and app.waiting.number == ask.number and app.waiting.complete:
                        answer.cut, answer.noise = 0, b""
                        app.answer(sane_answer(answer))
                    if app.requests and app.requests[-1].number == ask.number:
                        app.send(1 << 30)
                visitor.send(1 << 30)
                self.after()
                visitor.read()
                self.after()
                if before == (len(visitor.outbox), len(visitor.got)):
                    break
            for app in [app for app in self.apps if not app.gone and app.requests and not app.outbox]:
                said = app.requests[-1].answer
                if said is not None and said.lasts_until_close:
                    app.gone = True
                    app.sock.close()
            self.after()

    # The app

    @rule(index=which)
    def the_app_reads(self, index: int) -> None:
        if app := self.app(index):
            app.read()
            self.after()

    @rule(index=which, answer=answers, count=few_bytes)
    def the_app_answers(self, index: int, answer: Answer, count: int) -> None:
        if app := self.app(index):
            app.read()
            if app.waiting:
                app.answer(sane_answer(answer))
                self.the_app_sends(index, count)

    @rule(index=which, count=few_bytes)
    def the_app_sends(self, index: int, count: int) -> None:
        if app := self.app(index):
            app.send(count)
            self.after()
            answer = app.requests[-1].answer if app.requests else None
            if answer is not None and not app.outbox and (answer.cut or answer.coding is Coding.CLOSE):
                self.the_app_goes(index, False)

    @rule(index=which)
    def the_app_half_closes(self, index: int) -> None:
        if (app := self.app(index)) and not app.sock.broken:
            self.tell_truth_of_an_end(app)
            app.outbox = b""
            app.sock.shutdown(1)
            self.after()

    @rule(index=which, reset=st.booleans())
    def the_app_goes(self, index: int, reset: bool) -> None:
        if app := self.app(index):
            app.read()
            self.tell_truth_of_an_end(app)
            app.gone = True
            if reset and app.requests:
                app.requests[-1].reset = True
                self.mark_what_is_taken_along()
            app.sock.reset() if reset else app.sock.close()
            self.after()

    def tell_truth_of_an_end(self, app: AppEnd) -> None:
        """An answer that lasts until the end is as long as what was sent of it."""
        answer = app.requests[-1].answer if app.requests else None
        if answer is not None and answer.coding is Coding.CLOSE and app.outbox and answer.body:
            answer.size = max(answer.size - len(app.outbox), 0)

    @rule()
    def the_app_refuses(self) -> None:
        self.front.app_refuses = True
        self.mark_what_is_taken_along()

    def mark_what_is_taken_along(self) -> None:
        if self.front.app_refuses:
            for ask in self.asks.values():
                for seen in ask.seen:
                    seen.taken_along |= seen.reset

    # Keeper and clock

    @rule(replace=st.booleans())
    def a_generation_is_ready(self, replace: bool) -> None:
        self.routes += 1
        self.front.app_refuses = False
        self.front.publish(self.routes)
        self.after()

    @rule()
    def the_route_is_withdrawn(self) -> None:
        self.front.publish()
        self.after()

    @rule(seconds=st.sampled_from([1, 3, 40, 130]))
    def time_passes(self, seconds: int) -> None:
        self.front.loop.pass_time(seconds)
        self.after()

    # What holds

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        """But once after an idle connection that ended under it, and once after one that a dead process took along."""
        for ask in self.asks.values():
            repeated = ask.seen[:-1]
            assert ask.may_be_repeated or not repeated, "repeated though it may not be"
            assert not any(seen.begun for seen in repeated), "repeated after an answer had begun"
            of_their_own = [seen for seen in repeated if seen.fresh]
            assert len(of_their_own) <= 1, "sent to a third generation"
            assert len(repeated) - len(of_their_own) <= 1, "repeated on an idle connection"
            assert all(seen.taken_along for seen in of_their_own), "repeated after a connection of its own"

    @invariant()
    def the_front_is_well(self) -> None:
        if hasattr(self, "front"):
            assert not self.front.defects, self.front.defects
            for generation in self.front.generations:
                assert generation.in_flight >= 0

    def teardown(self) -> None:
        if not hasattr(self, "front"):
            return
        try:
            self.end()
        finally:
            self.open.close()

    def end(self) -> None:
        for visitor in self.visitors:
            visitor.read()
        self.front.app_refuses = False
        self.front.publish(self.routes + 1)
        self.after()
        self.nobody_does_anything_any_more()
        for app in self.apps:
            app.read()
        for visitor in self.visitors:
            visitor.read()
            visitor.check()
        for app in self.apps:
            if not app.gone:
                app.sock.close()
        for visitor in self.visitors:
            if not visitor.gone:
                visitor.sock.close()
        self.after()
        self.front.check_at_rest()

    def nobody_does_anything_any_more(self) -> None:
        """Requests that came in one piece are answered one after the other, and each has the time of one that came
        alone: a connection may last for as many of these times as it has requests, and must be one further each
        time."""
        longest = self.longest_exchange()
        for _ in range(max((len(visitor.asked) for visitor in self.visitors), default=0) + 1):
            served = {connection: connection.exchange for connection in self.front._connections}
            self.front.loop.pass_time(longest)
            for connection in self.front._connections:
                assert connection.exchange is not served[connection], "a request is served for ever"
            if not self.front._connections:
                return
        raise AssertionError("somebody is served for ever")

    def longest_exchange(self) -> float:
        """Seconds from any moment of an exchange that everybody has left alone to its end, and to the end of a
        connection that asks no more. Silence lasts request_timeout, and once more if the last byte moved after its
        beginning; a head that is not complete, and a refusal that nobody reads, header_timeout each."""
        front = self.front.settings.front
        waits = (
            *(request_timeout(self.front),) * 2,
            *(front.header_timeout,) * 2,
            front.keep_alive_timeout,
            GREENLET_PATIENCE,
            LINGER,
        )
        return sum(wait + ROUNDING for wait in waits)


def request_timeout(front: MemoryFront) -> float:
    return front.settings.apps[0].request_timeout


def ten_requests_in_one_piece() -> AnyOrder:
    machine = AnyOrder()
    machine.begin(app_capacity=1 << 20, warm=True, quick_lane=False)
    machine.a_visitor_comes(Ask(0), capacity=1 << 20, count=1 << 30)
    for _ in range(9):
        machine.a_visitor_asks(0, Ask(0), count=1 << 30)
    return machine


def test_requests_that_came_in_one_piece_are_each_waited_for_as_long_as_one_alone() -> None:
    """Ten of them to an app that says nothing are twenty minutes, and not for ever."""
    machine = ten_requests_in_one_piece()
    silence = request_timeout(machine.front)
    for answered in range(1, 11):
        seconds = seconds_until_answer(machine, answered)
        assert silence <= seconds <= silence + ROUNDING
    machine.teardown()


def test_ten_requests_that_nobody_waits_for_any_more_end_too() -> None:
    ten_requests_in_one_piece().teardown()


@pytest.mark.parametrize("dead", [True, False])
def test_a_request_is_seen_again_only_if_its_process_is_dead(dead: bool) -> None:
    machine = AnyOrder()
    machine.begin(app_capacity=1 << 20, warm=True, quick_lane=False)
    machine.a_visitor_comes(Ask(0), capacity=1 << 20, count=1 << 30)
    if dead:
        machine.the_app_refuses()
    machine.the_app_goes(0, reset=True)
    machine.a_generation_is_ready(replace=True)
    machine.the_app_answers(0, Answer(0), count=1 << 30)
    machine.nothing_is_sent_twice()
    assert len(machine.asks[1].seen) == 1 + dead
    machine.teardown()


def seconds_until_answer(machine: AnyOrder, number: int) -> int:
    visitor = machine.visitors[0]
    for seconds in range(1000):
        visitor.read()
        if visitor.got.count(b"HTTP/1.1 504 ") == number:
            return seconds
        machine.time_passes(1)
    raise AssertionError("a request is served for ever")


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=one_in(4))
