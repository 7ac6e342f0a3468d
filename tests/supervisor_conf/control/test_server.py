"""Nobody at the control socket can hold up or break anybody else. Real sockets, one gevent loop."""

from __future__ import annotations

import os
import socket as plain_socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import structlog
from gevent import socket
from gevent.event import Event

from supervisor_conf.control import server as control
from supervisor_conf.control.codec import Decoder, encode
from supervisor_conf.control.messages import AppRoutes, Hello, Need, NewAccessLog, Order, Progress, Refused
from supervisor_conf.control.server import ControlServer, Peer

LIMIT = 20.0


class House:
    """A roster that admits what it is told to, and keeps what it hears."""

    def __init__(self) -> None:
        self.workers: set[int] = set()
        self.workers_user = os.geteuid()
        self.takes_orders = True
        self.peers: list[Peer] = []
        self.said: list[Any] = []
        self.changed = Event()

    def is_worker(self, pid: int, uid: int) -> bool:
        return pid in self.workers and uid == self.workers_user

    def may_order(self, uid: int) -> bool:
        return self.takes_orders and uid == os.geteuid()

    def welcome(self, peer: Peer) -> None:
        self.peers.append(peer)
        self.changed.set()

    def heard(self, peer: Peer, message: Any) -> None:
        self.said.append(message)
        self.changed.set()

    def gone(self, peer: Peer) -> None:
        self.peers.remove(peer)
        self.changed.set()

    def wait(self, fact: Callable[[], bool]) -> None:
        with gevent.Timeout(LIMIT):
            while not fact():
                self.changed.clear()
                self.changed.wait()


class Client:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(plain_socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(str(path))

    def say(self, *messages: object) -> None:
        self.socket.sendall(b"".join(map(encode, messages)))

    def read_to_the_end(self) -> list[Any]:
        decoder, read = Decoder(), []
        while data := self.socket.recv(65536):
            read += decoder.feed(data)
        return read


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portico-control-") as folder:
        yield Path(folder) / "control.sock"


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def server(path: Path, house: House) -> Iterator[ControlServer]:
    server = ControlServer(path, house, structlog.get_logger())
    server.start()
    yield server
    server.close()


@pytest.fixture
def connect(path: Path, server: ControlServer) -> Iterator[Callable[[], Client]]:
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(path))
        return clients[-1]

    yield make
    for client in clients:
        client.socket.close()


Connect = Callable[[], Client]


def test_an_ordinary_user_s_socket_is_private(path: Path, server: ControlServer) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["control.sock"]


def test_with_a_group_the_socket_is_open_to_it(path: Path, house: House) -> None:
    group = 12345 if os.geteuid() == 0 else os.getegid()
    server = ControlServer(path, house, structlog.get_logger(), group=group)
    server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.stat().st_gid == group
    server.close()


