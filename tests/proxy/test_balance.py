"""A burst of connections is shared by the workers, and nobody waits for a worker that does not take any."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.balance import SILENCE, SLACK, SLACK_SHARE, SLOTS, Balance, shared_balance
from proxy.listener import Listener
from tests.kit.memory import Clock


def memory() -> memoryview:
    return memoryview(bytearray(SLOTS * 2 * 8)).cast("q")


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=8))
def test_who_has_fewest_never_waits_and_who_has_many_more_does(counts: list[int]) -> None:
    numbers, clock = memory(), Clock()
    workers = [Balance(numbers, number, clock) for number in range(len(counts))]
    for worker, count in zip(workers, counts, strict=True):
        worker.tell(count)
    for worker, count in zip(workers, counts, strict=True):
        difference = count - min(counts)
        assert worker.is_ahead() is (difference > SLACK + count // SLACK_SHARE)


@given(st.lists(st.integers(0, 3), min_size=40, max_size=400))
def test_whoever_runs_the_shares_stay_even(turns: list[int]) -> None:
    """Those who run accept unless they are ahead; in the end nobody has far more than another who ran as well."""
    numbers, clock = memory(), Clock()
    workers = [Balance(numbers, number, clock) for number in range(4)]
    counts = [0] * 4
    for worker in workers:
        worker.tell(0)
    for number in turns:
        if not workers[number].is_ahead():
            counts[number] += 1
            workers[number].tell(counts[number])
    assert max(counts) - min(counts) <= SLACK + 1 + max(counts) // SLACK_SHARE


def test_who_is_silent_or_has_left_is_not_waited_for() -> None:
    numbers, clock = memory(), Clock()
    own, other = Balance(numbers, 0, clock), Balance(numbers, 1, clock)
    own.tell(100)
    assert not own.is_ahead()  # alone
    other.tell(0)
    assert own.is_ahead()
    clock.seconds += SILENCE + 2
    assert not own.is_ahead()
    other.tell(0)
    assert own.is_ahead()
    other.leave()
    assert not own.is_ahead()


def test_workers_see_each_other_through_the_file(tmp_path: Path) -> None:
    path, clock = str(tmp_path / "balance"), Clock()
    own, other = shared_balance(path, 0, 2, clock), shared_balance(path, 1, 2, clock)
    assert own is not None
    assert other is not None
    own.tell(50)
    other.tell(1)
    assert own.is_ahead()
    assert not other.is_ahead()
    assert (tmp_path / "balance").stat().st_mode & 0o777 == 0o600
    assert shared_balance(path, 0, 1, clock) is None
    assert shared_balance(path, SLOTS, SLOTS + 1, clock) is None


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "balance").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        shared_balance(str(tmp_path / "balance"), 0, 2, Clock())


class Acceptor:
    """One worker's listener, and what it has accepted."""

    def __init__(self, sock: socket.socket, balance: Balance) -> None:
        self.balance = balance
        self.accepted: list[socket.socket] = []
        balance.tell(0)
        self._listener = Listener(sock, self._take, balance.is_ahead)

    def _take(self, sock: socket.socket, address: Any) -> None:
        self.accepted.append(sock)
        self.balance.tell(len(self.accepted))

    def close(self) -> None:
        self._listener.close()
        for sock in self.accepted:
            sock.close()


def test_a_worker_that_hangs_costs_a_moment_and_no_connection() -> None:
    numbers, clock = memory(), Clock()
    Balance(numbers, 1, clock).tell(0)  # it lives, and accepts nothing
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        address = sock.getsockname()
        sock.setblocking(False)
        acceptor = Acceptor(sock, Balance(numbers, 0, clock))
        clients = [socket.create_connection(address) for _ in range(20)]
        with gevent.Timeout(20):
            while len(acceptor.accepted) < len(clients):
                gevent.sleep(0)
        for client in clients:
            client.close()
        acceptor.close()


def test_two_workers_share_a_burst() -> None:
    numbers, clock = memory(), Clock()
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        address = sock.getsockname()
        sock.setblocking(False)
        clients = [socket.create_connection(address) for _ in range(40)]
        acceptors = [Acceptor(sock.dup(), Balance(numbers, number, clock)) for number in range(2)]
        with gevent.Timeout(20):
            while sum(len(one.accepted) for one in acceptors) < len(clients):
                gevent.sleep(0)
        shares = [len(one.accepted) for one in acceptors]
        for client in clients:
            client.close()
        for one in acceptors:
            one.close()
    assert min(shares) >= len(clients) // 4
