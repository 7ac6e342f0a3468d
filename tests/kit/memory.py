"""Streams on memory: the production code unchanged, on sockets, readiness and time that a test decides.

What is replaced is below `proxy.streams.Stream`: the socket it is given (`MemorySocket`) and the loop that tells
it when to read and write (`MemoryLoop`, with the clock). Greenlets are gevent's own; they run in the order in
which they were woken, so one sequence of steps has one outcome.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable

import gevent
from gevent import get_hub

READ, WRITE = 1, 2
#: Callbacks in one `settle`: far more than any exchange of a few hundred bytes needs, so it means a watcher that
#: fires without end.
SPINNING = 5000
#: Turns of the hub without anybody reading, writing or waiting anew: nothing is on its way any more.
QUIET_TURNS = 4
#: No descriptor of the process: who gives one of ours to the kernel gets EBADF, not somebody else's file.
FIRST_DESCRIPTOR = 1 << 20


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.seconds = now

    def __call__(self) -> float:
        return self.seconds


class Wire:
    """One direction of a connection: what was sent and not yet received."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = False  # FIN
        self.broken = False  # RST, in either direction
        self.deaf = False  # nobody reads at the other end any more


class MemorySocket:
    """What a Stream asks of a socket, and the other end's tool for tests: never blocks, behaves as Linux's TCP."""

    family: int = socket.AF_UNIX

    def __init__(self, loop: MemoryLoop, incoming: Wire, outgoing: Wire) -> None:
        self._loop = loop
        self._incoming = incoming
        self._outgoing = outgoing
        self._reset_on_close = False
        self.closed = False
        self.descriptor = loop.register(self)

    def __repr__(self) -> str:
        return (
            f"<MemorySocket {self.descriptor} in={len(self._incoming.data)} out={len(self._outgoing.data)}>"
        )

    def fileno(self) -> int:
        return -1 if self.closed else self.descriptor

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, level: int, option: int, value: bytes | int) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._reset_on_close = True

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.EPIPE if self._incoming.broken else 0

    def can_read(self) -> bool:
        wire = self._incoming
        return bool(wire.data) or wire.ended or wire.broken

    def can_write(self) -> bool:
        wire = self._outgoing
        return len(wire.data) < wire.capacity or wire.broken or wire.deaf

    def recv(self, size: int) -> bytes:
        assert not self.closed
        wire = self._incoming
        if wire.data:
            taken = bytes(wire.data[:size])
            del wire.data[:size]
            self._loop.moved()
            return taken
        if wire.broken:
            self._loop.moved()
            raise ConnectionResetError(errno.ECONNRESET, "reset by the peer")
        if wire.ended:
            self._loop.moved()
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray | memoryview) -> int:
        assert not self.closed
        wire = self._outgoing
        if wire.broken:
            raise BrokenPipeError("reset by the peer")
        if wire.ended:
            raise BrokenPipeError("shut down")
        if wire.deaf:  # the kernel takes it, the other one answers with RST
            wire.broken = self._incoming.broken = True
            self._loop.moved()
            return len(data)
        room = wire.capacity - len(wire.data)
        if room <= 0:
            raise BlockingIOError
        wire.data += data[:room]
        self._loop.moved()
        return min(room, len(data))

    def sendmsg(self, pieces: Iterable[bytes]) -> int:
        return self.send(b"".join(pieces))

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_WR
        if self._outgoing.broken:
            raise OSError("not connected")
        self._outgoing.ended = True
        self._loop.moved()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._reset_on_close or self._incoming.data:  # RFC 9112 9.6: what nobody read becomes a reset
            self._incoming.broken = self._outgoing.broken = True
        self._outgoing.ended = True
        self._incoming.deaf = True
        self._loop.moved()

    def reset(self) -> None:
        """Close with RST."""
        self._reset_on_close = True
        self.close()

    def recv_all(self) -> bytes:
        """Everything that is here. Raises ConnectionResetError when there is nothing and the peer has reset."""
        return self.recv(1 << 30) if self.can_read() else b""

    def here(self) -> bytes:
        """Everything that is here; b"" also where the peer has ended or reset."""
        return self.recv(1 << 30) if self._incoming.data else b""

    @property
    def ended(self) -> bool:
        """Everything was read, and the peer has sent FIN and no RST."""
        wire = self._incoming
        return wire.ended and not wire.broken and not wire.data

    @property
    def broken(self) -> bool:
        return self._incoming.broken


