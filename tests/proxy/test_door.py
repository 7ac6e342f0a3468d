"""How many connections are let in, and who goes when there are too many."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from proxy.connection import FRESH
from proxy.door import CLOSED_AT_ONCE, client_of
from tests.kit.memory import MemorySocket
from tests.kit.memory_front import MemoryFront, memory_front

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FULL = b"HTTP/1.1 503 "


def visit_from(front: MemoryFront, address: str) -> MemorySocket:
    """A visitor who comes over TCP from this address."""
    ours, theirs = front.loop.pair()
    ours.family = 2  # type: ignore[misc]  # what the memory's sockets have instead of the real options
    front.front_ends.append(ours)
    front._accepted(front.settings.front.listen[0], ours, (address, 40000))  # type: ignore[arg-type]
    return theirs


def busy(front: MemoryFront) -> MemorySocket:
    visitor = front.visit()
    visitor.send(ASK)
    front.settle()
    return visitor


def test_one_more_than_the_limit_is_told_so_and_the_others_go_on() -> None:
    with memory_front(front={"max_connections": 3}) as front:
        front.publish(1)
        inside = [busy(front) for _ in range(3)]
        outside = front.visit()
        assert outside.recv_all().startswith(FULL)
        assert outside.ended
        assert len(front._connections) == 3
        for app, visitor in zip(front.apps, inside, strict=True):
            app.send(OK)
            front.settle()
            assert visitor.recv_all().startswith(b"HTTP/1.1 200 ")
        for visitor in inside:
            visitor.close()
        front.settle()
        assert not front._connections
        busy(front).close()
        front.settle()


def test_idle_connections_make_room_those_first_that_have_been_idle_longest() -> None:
    count = CLOSED_AT_ONCE + 3
    with memory_front(front={"max_connections": count}) as front:
        front.publish(1)
        idle = []
        for _ in range(count):
            idle.append(front.visit())
            front.loop.pass_time(0.5)
        front.loop.pass_time(FRESH)
        new = busy(front)
        assert not new.can_read()
        assert [visitor.ended for visitor in idle] == [True] * CLOSED_AT_ONCE + [False] * 3
        for visitor in [new, *idle]:
            visitor.close()
        front.settle()
        assert not front._connections


def test_who_works_is_never_closed_to_make_room() -> None:
    with memory_front(front={"max_connections": 2}) as front:
        front.publish(1)
        working, resting = busy(front), front.visit()
        assert front.visit().recv_all().startswith(FULL)  # a request may be on its way
        front.loop.pass_time(FRESH)
        new = busy(front)
        assert resting.ended
        assert not working.can_read()
        assert not new.can_read()
        assert front.visit().recv_all().startswith(FULL)
        front.loop.pass_time(1)
        assert front.visit().recv_all().startswith(FULL)


def test_a_kept_connection_makes_way_at_once_but_not_with_a_request_on_it() -> None:
    with memory_front(front={"max_connections": 2}) as front:
        front.publish(1)
        kept = [busy(front), busy(front)]
        for app in front.apps:
            app.send(OK)
        front.settle()
        front.loop.pass_time(5)
        for visitor in kept:
            assert visitor.recv_all().startswith(b"HTTP/1.1 200 ")
        kept[0].send(ASK)  # has arrived, and the loop has not told yet
        new = front.visit()
        front.settle()
        assert not kept[0].ended
        assert kept[1].ended
        assert not new.can_read()
        assert len(front._connections) == 2


@pytest.mark.parametrize("flood", [1, 10])
def test_one_client_has_its_share(flood: int) -> None:
    with memory_front(front={"max_connections_per_client": 2}) as front:
        front.publish(1)
        inside = [visit_from(front, "192.0.2.1") for _ in range(2)]
        for _ in range(flood):
            assert visit_from(front, "192.0.2.1").recv_all().startswith(FULL)
        other = visit_from(front, "192.0.2.2")
        assert not other.can_read()
        inside.pop().close()
        front.settle()
        again = visit_from(front, "192.0.2.1")
        assert not again.can_read()
        for visitor in [*inside, other, again]:
            visitor.close()
        front.settle()
        assert not front._door._clients


def test_a_proxy_that_brings_many_has_no_share() -> None:
    keys = {"max_connections_per_client": 1, "trusted_proxies": ("10.0.0.0/8",)}
    with memory_front(front=keys) as front:
        visitors = [visit_from(front, "10.0.0.1") for _ in range(5)] + [front.visit() for _ in range(5)]
        assert not any(visitor.can_read() for visitor in visitors)
        for visitor in visitors:
            visitor.close()
        front.settle()


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_an_ipv6_customer_is_one_client(address: str, client: str) -> None:
    assert client_of(address) == client


def test_the_limit_of_open_files_is_raised_as_far_as_may_be() -> None:
    script = (
        "import resource; from proxy.door import *; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)); small = capacity(); raise_descriptor_limit();"
        "print(small, capacity(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    small, large, limit = map(int, done.stdout.split())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert small == (256 - 64) // 4
    assert limit == (1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20))
    assert large == (limit - 64) // 4
