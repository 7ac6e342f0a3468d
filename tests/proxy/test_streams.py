"""Streams on memory sockets: reading ahead, waiting, deadlines, ends; what is counted is callbacks, never time."""

from __future__ import annotations

import os
import socket

import gevent
import pytest

from proxy.streams import READ_AHEAD_LIMIT, TURNS, Deadlines, Stream, StreamClosed, TimedOut
from tests.kit.memory import MemoryLoop, MemorySocket, OnMemory


class End(OnMemory):
    def __init__(self, capacity: int = 1 << 20, tick: float = 1.0) -> None:
        gevent.get_hub().exception_stream = None
        self.loop = MemoryLoop()
        self.deadlines = Deadlines(tick, self.loop.clock, self.loop, self.loop.poller)
        self.ours, self.far = self.loop.pair(capacity)
        self.stream = Stream(self.ours, self.deadlines)  # type: ignore[arg-type]


@pytest.fixture
def end() -> End:
    return End()


# ------------------------------------------------------------------------------------------------------------
# The watcher


def test_bytes_that_nobody_reads_are_read_ahead_once_and_the_watcher_stops_when_that_is_full(
    end: End,
) -> None:
    end.far.send(b"x" * (READ_AHEAD_LIMIT + 1000))
    end.loop.settle()
    assert len(end.stream.ahead()) == READ_AHEAD_LIMIT
    assert end.ours.can_read()  # the rest stays in the kernel: back-pressure
    assert end.fired_meanwhile() == 0


@pytest.mark.parametrize("how", ["shutdown", "close", "reset"])
def test_an_end_that_nobody_reads_fires_once(end: End, how: str) -> None:
    end.far.shutdown(1) if how == "shutdown" else end.far.close() if how == "close" else end.far.reset()
    end.loop.settle()
    assert end.stream.ended
    assert end.fired_meanwhile() == 0


def test_after_a_stop_reading_goes_on_where_it_was(end: End) -> None:
    sent = bytes(range(256)) * 1000
    end.far.send(sent)
    end.far.shutdown(1)
    end.loop.settle()
    got = b""
    while piece := end.spawn(end.stream.recv, None).get(block=False):
        got += piece
    assert got == sent
    assert end.fired_meanwhile() == 0


def test_a_stream_that_waits_costs_no_callback(end: End) -> None:
    waiting = end.spawn(end.stream.recv, None)
    assert end.fired_meanwhile() == 0
    end.far.send(b"now")
    end.loop.settle()
    assert waiting.get(block=False) == b"now"


def test_a_stalled_writer_costs_no_callback_and_goes_on(end: End) -> None:
    end = End(capacity=10)
    sending = end.spawn(end.stream.send, b"0123456789" * 3, None)
    assert end.stream.sent == 10
    writer = end.loop._watchers[-1]
    before = writer.fired
    end.loop.settle()
    assert writer.fired == before
    got = b""
    while end.far.can_read():
        got += end.far.recv_all()
        end.loop.settle()
    sending.get(block=False)
    assert got == b"0123456789" * 3
    assert end.stream.sent == 30


def test_a_reader_that_finds_bytes_every_time_lets_the_others_run(end: End) -> None:
    others = 0

    def other() -> None:
        nonlocal others
        for _ in range(1000):
            others += 1
            gevent.sleep(0)

    def reader() -> int:
        for _ in range(100):
            end.far.send(b"x")  # always there
            end.stream.recv(None, eager=True)
        return others

    beside = gevent.spawn(other)
    reading = end.spawn(reader)
    assert reading.get(block=False) >= 100 // TURNS
    beside.kill()


def test_who_is_closed_while_the_others_have_their_turn_is_told_so() -> None:
    ours, far = socket.socketpair()
    deadlines = Deadlines()
    stream = Stream(ours, deadlines)
    read_end, write_end = os.pipe()
    far.send(b"x" * 10 * TURNS)

    def splice() -> None:
        for _ in range(TURNS):
            assert stream.recv_into_pipe(write_end, 10, None) == 10

    splicing = gevent.spawn(splice)
    gevent.spawn(stream.close)
    with pytest.raises(StreamClosed):
        splicing.get()
    deadlines.close()
    far.close()
    for descriptor in (read_end, write_end):
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------------------
# Who is told


def test_who_goes_while_nobody_reads_is_told_once_also_when_he_has_gone_before(end: End) -> None:
    told: list[str] = []
    end.stream.watch_gone(lambda: told.append("early"))
    end.far.send(b"last words")
    end.far.close()
    end.loop.settle()
    assert told == ["early"]
    assert end.stream.ahead() == b"last words"
    end.stream.watch_gone(lambda: told.append("late"))
    assert told == ["early", "late"]


def test_a_rest_ends_by_bytes_by_an_end_or_by_time(end: End) -> None:
    told: list[str] = []

    def rest(end: End) -> None:
        end.stream.rest(10, lambda: told.append("bytes"), lambda: told.append("over"))

    rest(end)
    end.far.send(b"x")
    end.loop.settle()
    end.stream.rouse()
    second = End()
    rest(second)
    second.far.close()
    second.loop.settle()
    third = End()
    rest(third)
    third.loop.pass_time(9)
    assert told == ["bytes", "over"]
    third.loop.pass_time(3)
    third.loop.pass_time(30)
    assert told == ["bytes", "over", "over"]


