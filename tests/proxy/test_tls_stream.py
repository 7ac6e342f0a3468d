"""The encrypted stream on memory sockets: the handshake, what watchers cannot tell, ends that are and ends that are
not, and the wire cut anywhere."""

from __future__ import annotations

import gc
import os
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.streams import READ_AHEAD_LIMIT, Deadlines, TimedOut
from proxy.tls import forgive_names
from proxy.tls_stream import GOODBYE, NotTls, TlsStream, Truncated
from tests.kit.examples import one_in
from tests.kit.memory import MemoryLoop, OnMemory
from tests.kit.memory_tls import TlsMemorySocket, client_context, server_side

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class End(OnMemory):
    """`stream` is ours, `far` the client's end; `outcome` what became of the handshake."""

    def __init__(
        self, version: ssl.TLSVersion | None = None, capacity: int = 1 << 20, *, shake: bool = True
    ) -> None:
        gevent.get_hub().exception_stream = None
        self.loop = MemoryLoop()
        self.deadlines = Deadlines(1.0, self.loop.clock, self.loop)
        ours, self.raw = self.loop.pair(capacity)
        self.stream = TlsStream(ours, self.deadlines, server_side().context)  # type: ignore[arg-type]
        self.outcome: list[Exception | None] = []
        self.then: Callable[[], None] = lambda: None
        self.stream.shake(30, self._shaken)
        self.far = TlsMemorySocket(self.raw, client_context(version))
        if shake:
            self.shake()

    def _shaken(self, problem: Exception | None) -> None:
        self.outcome.append(problem)
        self.then()

    def shake(self) -> None:
        while not self.far.shake():
            self.loop.settle()
        self.loop.settle()
        assert self.outcome == [None]

    def receive_all(self) -> bytes:
        """Until the end; raises what the stream raises."""
        got = b""
        while piece := self.spawn(self.stream.recv, 5).get(block=False):
            got += piece
        return got


@pytest.fixture(params=VERSIONS, ids=str)
def end(request: pytest.FixtureRequest) -> End:
    return End(request.param)


# ------------------------------------------------------------------------------------------------------------
# The handshake


def test_a_handshake_needs_no_greenlet_and_an_idle_connection_no_callback(end: End) -> None:
    assert end.far.tls.selected_alpn_protocol() is None
    assert end.stream.quiet
    assert end.fired_meanwhile() == 0
    assert not end.stream.is_waited_for


def test_a_request_that_comes_with_the_last_flight_is_told_of() -> None:
    """No watcher fires for it any more: the bytes are off the socket."""
    end = End(ssl.TLSVersion.TLSv1_3, shake=False)
    told: list[bytes] = []
    end.then = lambda: end.stream.rest(5, lambda: told.append(end.stream.ahead()), lambda: None)
    end.far.shake()
    end.loop.settle()
    end.far._take()
    end.far.tls.do_handshake()
    end.far.tls.write(b"GET /")
    end.far.flush()
    end.loop.settle()
    assert told == [b"GET /"]


def test_a_slow_handshake_is_given_up(end: End) -> None:
    slow = End(shake=False)
    slow.raw.send(b"\x16\x03\x01")
    slow.loop.pass_time(29)
    assert slow.outcome == []
    slow.loop.pass_time(3)
    assert [type(problem) for problem in slow.outcome] == [TimedOut]


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("how", ["never was a handshake", "ended without close_notify", "closed"])
def test_what_is_over_is_freed_at_once(how: str) -> None:
    """OpenSSL's memory for a connection is large, and unknown to Python's collector: a flood must not gather it."""
    before = {id(one) for one in gc.get_objects() if type(one) is TlsStream}

    def live() -> None:
        end = End(shake=how != "never was a handshake")
        if how == "never was a handshake":
            end.raw.send(b"\x16\x03\x01\0\x10" + b"a" * 16)
            end.loop.settle()
            assert isinstance(end.outcome[0], ssl.SSLError)
        elif how == "ended without close_notify":
            end.raw.close()
            end.spawn(end.stream.linger, 1.0)
        end.stream.close()
        end.loop.settle()

    live()
    assert [one for one in gc.get_objects() if type(one) is TlsStream and id(one) not in before] == []