def test_what_an_ended_keeper_left_is_replaced_and_the_own_one_removed(path: Path, house: House) -> None:
    with socket.socket(plain_socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = ControlServer(path, house, structlog.get_logger())
    server.start()
    Client(path).socket.close()
    server.close()
    assert not path.exists()


def test_a_successor_s_socket_is_left_alone(path: Path, house: House, server: ControlServer) -> None:
    successor = ControlServer(path, house, structlog.get_logger())
    successor.start()
    server.close()
    Client(path).socket.close()
    successor.close()
    assert not path.exists()


def test_a_worker_is_known_by_its_pid(house: House, connect: Connect) -> None:
    house.workers.add(os.getpid())
    client = connect()
    client.say(Hello("worker", "portico-front:0"), Need("shop"))
    house.wait(lambda: house.said == [Need("shop")])
    (peer,) = house.peers
    assert (peer.pid, peer.uid, peer.role, peer.name) == (
        os.getpid(),
        os.geteuid(),
        "worker",
        "portico-front:0",
    )
    client.socket.close()
    house.wait(lambda: not house.peers)


def test_a_worker_that_is_confirmed_in_time_is_let_in(
    house: House, server: ControlServer, connect: Connect
) -> None:
    client = connect()
    client.say(Hello("worker"), Need("shop"))
    gevent.sleep(0)
    house.workers.add(os.getpid())
    server.worker_confirmed()
    house.wait(lambda: house.said == [Need("shop")])


def test_a_worker_that_is_never_confirmed_is_refused(
    house: House, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONFIRMATION_LIMIT", 0.01)
    client = connect()
    client.say(Hello("worker"), Need("shop"))
    (refused,) = client.read_to_the_end()
    assert "is not a worker" in refused.sentence
    assert house.said == []


def test_another_users_process_with_a_workers_number_is_refused(
    house: House, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONFIRMATION_LIMIT", 0.01)
    house.workers.add(os.getpid())
    house.workers_user = os.geteuid() + 1
    client = connect()
    client.say(Hello("worker"), Need("shop"))
    (refused,) = client.read_to_the_end()
    assert "is not a worker" in refused.sentence
    assert house.said == []


@pytest.mark.parametrize(
    ("first", "sentence"),
    [(Order("status"), "Hello first"), (Hello("king"), "no role 'king'"), (Hello("operator"), "root")],
)
def test_who_does_not_introduce_himself_well_is_refused(
    house: House, connect: Connect, first: object, sentence: str
) -> None:
    house.takes_orders = False
    client = connect()
    client.say(first)
    (refused,) = client.read_to_the_end()
    assert isinstance(refused, Refused)
    assert sentence in refused.sentence
    assert house.peers == house.said == []


def test_who_says_nothing_is_refused(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HELLO_LIMIT", 0.01)
    (refused,) = connect().read_to_the_end()
    assert refused == Refused("Say Hello first.")


def test_a_peer_that_does_not_read_is_dropped_and_nobody_else_waits(house: House, connect: Connect) -> None:
    deaf, other = connect(), connect()
    for client in (deaf, other):
        client.say(Hello("operator"))
    house.wait(lambda: len(house.peers) == 2)
    first, second = house.peers
    text = "x" * 50_000
    while not first.closing:
        first.send(Progress(text))
    first.send(Progress("never said"))
    second.send(Progress("hello"))
    second.close()
    assert other.read_to_the_end() == [Progress("hello")]
    assert Progress("never said") not in deaf.read_to_the_end()
    house.wait(lambda: not house.peers)


def test_garbage_after_hello_ends_this_peer_alone(house: House, connect: Connect) -> None:
    noisy, other = connect(), connect()
    for client in (noisy, other):
        client.say(Hello("operator"))
    house.wait(lambda: len(house.peers) == 2)
    noisy.socket.sendall(b"\xff" * 100)
    (refused,) = noisy.read_to_the_end()
    assert "longer than the limit" in refused.sentence
    house.wait(lambda: len(house.peers) == 1)
    other.say(Order("status"))
    house.wait(lambda: house.said == [Order("status")])


def test_routes_are_not_said_twice_and_never_to_an_operator(house: House, connect: Connect) -> None:
    house.workers.add(os.getpid())
    worker, operator = connect(), connect()
    worker.say(Hello("worker"))
    operator.say(Hello("operator"))
    house.wait(lambda: len(house.peers) == 2)
    peers = {peer.role: peer for peer in house.peers}
    for _ in range(2):
        peers["worker"].send_routes(AppRoutes("shop", "STOPPED"))
    peers["worker"].close()
    assert worker.read_to_the_end() == [AppRoutes("shop", "STOPPED")]
    with pytest.raises(AssertionError):
        peers["operator"].send_routes(AppRoutes("shop", "STOPPED"))


def test_a_descriptor_goes_with_its_message_and_is_closed_here(
    house: House, connect: Connect, tmp_path: Path
) -> None:
    client = connect()
    client.say(Hello("operator"))
    house.wait(lambda: bool(house.peers))
    (peer,) = house.peers
    before = set(os.listdir("/proc/self/fd"))
    peer.send(Progress("x" * 40_000))
    for name in ("first", "second"):
        peer.send(NewAccessLog(), os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT))
    peer.close()
    decoder, read, received = Decoder(), [], []
    while True:
        data, ancillary, _, _ = client.socket.recvmsg(65536, plain_socket.CMSG_SPACE(64))
        for _, _, content in ancillary:
            received.append(int.from_bytes(content[:4], "little"))
        if not data:
            break
        read += decoder.feed(data)
    assert [type(one) for one in read] == [Progress, NewAccessLog, NewAccessLog]
    assert [os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) for fd in received] == ["first", "second"]
    for fd in received:
        os.close(fd)
    house.wait(lambda: not house.peers)
    assert set(os.listdir("/proc/self/fd")) <= before
    peer.send(NewAccessLog(), os.open(tmp_path / "late", os.O_WRONLY | os.O_CREAT))
    assert set(os.listdir("/proc/self/fd")) <= before
