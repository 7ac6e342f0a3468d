"""Who sits at this machine: by real sockets, and real users where the test may be them."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.headers import Caller, Fields
from proxy.local_person import is_local_person, names_this_machine
from proxy.peer import Framing, Request

ME = os.geteuid()
#: Where we listen, and what the visitor connects to: the last is a dual-stack socket and a visitor of IPv4.
WAYS = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")]


def request(host: bytes = b"localhost:8080", *more: tuple[bytes, bytes]) -> Request:
    fields: Fields = [(b"Host", host), *more]
    return Request(b"GET", b"/", b"1.1", fields, Framing.NONE, 0, True, host=host)


@contextmanager
def connected(bound: str, address: str, user: str = "") -> Iterator[tuple[socket.socket, Caller]]:
    """Our end of a connection that `user` has made over a loopback."""
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with (
        socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::") as server,
        socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as theirs,
    ):
        theirs.connect((address, server.getsockname()[1]))
        if user:  # the kernel's table tells who owns the socket's inode
            os.fchown(theirs.fileno(), pwd.getpwnam(user).pw_uid, -1)
        ours, peer = server.accept()
        with ours:
            yield ours, Caller(peer[0].removeprefix("::ffff:"), peer[1], "http")


@pytest.mark.parametrize(("bound", "address"), WAYS)
def test_the_user_who_started_us_is_told(bound: str, address: str) -> None:
    with connected(bound, address) as (ours, peer):
        assert is_local_person(ours.fileno(), peer, request(), ME)


@pytest.mark.skipif(ME != 0, reason="only root can make another user's socket")
@pytest.mark.parametrize(("bound", "address"), WAYS)
def test_a_proxys_user_is_not(bound: str, address: str) -> None:
    with connected(bound, address, "nobody") as (ours, peer):
        assert not is_local_person(ours.fileno(), peer, request(), ME)
        assert is_local_person(ours.fileno(), peer, request(), pwd.getpwnam("nobody").pw_uid)


def test_the_peer_of_a_unix_socket_is_known_to_the_kernel() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        unix = Caller("", 0, "http")
        assert is_local_person(ours.fileno(), unix, request(b"whatever"), ME)
        assert is_local_person(ours.fileno(), unix, request(), ME + 1) == (ME == 0)
        assert not is_local_person(ours.fileno(), unix, request(b"a", (b"Via", b"1.1 nginx")), ME)


@pytest.mark.parametrize(
    "more",
    [(b"Forwarded", b"for=a"), (b"X_Forwarded_Port", b"1"), (b"via", b"1.1 a"), (b"X-Real-IP", b"::1")],
)
def test_who_comes_through_a_proxy_is_not(more: tuple[bytes, bytes]) -> None:
    with connected(*WAYS[0]) as (ours, peer):
        assert not is_local_person(ours.fileno(), peer, request(b"localhost", more), ME)


def test_who_is_elsewhere_or_not_named_is_not() -> None:
    with connected(*WAYS[0]) as (ours, peer):
        assert not is_local_person(ours.fileno(), peer, request(b"shop.example"), ME)
        assert not is_local_person(ours.fileno(), Caller("192.0.2.1", 1, "http"), request(), ME)
        nameless = Caller(peer.address, peer.port, "http", nameless=True)
        assert not is_local_person(ours.fileno(), nameless, request(), ME)
        gone = ours.fileno()
    assert not is_local_person(gone, peer, request(), ME)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (b"localhost", True),
        (b"LOCALHOST.:80", True),
        (b"shop.localhost:8080", True),
        (b"127.0.0.1:80", True),
        (b"127.9.9.9", True),
        (b"[::1]:80", True),
        (b"[::1]", True),
        (b"", False),
        (b"shop.example", False),
        (b"localhost.example", False),
        (b"notlocalhost", False),
        (b"192.0.2.1", False),
        (b"127.0.0.1.example", False),
        (b"0.0.0.0", False),
    ],
)
def test_names_of_this_machine(host: bytes, local: bool) -> None:
    assert names_this_machine(host) == local
