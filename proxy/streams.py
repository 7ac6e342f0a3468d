"""Streams: bytes to and from a non-blocking socket, parked greenlets instead of blocked threads.

One read watcher a socket, started once and left running: its callback switches straight to the greenlet that
waits, so the steady state of small requests costs no start and stop of watchers (half the price of
gevent.socket). The watcher is level-triggered, which has a price: one unread byte or a half-close that nobody
reads would make it fire without end. The rule that keeps us safe:

    when bytes arrive and nobody reads, they are read ahead into a bounded buffer; when that is full, or at the
    end of input, the watcher is stopped, and started again when somebody wants to read.

Reading ahead is also how a peer that goes away while its request is in flight is noticed (`when_gone`), and its
bound is the back-pressure: what does not fit stays in the kernel, and the sender waits.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent import get_hub, getcurrent

if TYPE_CHECKING:
    from proxy.pace import Pace

#: 64 KiB of a body and the head before it.
READ_SIZE = 80 * 1024
#: What a stream holds unread before its peer has to wait: one socket buffer's worth, as nginx's proxy_buffers.
READ_AHEAD_LIMIT = 65536

#: A copy of this many bytes costs more than the longer way of sendmsg(2).
WORTH_GATHERING = 16 * 1024

#: Reads in a row without a look at the other connections: a megabyte's worth.
TURNS = 16

NEVER = float("inf")

_READ, _WRITE = 1, 2
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class StreamClosed(Exception):
    """The stream was closed by us while somebody waited for it, or is used after that: nobody's fault, so no
    OSError."""


class TimedOut(Exception):
    """The peer did nothing for as long as it was given."""


class Deadlines:
    """Wakes streams whose peer has been silent too long.

    Deadlines move with every byte and almost never pass, so none has a timer of its own: a stream lies in the
    bucket of the tick in which it should be looked at, and when that tick comes it is woken or put into a later
    one. Resolution: one tick.

    `now` is the clock (monotonic, seconds), `loop` the event loop and `poller` the way to ask without waiting
    (select.poll) of all streams that are made with it: time and readiness come from nowhere else.
    """

    __slots__ = ("_buckets", "_next", "_timer", "loop", "now", "poller", "tick")

    def __init__(
        self,
        tick: float = 0.1,
        now: Callable[[], float] = monotonic,
        loop: Any | None = None,
        poller: Callable[[], Any] = select.poll,
    ) -> None:
        self.tick = tick
        self.now = now
        self.poller = poller
        self.loop = loop if loop is not None else get_hub().loop
        self._buckets: dict[int, dict[Stream, None]] = {}  # in the order of their coming
        self._next = int(now() / tick)
        self._timer = self.loop.timer(tick, tick, ref=False)
        self._timer.start(self._tick)

    def watch(self, stream: Stream, deadline: float) -> None:
        """Look at `stream` when `deadline` (monotonic) has come, unless it is to be looked at before that."""
        number = int(deadline / self.tick) + 1
        if stream.look_at > number * self.tick:
            self.forget(stream)
            stream.look_at = number * self.tick
            self._buckets.setdefault(number, {})[stream] = None

    def forget(self, stream: Stream) -> None:
        """Do not keep a stream for the sake of its deadline: it may be minutes away, and a thousand a second close."""
        if stream.look_at < NEVER:
            self._buckets.get(round(stream.look_at / self.tick), {}).pop(stream, None)
            stream.look_at = NEVER

    @property
    def watched(self) -> int:
        """How many streams are to be looked at."""
        return sum(map(len, self._buckets.values()))

    def _tick(self) -> None:
        now = self.now()
        current = int(now / self.tick)
        while self._next <= current:
            for stream in self._buckets.pop(self._next, ()):
                if stream.look_at == self._next * self.tick:  # not closed by what another's expiry has woken
                    stream.look_at = NEVER
                    stream.expire(now)
            self._next += 1

    def close(self) -> None:
        self._timer.stop()
        self._timer.close()


class Stream:
    """One connected socket. At most one greenlet reads and one writes at a time.

    `when_gone()` is called, from the event loop, when the peer has ended or broken the connection and nobody was
    reading; `when_readable()` when bytes came and nobody was reading; `when_expired()` when a rest is over. None
    of them may block.
    """

    __slots__ = (
        "_ahead",
        "_deadlines",
        "_ended",
        "_failure",
        "_hub",
        "_poll",
        "_read_deadline",
        "_read_watcher",
        "_reader",
        "_reading",
        "_recv",
        "_send",
        "_sock",
        "_turns",
        "_write_deadline",
        "_write_watcher",
        "_writer",
        "closed",
        "look_at",
        "now",
        "sent",
        "when_expired",
        "when_gone",
        "when_readable",
        "write_pace",
    )

    #: Whether the kernel may move bytes of it by itself (`recv_into_pipe`, `send_from_pipe`).
    splices = True

    def __init__(self, sock: socket.socket, deadlines: Deadlines) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._recv: Callable[[int], bytes] = sock.recv
        self._send = sock.send
        self._hub = get_hub()
        self._deadlines = deadlines
        self.now = deadlines.now
        self._ahead = b""
        self._ended = False
        self.closed = False
        self._failure: OSError | None = None
        self._reader: Any = None
        self._writer: Any = None
        self._reading = False
        self._turns = 0
        self._read_deadline = NEVER
        self._write_deadline = NEVER
        self._read_watcher = deadlines.loop.io(sock.fileno(), _READ)
        self._write_watcher: Any = None
        self._poll: Callable[[int], Any] | None = None
        self.look_at: float = NEVER  # when Deadlines looks at it next
        self.sent = 0  # bytes the kernel took, in all
        self.write_pace: Pace | None = None  # how fast the peer has to take what it is sent
        self.when_gone: Callable[[], None] | None = None
        self.when_readable: Callable[[], None] | None = None
        self.when_expired: Callable[[], None] | None = None
        self._start_reading()

    @property
    def end_point(self) -> bytes:
        """What the connection is known by to whoever binds something else to it (RFC 5929 4); b"": nothing."""
        return b""

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ended" if self._ended else "open"
        return f"<Stream fd={self._sock.fileno()} {state} ahead={len(self._ahead)}>"

    # ----------------------------------------------------------------------------------------------------------
    # What may be asked without waiting

    @property
    def ended(self) -> bool:
        """The peer has sent its last byte, or the connection broke; bytes read ahead may still be there."""
        return self._ended or self._failure is not None

    @property
    def quiet(self) -> bool:
        """Open, with nothing read ahead: fit for a new exchange."""
        return not (self.closed or self._ended or self._ahead or self._failure is not None)

    def is_still_quiet(self) -> bool:
        """`quiet`, asked of the socket itself: bytes or an end may be there that the loop has not told of yet."""
        if self.closed or self._ended or self._ahead or self._failure is not None:
            return False
        if self._poll is None:
            poller = self._deadlines.poller()
            poller.register(self._sock.fileno(), select.POLLIN)
            self._poll = poller.poll
        return not self._poll(0)

    @property
    def is_waited_for(self) -> bool:
        """Somebody waits for bytes."""
        return self._reader is not None

    def watch_gone(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the peer goes away while nobody reads; at once if it has gone already."""
        self.when_gone = callback
        if self._ended or self._failure is not None:
            callback()

    def ahead(self) -> bytes:
        """The bytes that are here already; they stay."""
        return self._ahead

    def take(self) -> bytes:
        """The bytes that are here already, now the caller's."""
        data, self._ahead = self._ahead, b""
        return data

    def fileno(self) -> int:
        return self._sock.fileno()

    # ----------------------------------------------------------------------------------------------------------
    # Reading

    def recv(self, timeout: float | None, *, eager: bool = False) -> bytes:
        """Some bytes, or b"" at the end of input. `timeout` in seconds of silence, None for ever.

        `eager`: try the socket before waiting for the event loop, for a body that is likely to be there.
        Raises TimedOut, StreamClosed, or the socket's OSError.
        """
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        while True:
            if self._ended:
                return b""
            if self._failure is not None:
                raise self._failure
            if self.closed:
                raise StreamClosed("the stream is closed")
            if not eager or self._had_its_turns():
                self._park_reader(timeout)
                if self._ahead or self.closed or self._failure is not None:
                    return self.recv(timeout)
            eager = False
            try:
                data = self._recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                self._failure = error
                self._stop_reading()
                raise
            if not data:
                self._ended = True
                self._stop_reading()
            return data

    def rest(self, timeout: float, when_readable: Callable[[], None], when_over: Callable[[], None]) -> None:
        """Wait without a greenlet: `when_readable()` when bytes come, `when_over()` when the peer is gone or has
        been silent for `timeout` seconds. One of them is called, once."""
        self.when_readable = when_readable
        self.when_gone = self.when_expired = when_over
        self._read_deadline = self.now() + timeout
        self._deadlines.watch(self, self._read_deadline)
        self._start_reading()

    def rouse(self) -> None:
        """End a rest."""
        self.when_readable = self.when_gone = self.when_expired = None
        self._read_deadline = NEVER

    def recv_into_pipe(self, pipe: int, limit: int, timeout: float | None) -> int:
        """Let the kernel move up to `limit` received bytes into `pipe` (splice(2)): how many; 0 at the end.

        Nothing may be read ahead when it is called, and nothing is while the pipe's content is on its way: the
        watcher rests until the next call waits. Raises as `recv`.
        """
        assert not self._ahead, "bytes that were read ahead come first"
        while True:
            if self._ended:
                return 0
            if self._failure is not None:
                raise self._failure
            if self.closed:
                raise StreamClosed("the stream is closed")
            if self._had_its_turns():
                self._park_reader(timeout)
                continue  # it may have been closed meanwhile
            self._stop_reading()
            try:
                moved = os.splice(self._sock.fileno(), pipe, limit)
            except (BlockingIOError, InterruptedError):
                self._park_reader(timeout)
                continue
            except OSError as error:
                self._failure = error
                raise
            if not moved:
                self._ended = True
            return moved

    def resume(self) -> None:
        """Read ahead again, after `recv_into_pipe`: an end is noticed again while nobody reads."""
        if not self.ended:
            self._start_reading()

    def _had_its_turns(self) -> bool:
        """Who finds bytes without waiting, again and again, lets the others of this worker have theirs."""
        self._turns = (self._turns + 1) % TURNS
        return not self._turns

    def error(self) -> int:
        """What the kernel has noted of a broken connection (`errno`), once; 0: nothing (socket(7), SO_ERROR)."""
        return 0 if self.closed else self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def unread(self, data: bytes) -> None:
        """Put back what was read too much; the next `recv` returns it first."""
        self._ahead = data + self._ahead if self._ahead else data

    def _park_reader(self, timeout: float | None) -> None:
        assert self._reader is None, "two greenlets read one stream"
        if timeout is not None:
            self._read_deadline = deadline = self.now() + timeout
            if deadline < self.look_at:
                self._deadlines.watch(self, deadline)
        self._reader = getcurrent()
        if not self._reading:
            self._start_reading()
        try:
            verdict = self._hub.switch()
        finally:
            self._reader = None
            self._read_deadline = NEVER
        if verdict is TimedOut:
            raise TimedOut

    def _start_reading(self) -> None:
        if not (self._reading or self.closed):
            self._reading = True
            self._read_watcher.start(self._readable)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._read_watcher.stop()

    def _readable(self) -> None:
        reader = self._reader
        if reader is not None:
            self._reader = None
            reader.switch()
        else:
            self._read_ahead()

    def _read_ahead(self) -> None:
        room = READ_AHEAD_LIMIT - len(self._ahead)
        if room <= 0:
            self._stop_reading()
            return
        try:
            data = self._recv(room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failure = error
        else:
            if data:
                self._ahead += data
                if self.when_readable is not None:
                    self.when_readable()
                return
            self._ended = True
        self._stop_reading()
        if self.when_gone is not None:
            self.when_gone()

    # ----------------------------------------------------------------------------------------------------------
    # Writing

    def send(self, data: bytes | bytearray | memoryview, timeout: float | None) -> None:
        """All of `data`. `timeout`: seconds without progress. Raises TimedOut, StreamClosed, OSError."""
        if self.closed:
            raise StreamClosed("the stream is closed")
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.sent += sent
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:], timeout)

    def send_both(self, first: bytes, second: bytes | memoryview, timeout: float | None) -> None:
        """As `send(first + second)`, without making one of them where that costs more than it saves."""
        if len(second) < WORTH_GATHERING or self.closed:
            self.send(first + second, timeout)
            return
        try:
            sent = self._sock.sendmsg((first, second))
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.sent += sent
        if sent < len(first):
            self._send_rest(memoryview(first + second)[sent:], timeout)
        elif sent < len(first) + len(second):
            self._send_rest(memoryview(second)[sent - len(first) :], timeout)

    def _send_rest(self, data: memoryview, timeout: float | None) -> None:
        while data:
            self._park_writer(timeout)
            try:
                sent = self._send(data)
            except (BlockingIOError, InterruptedError):
                continue
            self.sent += sent
            data = data[sent:]

    def send_file(self, file: int, offset: int, count: int, timeout: float | None) -> None:
        """Let the kernel send `count` bytes of a regular file (sendfile(2)). Raises as `send`, and EOFError when the
        file has become shorter."""
        while count:
            if self.closed:
                raise StreamClosed("the stream is closed")
            try:
                moved = os.sendfile(self._sock.fileno(), file, offset, count)
            except (BlockingIOError, InterruptedError):
                self._park_writer(timeout)
                continue
            if not moved:
                raise EOFError("the file has become shorter")
            self.sent += moved
            offset, count = offset + moved, count - moved

    def send_from_pipe(self, pipe: int, held: int, timeout: float | None) -> int:
        """Let the kernel move some of the `held` bytes in `pipe` to the peer: how many. Raises as `send`."""
        while True:
            if self.closed:
                raise StreamClosed("the stream is closed")
            try:
                moved = os.splice(pipe, self._sock.fileno(), held)
            except (BlockingIOError, InterruptedError):
                self._park_writer(timeout)
                continue
            self.sent += moved
            return moved

    def _park_writer(self, timeout: float | None) -> None:
        assert self._writer is None, "two greenlets write one stream"
        pace = self.write_pace
        if pace is not None:
            timeout = pace.patience(timeout, self.sent)
        began = self.now()
        if timeout is not None:
            self._write_deadline = began + timeout
            self._deadlines.watch(self, self._write_deadline)
        if self._write_watcher is None:
            self._write_watcher = self._deadlines.loop.io(self._sock.fileno(), _WRITE)
        self._writer = getcurrent()
        self._write_watcher.start(self._writable)
        try:
            verdict = self._hub.switch()
        finally:
            self._writer = None
            self._write_deadline = NEVER
            if self._write_watcher is not None:
                self._write_watcher.stop()
        if pace is not None:
            pace.waited(began)
        if verdict is TimedOut:
            if pace is not None:
                pace.patience(timeout, self.sent)
            raise TimedOut
        if self.closed:
            raise StreamClosed("the stream was closed")

    def _writable(self) -> None:
        writer = self._writer
        if writer is not None:
            self._writer = None
            writer.switch()

    def end(self) -> None:
        """Say that no more bytes come from us (FIN); reading goes on."""
        if not self.closed:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the peer has reset the connection: the next read tells

    # ----------------------------------------------------------------------------------------------------------
    # The end

    def expire(self, now: float) -> None:
        """Called by Deadlines: wake who has waited too long, look again later for who has not."""
        if self._read_deadline <= now:
            if self._reader is not None:
                reader, self._reader = self._reader, None
                reader.switch(TimedOut)
            elif self.when_expired is not None:
                when_expired = self.when_expired
                self.rouse()
                when_expired()
        if self._writer is not None and self._write_deadline <= now:
            writer, self._writer = self._writer, None
            writer.switch(TimedOut)
        later = min(self._read_deadline, self._write_deadline)
        if later < NEVER:
            self._deadlines.watch(self, later)

    def close(self) -> None:
        """Close the socket; who still waits for it gets StreamClosed. Idempotent."""
        if not self.closed:
            self.release()
            self._sock.close()

    def release(self) -> None:
        """The same, and the socket stays open: it is somebody else's now."""
        self.closed = True
        self._deadlines.forget(self)
        self._stop_reading()
        self._read_watcher.close()
        if self._write_watcher is not None:
            self._write_watcher.stop()
            self._write_watcher.close()
            self._write_watcher = None
        self.rouse()
        if self._failure is not None:
            self._failure.__traceback__ = None  # its frames hold us until cycles are looked for
        for parked in (self._reader, self._writer):
            if parked is not None:
                self._hub.loop.run_callback(_wake, self, parked)

    def abort(self) -> None:
        """Break the connection (RST): the peer must not take what it has for the whole."""
        if not self.closed:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass  # already broken
            self.close()

    def linger(self, timeout: float, limit: int = 1 << 20) -> None:
        """Close without hurting what was sent: FIN, then read and forget until the peer ends (RFC 9112 9.6).

        Closing a socket with unread bytes sends RST, and the peer may lose an answer it has not read yet.
        """
        give_up = self.now() + timeout
        try:
            self.end()
            while limit > 0 and (left := give_up - self.now()) > 0:
                data = self.recv(left)
                if not data:
                    break
                limit -= len(data)
        except (TimedOut, StreamClosed, OSError):
            pass  # it had its time
        self.close()


def _wake(stream: Stream, parked: Any) -> None:
    """Resume who was parked on a stream that was closed meanwhile, if it is still parked there."""
    if stream._reader is parked:
        stream._reader = None
        parked.switch()
    elif stream._writer is parked:
        stream._writer = None
        parked.switch()
