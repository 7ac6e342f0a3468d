"""Desks, generations and their idle connections: leases, who waits and in which order, what the keeper is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest
from gevent.event import AsyncResult

from proxy.backend import (
    KEEPER_PATIENCE,
    MAX_IDLE,
    MAX_IDLE_AGE,
    Backend,
    ConnectRefused,
    Generation,
    connect,
)
from proxy.failures import Cause, Failure, Side, Stage
from proxy.streams import Deadlines
from supervisor_conf.control.messages import AppRoutes, Bad, Counters, Drained, GiveUp, Need, Refusal, Route
from tests.kit.memory_front import TOKEN, MemoryFront, memory_front

REFUSAL = Refusal(503, "offline", "Back soon.", retry_after=7)


@pytest.fixture
def front() -> Iterator[MemoryFront]:
    with memory_front() as front:
        yield front


class Asker:
    """A request that wants a lease."""

    def __init__(self, front: MemoryFront) -> None:
        self.front = front
        self.waits: list[AsyncResult[Generation]] = []
        self.greenlet = gevent.spawn(self._run)
        front.settle()

    def _run(self) -> object:
        try:
            return self.front.desk.lease(self.waits.append)
        except Failure as failure:
            return failure

    @property
    def outcome(self) -> object:
        return self.greenlet.get(block=False) if self.greenlet.ready() else None

    @property
    def number(self) -> int:
        assert isinstance(self.outcome, Generation)
        return self.outcome.route.generation

    @property
    def cause(self) -> Cause:
        assert isinstance(self.outcome, Failure)
        return self.outcome.cause


# ------------------------------------------------------------------------------------------------------------
# Leases


def test_a_known_route_is_leased_at_once_and_the_keeper_is_not_asked(front: MemoryFront) -> None:
    front.publish(1)
    assert Asker(front).number == 1
    assert front.told == []


def test_the_least_busy_of_the_healthy_generations_is_taken(front: MemoryFront) -> None:
    front.publish(1, 2, 3)
    assert sorted(Asker(front).number for _ in range(6)) == [1, 1, 2, 2, 3, 3]
    routes = [Route(n, 0, "127.0.0.1", 1, "", TOKEN, healthy=n != 2) for n in (1, 2, 3)]
    front.backend.handle(AppRoutes("shop", "READY", tuple(routes)))
    assert 2 not in [Asker(front).number for _ in range(6)]
    front.backend.handle(AppRoutes("shop", "READY", (routes[1],)))
    assert Asker(front).number == 2  # better an unhealthy one than none


def test_those_that_are_as_busy_take_turns(front: MemoryFront) -> None:
    """ANCM gives requests to its processes by turns, and a new one is warm sooner."""
    front.publish(1, 2, 3)
    taken = []
    for _ in range(6):
        asker = Asker(front)
        taken.append(asker.number)
        assert isinstance(asker.outcome, Generation)
        front.desk.release(asker.outcome)
    assert taken == [1, 2, 3] * 2


def test_one_question_for_all_who_wait_and_they_go_on_in_their_order(front: MemoryFront) -> None:
    order: list[int] = []
    askers = [Asker(front) for _ in range(5)]
    for place, asker in enumerate(askers):
        asker.greenlet.link(lambda _, place=place: order.append(place))
    assert front.told == [Need("shop")]
    front.publish(4)
    front.settle()
    assert [asker.number for asker in askers] == [4] * 5
    assert order == [0, 1, 2, 3, 4]
    assert front.generations[0].in_flight == 5


def test_a_refusal_answers_who_waits_and_who_comes(front: MemoryFront) -> None:
    waiting = Asker(front)
    front.backend.handle(AppRoutes("shop", "OFFLINE", (), REFUSAL))
    front.settle()
    assert waiting.cause is Asker(front).cause is Cause.REFUSED
    front.publish(1)
    assert Asker(front).number == 1


def test_a_refusal_to_a_date_counts_down_and_never_to_zero(front: MemoryFront) -> None:
    refusal = replace(REFUSAL, counts_down=True)
    front.backend.handle(AppRoutes("shop", "FAILED", (), refusal))

    def told() -> int:
        outcome = Asker(front).outcome
        assert isinstance(outcome, Failure)
        assert outcome.refusal is not None
        return outcome.refusal.retry_after

    assert told() == 7
    front.loop.clock.seconds += 3.5
    assert told() == 4
    front.loop.clock.seconds += 60
    assert told() == 1
    front.backend.handle(AppRoutes("shop", "FAILED", (), REFUSAL))
    front.loop.clock.seconds += 60
    assert told() == 7


def test_a_process_of_another_path_is_never_used(front: MemoryFront) -> None:
    """The app moves: this worker has the new path, and what runs still has the old one."""
    elsewhere = Route(3, 0, "127.0.0.1", 1, "", TOKEN, path="/old")
    front.backend.handle(AppRoutes("shop", "READY", (elsewhere,), serial=9))
    assert front.told == [Drained("shop", 3, 9)]
    asker = Asker(front)
    assert front.told[1:] == [Need("shop")]
    front.backend.handle(AppRoutes("shop", "READY", (elsewhere,), serial=10))
    front.settle()
    assert asker.outcome is None
    front.publish(4)
    front.settle()
    assert asker.number == 4


def test_who_waits_for_a_path_that_the_app_has_left_is_told(front: MemoryFront) -> None:
    front.publish(1)
    moved = Route(2, 0, "127.0.0.1", 1, "", TOKEN, path="/new")
    stays = Route(1, 0, "127.0.0.1", 1, "", TOKEN)
    front.backend.handle(AppRoutes("shop", "READY", (stays,), path="/new"))
    assert Asker(front).number == 1
    front.backend.handle(AppRoutes("shop", "STARTING", (), path="/new"))
    asker = Asker(front)
    front.backend.handle(AppRoutes("shop", "READY", (moved,), path="/new"))
    front.settle()
    assert asker.cause is Cause.REFUSED


def test_giving_up_answers_who_waits_and_later_ones_ask_again(front: MemoryFront) -> None:
    waiting = Asker(front)
    front.backend.handle(GiveUp("shop", REFUSAL))
    front.settle()
    assert waiting.cause is Cause.REFUSED
    assert Asker(front).outcome is None
    assert front.told == [Need("shop"), Need("shop")]


def test_the_queue_has_an_end(front: MemoryFront) -> None:
    front.backend.handle(AppRoutes("shop", "STOPPED", (), None, queue_share=2))
    askers = [Asker(front) for _ in range(3)]
    assert askers[2].cause is Cause.QUEUE_FULL
    front.publish(1)
    front.settle()
    assert [asker.number for asker in askers[:2]] == [1, 1]


def test_who_leaves_the_queue_is_forgotten(front: MemoryFront) -> None:
    gone, stays = Asker(front), Asker(front)
    gone.waits[0].set_exception(Failure(Cause.CLIENT_GONE, Stage.QUEUE, Side.CLIENT))
    front.settle()
    assert gone.cause is Cause.CLIENT_GONE
    assert len(front.desk._waiting) == 1
    front.publish(1)
    front.settle()
    assert stays.number == 1
    assert front.generations[0].in_flight == 1


def test_a_route_that_goes_while_its_waiter_wakes_is_not_used(front: MemoryFront) -> None:
    waiting = Asker(front)
    front.publish(1)
    front.publish()  # before anybody could run
    front.settle()
    assert waiting.outcome is None
    front.publish(2)
    front.settle()
    assert waiting.number == 2


def test_a_new_keeper_is_asked_again_and_a_keeper_that_stays_away_ends_the_wait(front: MemoryFront) -> None:
    front.desk.keeper_is_back()
    assert front.told == []
    waiting = Asker(front)
    front.desk.keeper_is_back()
    assert front.told == [Need("shop"), Need("shop")]
    front.desk.keeper_is_away(KEEPER_PATIENCE - 1)
    front.settle()
    assert waiting.outcome is None
    front.desk.keeper_is_away(KEEPER_PATIENCE + 1)
    front.settle()
    assert waiting.cause is Cause.REFUSED


# ------------------------------------------------------------------------------------------------------------
# Going away


def test_a_withdrawn_generation_is_drained_when_its_last_lease_is_given_back(front: MemoryFront) -> None:
    front.publish(1)
    first, second = Asker(front), Asker(front)
    front.publish(2)
    assert front.told == []
    for asker in (first, second):
        assert isinstance(asker.outcome, Generation)
        assert front.told == []
        front.desk.release(asker.outcome)
    assert front.told == [Drained("shop", 1)]
    front.publish()
    assert front.told == [Drained("shop", 1), Drained("shop", 2)]


def test_who_waited_is_spread_over_all_that_are_ready(front: MemoryFront) -> None:
    waiting = [Asker(front) for _ in range(6)]
    front.publish(1, 2, 3)
    front.settle()
    assert sorted(asker.number for asker in waiting) == [1, 1, 2, 2, 3, 3]


def test_a_generation_that_comes_back_with_requests_in_flight_is_drained_once(front: MemoryFront) -> None:
    front.publish(1)
    first = Asker(front)
    front.publish()  # withdrawn, since somebody was refused there
    front.publish(1)  # it was looked at, and is well
    second = Asker(front)
    assert first.outcome is second.outcome
    assert isinstance(first.outcome, Generation)
    front.desk.release(first.outcome)
    assert front.told == []  # the second one is in flight there
    assert front.desk.using == (1,)
    front.publish()
    front.desk.release(first.outcome)
    assert front.told == [Drained("shop", 1)]
    assert front.desk.using == ()


def test_a_full_queue_tells_when_to_come_again(front: MemoryFront) -> None:
    front.backend.handle(AppRoutes("shop", "STOPPED", queue_share=1, retry_after=7))
    Asker(front)
    refused = Asker(front)
    assert refused.cause is Cause.QUEUE_FULL
    assert isinstance(refused.outcome, Failure)
    assert refused.outcome.retry_after == 7


def test_a_bad_generation_is_told_once_and_not_used(front: MemoryFront) -> None:
    front.publish(1, 2)
    asker = Asker(front)
    generation = asker.outcome
    assert isinstance(generation, Generation)
    front.desk.bad(generation, "connection refused")
    front.desk.bad(generation, "connection refused")
    front.desk.release(generation)
    number = generation.route.generation
    assert front.told == [Bad("shop", number, "connection refused"), Drained("shop", number)]
    assert {Asker(front).number for _ in range(4)} == {3 - number}


def counted(counters: Counters | None) -> tuple[int, int, int, int]:
    assert counters is not None
    return counters.requests, counters.failures, counters.in_flight, counters.waiting


def test_counters_are_since_the_last_and_silence_is_told_once(front: MemoryFront) -> None:
    assert front.desk.counters() is None
    front.publish(1)
    asker = Asker(front)
    assert counted(front.desk.counters()) == (1, 0, 1, 0)
    assert isinstance(asker.outcome, Generation)
    front.desk.release(asker.outcome)
    assert counted(front.desk.counters()) == (0, 0, 0, 0)
    assert front.desk.counters() is None


def test_messages_about_apps_we_do_not_have_are_ignored(front: MemoryFront) -> None:
    front.backend.handle(AppRoutes("other", "READY"))
    front.backend.handle(GiveUp("other", REFUSAL))
    front.backend.handle("nonsense")


# ------------------------------------------------------------------------------------------------------------
# Idle connections


def pooled(front: MemoryFront, count: int = 1) -> Generation:
    front.publish(1)
    generation: Generation = front.generations[0]
    for stream in [generation.connect() for _ in range(count)]:
        generation.give_back(stream)
    return generation


def test_the_connection_used_last_is_taken_first(front: MemoryFront) -> None:
    generation = pooled(front, 2)
    first, second = generation.idle(), generation.idle()
    assert first is not None
    assert second is not None
    assert first.fileno() > second.fileno()
    assert generation.idle() is None


def test_an_old_connection_is_closed_not_used(front: MemoryFront) -> None:
    generation = pooled(front)
    front.loop.pass_time(MAX_IDLE_AGE + 1)
    assert generation.idle() is None
    assert front.apps[0].ended


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("what", ["fin", "reset", "bytes"])
def test_a_connection_that_ended_or_spoke_is_not_used_told_or_not(
    front: MemoryFront, what: str, told: bool
) -> None:
    generation = pooled(front)
    app = front.apps[0]
    app.send(b"HTTP/1.1 200 OK\r\n\r\n") if what == "bytes" else app.close() if what == "fin" else app.reset()
    if told:
        front.settle()
        assert repr(generation).endswith("idle=0>")
    assert generation.idle() is None
    assert front.front_ends[0].closed


def test_a_connection_with_bytes_left_over_is_not_kept(front: MemoryFront) -> None:
    front.publish(1)
    generation = front.generations[0]
    stream = generation.connect()
    stream.unread(b"more than the answer")
    generation.give_back(stream)
    assert stream.closed
    assert generation.idle() is None


def test_so_many_are_kept_and_the_oldest_goes(front: MemoryFront) -> None:
    generation = pooled(front, MAX_IDLE + 3)
    assert [app.ended for app in front.apps[:4]] == [True, True, True, False]
    assert len(generation._idle) == MAX_IDLE


def test_nothing_is_kept_for_a_generation_that_goes(front: MemoryFront) -> None:
    generation = pooled(front)
    stream = generation.connect()
    front.publish()
    assert front.apps[0].ended
    generation.give_back(stream)
    assert stream.closed


# ------------------------------------------------------------------------------------------------------------
# Connecting, on real sockets


def connected(route: Route) -> bool:
    deadlines = Deadlines()
    try:
        connect(route, deadlines).close()
        return True
    finally:
        deadlines.close()


def test_connections_go_where_the_route_says(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert connected(Route(1, 0, "127.0.0.1", port, "", TOKEN))
    with pytest.raises(ConnectRefused):
        connected(Route(1, 0, "127.0.0.1", port, "", TOKEN))
    path = str(tmp_path / "socket")
    with pytest.raises(ConnectRefused):
        connected(Route(1, 0, "", 0, path, TOKEN))
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        with pytest.raises(ConnectRefused):
            connected(Route(1, 0, "", 0, path, TOKEN))
        unix.listen()
        assert connected(Route(1, 0, "", 0, path, TOKEN))


def test_a_full_backlog_of_a_unix_socket_is_waited_out(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen(0)
        waiting = []
        while True:
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            waiting.append(one)
            try:
                one.connect(path)
            except BlockingIOError:
                break

        def accept() -> None:
            for _ in waiting:
                unix.accept()[0].close()

        accepting = threading.Timer(0.05, accept)
        accepting.start()
        assert connected(Route(1, 0, "", 0, path, TOKEN))
        accepting.join()
        for one in waiting:
            one.close()


def test_the_keeper_need_not_wait_for_a_worker_that_does_not_know_the_app() -> None:
    told: list[object] = []
    backend = Backend((), lambda message: told.append(message) is None, Deadlines())
    routes = tuple(Route(number, 4711, "127.0.0.1", 1, "", TOKEN) for number in (7, 8))
    backend.handle(AppRoutes("shop", "ready", routes, serial=3))
    assert told == [Drained("shop", 7, 3), Drained("shop", 8, 3)]
    backend.handle(GiveUp("shop", REFUSAL))
    assert backend.using() == ()
