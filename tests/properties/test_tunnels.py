"""After 101 a tunnel is the identity in both directions, whatever the order of bytes, half-closes, ends and resets."""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st

from tests.kit.memory import MemorySocket
from tests.kit.memory_front import MemoryFront, memory_front
from tests.properties.messages import END_OF_HEAD, fill

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket, other\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: 1\r\n\r\n"

sides = st.sampled_from(["visitor", "app"])
acts = st.tuples(
    sides,
    st.sampled_from(["say", "say", "say", "read", "read", "end"]),
    st.sampled_from([1, 100, 70_000, 300_000]),
)


class Side:
    def __init__(self, name: str, sock: MemorySocket) -> None:
        self.name = name
        self.sock = sock
        self.said = b""
        self.outbox = b""
        self.heard = b""
        self.has_ended = False

    def say(self, size: int) -> None:
        if not self.has_ended:
            new = fill(self.name.encode() + b"%d" % len(self.said), size)
            self.said += new
            self.outbox += new
            self.push()

    def push(self) -> None:
        while self.outbox and self.sock.can_write():
            self.outbox = self.outbox[self.sock.send(self.outbox) :]

    def read(self, size: int) -> None:
        if self.sock.can_read() and not self.sock.broken:
            self.heard += self.sock.recv(size)

    def end(self) -> None:
        if not self.has_ended and not self.outbox:
            self.has_ended = True
            self.sock.shutdown(1)


def take(front: MemoryFront, both: dict[str, Side], steps: list[tuple[str, str, int]]) -> None:
    """What each side does, in this order, and what follows from it."""
    for name, act, size in steps:
        side = both[name]
        match act:
            case "say":
                side.say(size)
            case "read":
                side.read(size)
            case _:
                side.end()
        front.settle()
        for each in both.values():
            each.push()


def switched(
    front: MemoryFront, early: bytes = b"", greeting: bytes = b""
) -> tuple[MemorySocket, MemorySocket]:
    """A visitor and an app with a tunnel between them; `early` and `greeting` come with the heads."""
    front.publish(1)
    visitor = front.visit(capacity=100_000)
    visitor.send(UPGRADE + early)
    front.settle()
    app = front.apps[0]
    head, _, body = app.recv_all().partition(END_OF_HEAD)
    assert b"Upgrade: WebSocket, other" in head
    assert b"Connection: Upgrade" in head
    assert not body
    app.send(SWITCH + greeting)
    front.settle()
    return visitor, app


@given(st.lists(acts, max_size=25), st.sampled_from([0, 10, 90_000]), st.sampled_from([0, 10, 90_000]))
def test_a_tunnel_is_the_identity_both_ways_with_half_close(
    steps: list[tuple[str, str, int]], early: int, greeting: int
) -> None:
    with memory_front(app_capacity=100_000) as front:
        first, welcome = fill(b"early", early), fill(b"welcome", greeting)
        visitor, app = switched(front, first, welcome)
        both = {"visitor": Side("visitor", visitor), "app": Side("app", app)}
        both["visitor"].said, both["app"].said = first, welcome
        visitor_side, app_side = both["visitor"], both["app"]
        take(front, both, steps)
        while visitor_side.outbox or app_side.outbox or visitor.can_read() or app.can_read():
            before = len(visitor_side.heard) + len(app_side.heard)
            for side in both.values():
                side.push()
                side.read(1 << 20)
                front.settle()
            if before == len(visitor_side.heard) + len(app_side.heard):
                break
        head, _, heard = visitor_side.heard.partition(END_OF_HEAD)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"X-A: 1" in head
        assert heard == app_side.said
        assert app_side.heard == visitor_side.said
        assert visitor.ended == app_side.has_ended  # a FIN goes on as a FIN, and never alone
        assert app.ended == visitor_side.has_ended
        event("half-closed" if visitor.ended != app.ended else "both alike")
        visitor_side.end()
        app_side.end()
        front.settle()
        assert visitor.ended
        assert app.ended
        visitor.close()
        app.close()
        front.settle()
        front.check_at_rest()


@given(sides, st.booleans(), st.sampled_from([0, 10, 90_000]))
def test_a_side_that_breaks_takes_the_other_with_it(name: str, while_stalled: bool, size: int) -> None:
    with memory_front(app_capacity=50_000) as front:
        visitor, app = switched(front)
        breaks, stays = (visitor, app) if name == "visitor" else (app, visitor)
        if while_stalled:
            breaks.send(fill(b"x", size))
            front.settle()
        breaks.reset()
        front.settle()
        while stays.can_read() and not stays.broken:
            stays.recv(1 << 20)
            front.settle()
        assert stays.broken
        stays.close()
        front.settle()
        front.check_at_rest()


@given(st.sampled_from(["nobody", "visitor", "app"]), st.integers(1, 4))
def test_an_idle_limit_ends_a_tunnel_in_which_nothing_moves_and_no_other(who: str, rounds: int) -> None:
    with memory_front(tunnel_idle_timeout=10.0) as front:
        visitor, app = switched(front)
        for _ in range(rounds):
            front.loop.pass_time(7)
            if who == "visitor":
                visitor.send(b"x")
            elif who == "app":
                app.send(b"x")
            front.settle()
        moved = who != "nobody"
        alive = not visitor.broken and not app.broken
        assert alive == (moved or rounds == 1)
        front.loop.pass_time(25)
        assert visitor.broken
        assert app.broken
        visitor.close()
        app.close()
        front.settle()
        front.check_at_rest()


def test_a_direction_that_stands_still_does_not_end_one_that_moves() -> None:
    with memory_front(app_capacity=1000, tunnel_idle_timeout=10.0) as front:
        visitor, app = switched(front)
        visitor.recv_all()
        visitor.send(fill(b"up", 80_000))  # the app does not read it
        for _ in range(6):
            front.loop.pass_time(7)
            app.send(b"x")
            front.settle()
        assert visitor.recv_all() == b"x" * 6
        got = b""
        while app.can_read():
            got += app.recv_all()
            front.settle()
        assert got == fill(b"up", 80_000)


@given(st.sampled_from([b"h2c", b"", b"websocket, h2c", b"websockets"]))
def test_a_101_to_what_was_not_offered_is_502(said: bytes) -> None:
    with memory_front() as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(UPGRADE + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        app = front.apps[0]
        field = b"Upgrade: %b\r\n" % said if said else b""
        app.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" + field + b"\r\n")
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 502 ")
        app.recv_all()
        assert app.ended or app.broken


def test_a_101_before_the_request_is_complete_is_502() -> None:
    with memory_front() as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(UPGRADE.replace(b"Host: a", b"Host: a\r\nContent-Length: 9") + b"half")
        front.settle()
        app = front.apps[0]
        app.send(SWITCH)
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 502 ")
        app.recv_all()
        assert app.ended or app.broken


def test_a_visitors_connection_that_we_close_ends_the_tunnel() -> None:
    with memory_front() as front:
        _, app = switched(front)
        for connection in list(front._connections):
            connection.close()  # as at the end of drain_limit
        front.settle()
        assert app.broken
        app.close()
        front.settle()
        front.check_at_rest()
