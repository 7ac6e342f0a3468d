"""What holds for plain connections holds over TLS, on both lanes: answers whole and in order, tunnels the identity, and
what was cut off never looks whole."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.kit.examples import one_in
from tests.kit.memory_front import MemoryFront, memory_front
from tests.properties.messages import END_OF_HEAD, Answer, Ask, Coding
from tests.properties.test_exchanges import Scene, places, sane_requests, served_in_order, whole_answers
from tests.properties.test_forwarding_in_any_order import sane_answer
from tests.properties.test_tunnels import SWITCH, UPGRADE, Side, acts, take


@settings(max_examples=one_in(4))
@given(
    st.lists(sane_requests, min_size=1, max_size=4),
    st.lists(whole_answers, min_size=4, max_size=4),
    places,
    places,
    st.booleans(),
)
def test_requests_over_tls_get_their_own_answers_in_order_whole_and_unchanged(
    asks: list[Ask], given_answers: list[Answer], visitor_cuts: list[int], app_cuts: list[int], quick: bool
) -> None:
    with memory_front(tls=True, quick_lane=quick) as front:
        front.publish(1)
        visitor = front.visit_encrypted()
        scene = Scene(front, list(given_answers), app_cuts, visitor)
        if served_in_order(scene, asks, visitor_cuts) < len(asks):
            assert visitor.ended  # close_notify, not a bare FIN
        for app in scene.apps:
            assert all((b"x-forwarded-proto", b"https") in seen.head.headers for seen in app.requests)
        scene.end()


@given(st.integers(0, 200_000), st.integers(0, 200_000), st.sampled_from(list(Coding)))
def test_an_answer_that_was_cut_off_never_looks_whole(size: int, sent: int, coding: Coding) -> None:
    """HTTP/1.0 knows no end of a body of unknown length but the connection's: close_notify makes the difference."""
    answer = sane_answer(Answer(1, coding=coding, size=max(size, 1)))
    with memory_front(tls=True) as front:
        front.publish(1)
        visitor = front.visit_encrypted()
        visitor.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        front.settle()
        (app,) = front.apps
        app.recv_all()
        head, _, body = answer.wire.partition(END_OF_HEAD)
        app.send(head + END_OF_HEAD + body[: sent % max(len(body), 1)])
        front.settle()
        app.reset()
        front.settle()
        visitor.here()
        assert not visitor.ended
        visitor.close()
        front.settle()
        front.check_at_rest()


@settings(max_examples=one_in(4))
@given(st.lists(acts, max_size=20), st.sampled_from([0, 10, 90_000]), st.sampled_from([0, 10, 90_000]))
def test_a_tunnel_over_tls_is_the_identity_both_ways_with_half_close(
    steps: list[tuple[str, str, int]], early: int, greeting: int
) -> None:
    with memory_front(app_capacity=100_000, tls=True) as front:
        front.publish(1)
        visitor = front.visit_encrypted(capacity=100_000)
        visitor.send(UPGRADE + b"e" * early)
        front.settle()
        app = front.apps[0]
        assert b"Upgrade: WebSocket, other" in app.recv_all().partition(END_OF_HEAD)[0]
        app.send(SWITCH + b"w" * greeting)
        front.settle()
        here, there = Side("visitor", visitor), Side("app", app)
        here.said, there.said = b"e" * early, b"w" * greeting
        both = {"visitor": here, "app": there}
        take(front, both, steps)
        _exhaust(front, here, there)
        head, _, heard = here.heard.partition(END_OF_HEAD)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert heard == there.said
        assert there.heard == here.said
        assert visitor.ended == there.has_ended
        assert app.ended == here.has_ended
        event("half-closed" if visitor.ended != app.ended else "both alike")


def _exhaust(front: MemoryFront, here: Side, there: Side) -> None:
    """Until nothing is on its way any more."""
    quiet = 0
    while quiet < 3:
        before = _state(here, there)
        for side in (here, there):
            side.push()
            side.read(1 << 20)
            front.settle()
        quiet = 0 if _state(here, there) != before else quiet + 1


def _state(here: Side, there: Side) -> list[int]:
    return [len(part) for side in (here, there) for part in (side.heard, side.outbox)]


@settings(max_examples=one_in(4))
@given(st.binary(max_size=100))
def test_a_tunnel_whose_visitor_is_cut_off_does_not_end_cleanly_at_the_app(last: bytes) -> None:
    """A FIN that anybody on the way can forge is not the visitor's end."""
    with memory_front(tls=True) as front:
        front.publish(1)
        visitor = front.visit_encrypted()
        visitor.send(UPGRADE)
        front.settle()
        app = front.apps[0]
        app.recv_all()
        app.send(SWITCH)
        front.settle()
        visitor.here()
        if last:
            visitor.send(last)
            front.settle()
        visitor.raw.shutdown(1)
        front.settle()
        app.here()
        assert app.broken
