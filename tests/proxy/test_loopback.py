"""Loopback sockets are not paced, whatever the system's congestion control is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import gevent
import pytest

from proxy.backend import connect
from proxy.listener import Listener
from proxy.loopback import is_loopback, unpace
from proxy.streams import Deadlines
from supervisor_conf.control.messages import Route

NAME_SIZE = 16  # TCP_CA_NAME_MAX


def control_of(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME_SIZE).partition(b"\0")[0]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        sock.setblocking(False)
        yield sock


def test_who_is_accepted_on_loopback_is_not_paced(listening: socket.socket) -> None:
    accepted: list[socket.socket] = []
    listener = Listener(listening, lambda sock, address: accepted.append(sock))
    try:
        with socket.create_connection(listening.getsockname()):
            while not accepted:
                gevent.sleep(0)
        with accepted[0] as sock:
            assert control_of(sock) == b"reno"
    finally:
        listener.close()


def test_a_connection_to_an_app_is_not_paced(listening: socket.socket) -> None:
    deadlines = Deadlines()
    stream = connect(Route(1, 0, "127.0.0.1", listening.getsockname()[1], "", "t"), deadlines)
    try:
        with socket.socket(fileno=socket.dup(stream.fileno())) as same:
            assert control_of(same) == b"reno"
    finally:
        stream.close()
        deadlines.close()


def test_other_sockets_keep_the_system_s_choice() -> None:
    with closing(socket.create_server(("0.0.0.0", 0))) as sock:  # nothing ever connects
        sock.setblocking(False)
        system_s = control_of(sock)
        listener = Listener(sock, lambda accepted, address: None)
        try:
            assert control_of(sock) == system_s
        finally:
            listener.close()


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("app.example", False),
    ],
)
def test_only_loopback_addresses_are_this_machine_for_sure(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


def test_a_socket_that_has_no_such_choice_is_left_alone() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        unpace(sock)