class Watcher:
    """Level-triggered, as libev's on Linux."""

    def __init__(self, loop: MemoryLoop, sock: MemorySocket, events: int) -> None:
        self._loop = loop
        self._ready = sock.can_read if events == READ else sock.can_write
        self._callback: Callable[[], None] | None = None
        self.fired = 0

    @property
    def is_due(self) -> bool:
        return self._callback is not None and self._ready()

    def start(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop.moved()

    def stop(self) -> None:
        self._callback = None

    def close(self) -> None:
        self._callback = None
        self._loop.forget(self)

    def fire(self) -> None:
        if self._callback is not None and self._ready():
            self.fired += 1
            self._callback()


class Timer:
    """A repeating timer."""

    def __init__(self, loop: MemoryLoop, every: float) -> None:
        self._loop = loop
        self.every = every
        self.next = loop.clock() + every
        self.callback: Callable[[], None] | None = None

    def start(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    def stop(self) -> None:
        self.callback = None

    def close(self) -> None:
        self._loop.timers.remove(self)


class Poller:
    """What select.poll is to real sockets, as far as a Stream uses it."""

    def __init__(self, loop: MemoryLoop) -> None:
        self._loop = loop
        self._sockets: list[MemorySocket] = []

    def register(self, descriptor: int, events: int) -> None:
        self._sockets.append(self._loop.sockets[descriptor - FIRST_DESCRIPTOR])

    def poll(self, timeout: int) -> list[MemorySocket]:
        assert timeout == 0
        return [sock for sock in self._sockets if sock.can_read()]


class MemoryLoop:
    """The part of gevent's loop that streams and deadlines use."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.timers: list[Timer] = []
        self.sockets: list[MemorySocket] = []
        self._watchers: list[Watcher] = []
        self._moves = 0

    # What proxy.streams asks for

    def io(self, descriptor: int, events: int) -> Watcher:
        watcher = Watcher(self, self.sockets[descriptor - FIRST_DESCRIPTOR], events)
        self._watchers.append(watcher)
        return watcher

    def timer(self, after: float, repeat: float, ref: bool = True) -> Timer:
        timer = Timer(self, repeat)
        self.timers.append(timer)
        return timer

    def poller(self) -> Poller:
        return Poller(self)

    # What sockets and watchers tell

    def register(self, sock: MemorySocket) -> int:
        self.sockets.append(sock)
        return FIRST_DESCRIPTOR + len(self.sockets) - 1

    def forget(self, watcher: Watcher) -> None:
        self._watchers.remove(watcher)

    def moved(self) -> None:
        self._moves += 1

    # What tests do

    def pair(self, capacity: int = 1 << 20) -> tuple[MemorySocket, MemorySocket]:
        """A connection: the end for a Stream, and the end for the test. `capacity`: bytes in each direction."""
        up, down = Wire(capacity), Wire(capacity)
        return MemorySocket(self, down, up), MemorySocket(self, up, down)

    def settle(self) -> None:
        """Let everybody run until nobody can go on. Fails when somebody goes on for ever."""
        fired = quiet = 0
        while quiet < QUIET_TURNS:
            before = self._moves
            due = [watcher for watcher in self._watchers if watcher.is_due]
            for watcher in due:
                get_hub().loop.run_callback(watcher.fire)
            gevent.sleep(0)
            fired += len(due)
            assert fired < SPINNING, "a watcher fires without end"
            quiet = 0 if due or self._moves != before else quiet + 1

    def pass_time(self, seconds: float) -> None:
        """Let time pass, every timer in its turn."""
        self.settle()
        until = self.clock.seconds + seconds
        while timer := min(
            (t for t in self.timers if t.callback and t.next <= until), key=lambda t: t.next, default=None
        ):
            self.clock.seconds = max(self.clock.seconds, timer.next)
            timer.next += timer.every
            assert timer.callback is not None
            get_hub().loop.run_callback(timer.callback)
            before = self._moves
            gevent.sleep(0)
            if self._moves != before:
                self.settle()
        self.clock.seconds = until
        self.settle()


class OnMemory:
    """What tests of one stream have in common: `loop` is the subclass's to make, the first watcher is the stream's."""

    loop: MemoryLoop

    @property
    def watcher(self) -> Watcher:
        return self.loop._watchers[0]

    def fired_meanwhile(self) -> int:
        before = self.watcher.fired
        for _ in range(20):
            self.loop.settle()
        return self.watcher.fired - before

    def spawn(self, call: object, *arguments: object, **more: object) -> gevent.Greenlet:  # type: ignore[type-arg]
        greenlet = gevent.spawn(call, *arguments, **more)
        self.loop.settle()
        return greenlet