def test_quiet_is_open_and_empty(end: End) -> None:
    assert end.stream.quiet
    end.far.send(b"x")
    assert end.stream.quiet  # the loop has not told of it yet
    assert not end.stream.is_still_quiet()
    end.loop.settle()
    assert not end.stream.is_still_quiet()
    end.stream.recv(0)
    assert end.stream.is_still_quiet()
    end.far.shutdown(1)
    assert not end.stream.is_still_quiet()
    end.stream.close()
    assert not end.stream.is_still_quiet()


def test_unread_comes_first(end: End) -> None:
    end.stream.unread(b"c")
    end.stream.unread(b"ab")
    assert end.stream.recv(0) == b"abc"


# ------------------------------------------------------------------------------------------------------------
# Deadlines


@pytest.mark.parametrize("silence", [0.0, 1.0, 29.0])
def test_reading_times_out_after_silence_and_not_before(end: End, silence: float) -> None:
    reading = end.spawn(end.stream.recv, 30)
    end.loop.pass_time(silence)
    assert not reading.ready()
    end.loop.pass_time(32 - silence)
    with pytest.raises(TimedOut):
        reading.get(block=False)


def test_each_wait_has_a_time_of_its_own(end: End) -> None:
    for _ in range(5):
        reading = end.spawn(end.stream.recv, 30)
        end.loop.pass_time(25)
        end.far.send(b"x")
        end.loop.settle()
        assert reading.get(block=False) == b"x"
    short = end.spawn(end.stream.recv, 3)
    end.loop.pass_time(5)
    with pytest.raises(TimedOut):
        short.get(block=False)
    assert not end.stream.closed


def test_writing_times_out_when_nothing_moves_only() -> None:
    end = End(capacity=10)
    sending = end.spawn(end.stream.send, b"x" * 40, 10)
    for _ in range(3):
        end.loop.pass_time(8)
        end.far.recv_all()
        end.loop.settle()
    assert sending.ready()
    sending.get(block=False)
    again = end.spawn(end.stream.send, b"x" * 40, 10)
    end.loop.pass_time(12)
    with pytest.raises(TimedOut):
        again.get(block=False)


def test_a_clock_that_jumped_wakes_everybody_who_is_late() -> None:
    end = End()
    streams = [Stream(end.loop.pair()[0], end.deadlines) for _ in range(5)]  # type: ignore[arg-type]
    waiting = [end.spawn(stream.recv, 10 * number) for number, stream in enumerate(streams, start=1)]
    end.loop.clock.seconds += 1000
    end.loop.pass_time(2)
    assert all(greenlet.ready() for greenlet in waiting)


# ------------------------------------------------------------------------------------------------------------
# The end


def test_close_wakes_who_reads_and_who_writes() -> None:
    end = End(capacity=10)
    reading, writing = end.spawn(end.stream.recv, None), end.spawn(end.stream.send, b"x" * 20, None)
    end.stream.close()
    end.stream.close()
    end.loop.settle()
    for greenlet in (reading, writing):
        with pytest.raises(StreamClosed):
            greenlet.get(block=False)
    assert end.ours.closed
    assert not end.loop._watchers


def test_end_is_a_fin_and_reading_goes_on(end: End) -> None:
    end.stream.end()
    assert end.far.ended
    end.far.send(b"answer")
    assert end.stream.recv(0, eager=True) == b"answer"


def test_abort_is_a_reset(end: End) -> None:
    end.stream.send(b"half", None)
    end.stream.abort()
    assert end.far.recv_all() == b"half"
    assert end.far.broken
    assert not end.far.ended


def linger(end: End, *, limit: int = 1 << 20) -> gevent.Greenlet:  # type: ignore[type-arg]
    end.stream.send(b"answer", None)
    return end.spawn(end.stream.linger, 2.0, limit)


def test_linger_takes_what_still_comes_so_that_the_answer_is_not_lost(end: End) -> None:
    lingering = linger(end)
    end.far.send(b"more of the request")
    end.loop.settle()
    assert not end.ours.closed
    end.far.shutdown(1)
    end.loop.settle()
    assert lingering.ready()
    assert end.far.recv_all() == b"answer"
    assert end.far.ended


@pytest.mark.parametrize("how", ["time", "bytes"])
def test_linger_has_an_end(end: End, how: str) -> None:
    lingering = linger(end, limit=1000)
    for _ in range(5):
        if not end.far.broken:
            end.far.send(b"x" * (10 if how == "time" else 400))
        end.loop.pass_time(1 if how == "time" else 0)
    assert lingering.ready()
    assert end.ours.closed


def test_a_reset_is_told_to_who_reads_after_the_bytes_before_it(end: End) -> None:
    end.far.send(b"bytes")
    end.loop.settle()
    end.far.reset()
    end.loop.settle()
    assert end.stream.recv(None) == b"bytes"
    with pytest.raises(ConnectionResetError):
        end.stream.recv(None)


def test_the_state_can_be_read_in_its_repr(end: End) -> None:
    end.far.send(b"abc")
    end.loop.settle()
    assert "open ahead=3" in repr(end.stream)
    end.stream.close()
    assert "closed" in repr(end.stream)


def test_memory_sockets_are_what_they_say() -> None:
    loop = MemoryLoop()
    one, two = loop.pair(4)
    assert one.send(b"abcdef") == 4
    with pytest.raises(BlockingIOError):
        one.send(b"ef")
    assert isinstance(two, MemorySocket)
    assert two.recv(3) == b"abc"
    two.close()  # with a byte unread
    with pytest.raises(ConnectionResetError):
        one.recv(1)
    with pytest.raises(BrokenPipeError):
        one.send(b"x")