def test_a_handshake_may_be_hurried() -> None:
    slow = End(shake=False)
    slow.stream.hurry(2)
    slow.loop.pass_time(4)
    assert [type(problem) for problem in slow.outcome] == [TimedOut]


def test_who_goes_in_the_handshake_is_told_once() -> None:
    gone, reset = End(shake=False), End(shake=False)
    gone.raw.close()
    reset.raw.reset()
    for end in (gone, reset):
        end.loop.settle()
        assert len(end.outcome) == 1
        assert isinstance(end.outcome[0], OSError)
        assert end.fired_meanwhile() == 0 or end.stream.closed


def test_plain_http_is_told_apart_and_its_socket_given_back() -> None:
    end = End(shake=False)
    end.raw.send(b"GET / HTTP/1.1\r\n")
    end.loop.settle()
    (problem,) = end.outcome
    assert isinstance(problem, NotTls)
    assert problem.first == b"GET / HTTP/1.1\r\n"
    sock = end.stream.surrender()
    assert end.stream.closed
    sock.send(b"HTTP/1.1 400 Bad Request\r\n")
    assert end.raw.recv_all() == b"HTTP/1.1 400 Bad Request\r\n"


@pytest.mark.parametrize(
    "noise", [b"\x80\x2e\x01\x00\x02" + bytes(60), b"\x16\x03\x01\xff\xff" + bytes(70_000), b"\0" * 10]
)
def test_noise_is_refused_by_openssl(noise: bytes) -> None:
    end = End(shake=False)
    end.raw.send(noise)
    end.loop.settle()
    assert [type(problem) for problem in end.outcome] == [ssl.SSLError]


def test_a_name_that_is_no_name_ends_the_handshake_without_a_word_on_stderr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    forgive_names()
    end = End(shake=False)
    with pytest.raises(ssl.SSLWantReadError):
        end.far.tls.do_handshake()
    hello = end.far._out.read()
    end.raw.send(hello.replace(b"a.example", b"\xff.example"))
    end.loop.settle()
    assert [type(problem) for problem in end.outcome] == [ssl.SSLError]
    assert told == []
    defect = SimpleNamespace(exc_value=UnicodeDecodeError("ascii", b"", 0, 1, "no"), object="something else")
    sys.unraisablehook(defect)  # type: ignore[arg-type]
    assert told == [defect]


def test_an_old_version_is_refused_with_an_alert() -> None:
    end = End(shake=False)
    old = client_context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.options &= ~ssl.OP_NO_TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    far = TlsMemorySocket(end.raw, old)
    far.shake()
    end.loop.settle()
    assert isinstance(end.outcome[0], ssl.SSLError)
    assert end.outcome[0].reason == "UNSUPPORTED_PROTOCOL"
    with pytest.raises(ssl.SSLError, match="alert"):
        far.shake()


def test_a_handshake_larger_than_the_socket_takes_goes_on_when_there_is_room() -> None:
    end = End(capacity=100, shake=False)
    for _ in range(200):
        if end.far.shake():
            break
        end.loop.settle()
    end.loop.settle()
    assert end.outcome == [None]


# ------------------------------------------------------------------------------------------------------------
# Bytes


def test_bytes_go_both_ways(end: End) -> None:
    end.far.send(b"up")
    end.loop.settle()
    assert end.stream.ahead() == b"up"
    end.spawn(end.stream.send, b"down", None).get(block=False)
    assert end.far.recv_all() == b"down"
    assert end.stream.sent == 4


def test_many_records_in_one_segment_are_read_without_another_event(end: End) -> None:
    for number in range(50):
        end.far.tls.write(b"%d," % number)
    waiting = end.spawn(end.stream.recv, None)
    end.far.flush()
    end.loop.settle()
    assert waiting.get(block=False) == b"".join(b"%d," % number for number in range(50))
    assert end.fired_meanwhile() == 0


