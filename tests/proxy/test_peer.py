"""Heads taken from a stream: how they begin, how they end, how long they may take."""

from __future__ import annotations

import gevent
import pytest

from proxy.peer import HeadTooLong, read_head, read_request_head
from proxy.streams import Deadlines, Stream, TimedOut
from proxy.strict import Limits, Malformed
from tests.kit.memory import MemoryLoop, MemorySocket

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = Limits(max_head=500, max_target=100)


class Peer:
    def __init__(self) -> None:
        self.loop = MemoryLoop()
        ours, self.far = self.loop.pair()
        self.stream = Stream(ours, Deadlines(1.0, self.loop.clock, self.loop))  # type: ignore[arg-type]

    def read(self, *pieces: bytes, response: bool = False, seconds: float = 0) -> bytes:
        """What is read when these pieces come one after the other, `seconds` apart, and then the end."""
        reader = gevent.spawn(read_head if response else read_request_head, self.stream, LIMITS, 30.0)
        for piece in pieces:
            if not self.far.broken:
                self.far.send(piece)
            self.loop.pass_time(seconds)
        if not self.far.broken and not reader.ready():
            self.far.shutdown(1)
        self.loop.settle()
        return bytes(reader.get(block=False))


@pytest.fixture
def peer() -> Peer:
    gevent.get_hub().exception_stream = None
    return Peer()


def each(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def test_a_head_ends_at_its_empty_line_and_the_rest_stays(peer: Peer) -> None:
    assert peer.read(HEAD + b"rest") == HEAD
    assert peer.stream.ahead() == b"rest"


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\r\n\r\n\r\n"])
@pytest.mark.parametrize("split", [lambda data: [data], each])
def test_empty_lines_before_a_request_count_for_nothing(peer: Peer, before: bytes, split: object) -> None:
    assert peer.read(*split(before + HEAD)) == HEAD  # type: ignore[operator]


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"\r\n\n",
        b"\r\r",
        b" GET",
        b"\r\n GET",
        b"GET / HTTP/1.1\nH",
        b"GET / HTTP/1.1\r\nHost: a\rx",
        b"\x16\x03",
    ],
)
@pytest.mark.parametrize("split", [lambda data: [data], each])
def test_what_cannot_become_a_request_is_refused_before_its_end(
    peer: Peer, data: bytes, split: object
) -> None:
    with pytest.raises(Malformed) as refused:
        peer.read(*split(data))  # type: ignore[operator]
    assert refused.value.status == 400


def test_an_empty_line_before_a_response_is_none_of_its_own(peer: Peer) -> None:
    with pytest.raises(Malformed):
        peer.read(b"\r\nHTTP/1.1 200 OK\r\n\r\n", response=True)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 500, 431),
        (b"GET /" + b"y" * 499, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 500 + b"\r\n\r\n", 431),
    ],
)
@pytest.mark.parametrize("split", [lambda data: [data], each])
def test_a_head_without_end_is_bounded(peer: Peer, data: bytes, status: int, split: object) -> None:
    with pytest.raises(Malformed) as refused:
        peer.read(*split(data))  # type: ignore[operator]
    assert refused.value.status == status


def test_a_response_head_without_end_is_bounded(peer: Peer) -> None:
    with pytest.raises(HeadTooLong):
        peer.read(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500, response=True)


def test_the_time_is_for_the_whole_head_not_for_a_silence(peer: Peer) -> None:
    with pytest.raises(TimedOut):
        peer.read(*each(HEAD[:8]), seconds=5)


def test_a_slow_head_within_its_time_is_read(peer: Peer) -> None:
    assert peer.read(HEAD[:5], HEAD[5:], seconds=20) == HEAD


def test_an_end_before_the_first_byte_is_no_error(peer: Peer) -> None:
    assert peer.read() == b""


@pytest.mark.parametrize("data", [b"G", HEAD[:-1], b"\r"])
def test_an_end_in_the_middle_is_one(peer: Peer, data: bytes) -> None:
    with pytest.raises(EOFError):
        peer.read(data)


def test_a_reset_is_told_as_it_is(peer: Peer) -> None:
    def break_off(far: MemorySocket) -> None:
        far.reset()

    reader = gevent.spawn(read_request_head, peer.stream, LIMITS, 30.0)
    peer.loop.settle()
    break_off(peer.far)
    peer.loop.settle()
    with pytest.raises(ConnectionResetError):
        reader.get(block=False)