def test_part_of_a_record_is_nothing_yet(end: End) -> None:
    waiting = end.spawn(end.stream.recv, None)
    end.far.tls.write(b"whole")
    record = end.far._out.read()
    end.raw.send(record[:-1])
    end.loop.settle()
    assert not waiting.ready()
    assert end.fired_meanwhile() == 0
    end.raw.send(record[-1:])
    end.loop.settle()
    assert waiting.get(block=False) == b"whole"


def test_what_nobody_reads_stays_in_the_kernel(end: End) -> None:
    end.far.send(bytes(500_000))
    end.loop.settle()
    assert READ_AHEAD_LIMIT <= len(end.stream.ahead()) <= READ_AHEAD_LIMIT + 20_000
    assert end.raw._outgoing.data
    assert end.fired_meanwhile() == 0
    end.far.shutdown(1)
    assert len(end.receive_all()) == 500_000


def test_a_writer_whose_peer_does_not_read_waits_and_goes_on_or_gives_up() -> None:
    end = End(capacity=10_000)
    sent = bytes(range(256)) * 2000
    sending = end.spawn(end.stream.send, sent, 30)
    assert not sending.ready()
    got = b""
    while len(got) < len(sent):
        got += end.far.recv_all()
        end.loop.settle()
    sending.get(block=False)
    assert got == sent
    stuck = end.spawn(end.stream.send, sent, 5)
    end.loop.pass_time(8)
    with pytest.raises(TimedOut):
        stuck.get(block=False)


def test_a_send_that_timed_out_may_be_taken_up_where_it_was() -> None:
    """As the tunnel does: `sent` says how much is on its way."""
    end = End(capacity=10_000)
    data = bytes(range(256)) * 2000
    got = b""
    rest = data
    for _ in range(100):
        before = end.stream.sent
        sending = end.spawn(end.stream.send, rest, 1)
        end.loop.pass_time(3)
        got += end.far.recv_all()
        try:
            sending.get(block=False)
            break
        except TimedOut:
            rest = rest[end.stream.sent - before :]
    end.loop.settle()
    while more := end.far.here():
        got += more
        end.loop.settle()
    assert got == data


@settings(max_examples=one_in(4))
@given(st.lists(st.binary(max_size=40_000), max_size=6), st.data())
def test_any_bytes_arrive_whole_however_the_wire_cuts_them(pieces: list[bytes], data: st.DataObject) -> None:
    end = End()
    wire = b""
    for piece in pieces:
        end.far.tls.write(piece)
        wire += end.far._out.read()
    got = b""
    while wire:
        cut = data.draw(st.integers(1, len(wire)))
        end.raw.send(wire[:cut])
        wire = wire[cut:]
        end.loop.settle()
        while end.stream.ahead():
            got += end.stream.recv(0)
    end.far.shutdown(1)
    got += end.receive_all()
    assert got == b"".join(pieces)


def test_a_file_is_sent_through_this_process(end: End) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(range(256)) * 1000)
        file.flush()
        sending = end.spawn(end.stream.send_file, file.fileno(), 100, 200_000, None)
        got = b""
        while len(got) < 200_000:
            got += end.far.recv_all()
            end.loop.settle()
        sending.get(block=False)
        assert got == (bytes(range(256)) * 1000)[100:200_100]
        os.ftruncate(file.fileno(), 10)
        with pytest.raises(EOFError):
            end.spawn(end.stream.send_file, file.fileno(), 0, 20, None).get(block=False)


# ------------------------------------------------------------------------------------------------------------
# Ends


def test_an_end_is_close_notify(end: End) -> None:
    end.far.send(b"last words")
    end.far.close_notify()
    end.loop.settle()
    assert end.receive_all() == b"last words"
    assert end.stream.ended
    assert end.fired_meanwhile() == 0


def test_after_the_peers_end_we_may_go_on(end: End) -> None:
    end.far.close_notify()
    end.loop.settle()
    end.spawn(end.stream.send, b"answer", None).get(block=False)
    assert end.far.here() == b"answer"


def test_after_our_end_the_peer_may_go_on() -> None:
    end = End(ssl.TLSVersion.TLSv1_3)
    end.spawn(end.stream.end).get(block=False)
    assert end.far.ended
    assert end.raw.ended
    end.far.send(b"still here")
    end.far.close_notify()
    end.loop.settle()
    assert end.receive_all() == b"still here"


@pytest.mark.parametrize("how", ["shutdown", "close"])
def test_an_end_without_close_notify_is_an_error(end: End, how: str) -> None:
    end.far.send(b"half of it")
    end.loop.settle()
    end.far.here()  # tickets: closing over unread bytes is a reset
    end.raw.shutdown(1) if how == "shutdown" else end.raw.close()
    end.loop.settle()
    with pytest.raises(Truncated):
        end.receive_all()
    assert end.stream.ended
    assert end.fired_meanwhile() == 0


def test_a_record_that_was_tampered_with_ends_the_stream_after_what_was_whole(end: End) -> None:
    end.far.tls.write(b"good")
    good = end.far._out.read()
    end.far.tls.write(b"bad")
    bad = bytearray(end.far._out.read())
    bad[-1] ^= 1
    end.raw.send(good + bytes(bad))
    end.loop.settle()
    assert end.stream.recv(0) == b"good"
    with pytest.raises(ssl.SSLError):
        end.spawn(end.stream.recv, 5).get(block=False)


def test_who_goes_while_nobody_reads_is_told_once_also_with_bytes_before(end: End) -> None:
    told: list[str] = []
    end.stream.watch_gone(lambda: told.append("gone"))
    end.far.tls.write(b"last words")
    end.far.shutdown(1)
    end.loop.settle()
    assert told == ["gone"]
    assert end.stream.ahead() == b"last words"


@pytest.mark.parametrize("size", [10, 70_000])
def test_an_end_that_comes_with_bytes_and_without_a_fin_is_told_and_read(end: End, size: int) -> None:
    """The socket has nothing more to tell; with 70,000 bytes the read-ahead is full as well."""
    told: list[str] = []
    end.stream.watch_gone(lambda: told.append("gone"))
    end.far.tls.write(b"x" * size)
    end.far.close_notify()
    end.loop.settle()
    assert told == (["gone"] if size < READ_AHEAD_LIMIT else [])
    assert end.receive_all() == b"x" * size
    assert end.stream.ended


def test_closing_and_breaking_say_no_close_notify(end: End) -> None:
    """Half an answer must not look whole."""
    end.spawn(end.stream.send, b"half", None).get(block=False)
    end.stream.close()
    assert end.far.recv(4) == b"half"
    assert not end.far.ended
    with pytest.raises(ConnectionError):
        end.far.recv(1)
    broken = End()
    broken.stream.abort()
    assert broken.raw.broken


def test_a_rest_that_is_over_says_close_notify(end: End) -> None:
    end.stream.rest(5, lambda: None, end.stream.close)
    end.loop.pass_time(8)
    assert end.stream.closed
    assert end.far.ended


def test_lingering_says_close_notify_and_waits_for_the_peer(end: End) -> None:
    lingering = end.spawn(end.stream.linger, 10)
    assert end.far.ended
    assert not lingering.ready()
    end.far.shutdown(1)
    end.loop.settle()
    assert lingering.ready()
    assert end.stream.closed


def test_a_peer_that_does_not_take_our_last_words_does_not_hold_us() -> None:
    end = End(capacity=3000)
    stuck = end.spawn(end.stream.send, bytes(5000), 1)
    end.loop.pass_time(3)
    with pytest.raises(TimedOut):
        stuck.get(block=False)
    lingering = end.spawn(end.stream.linger, 10)
    end.loop.pass_time(GOODBYE + 3)
    assert lingering.ready()
    assert end.stream.closed


def test_a_rekeyed_connection_goes_on() -> None:
    """KeyUpdate (RFC 8446 4.6.3) asks for an answer of ours, which goes out by itself or with the next bytes."""
    end = End(ssl.TLSVersion.TLSv1_3)
    for _ in range(3):
        end.far.send(bytes(70_000))
        end.loop.settle()
        assert len(end.stream.recv(0)) > 0
        end.spawn(end.stream.send, b"x", None).get(block=False)
        assert end.far.here() == b"x"
