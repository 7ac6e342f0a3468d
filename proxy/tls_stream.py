"""A stream over TLS: the interface of `Stream`, with OpenSSL between the socket and whoever reads and writes.

OpenSSL works in memory (`ssl.MemoryBIO`) and never sees the socket. What arrives is read in large pieces and decrypted
at once, down to the last whole record, so that nothing is left over of which the watcher could not tell; what is sent
goes out in one call however many records it is. So the watchers, deadlines and the bounded reading ahead of `Stream`
are the same, and an idle connection has no greenlet here either. The handshake has none at all.

Two things are not as with TCP (RFC 8446 6.1):

* an end without close_notify is an error, since anybody on the way can make one;
* `close` and `abort` say no close_notify, so that half an answer never looks whole; `end`, and the end of a rest, do.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable

from proxy.streams import READ_SIZE, Deadlines, Stream, StreamClosed, TimedOut
from supervisor_conf.certificates import ServerContext

#: Encrypted at a time: what a peer who does not read makes us hold.
PIECE = 65536
#: Read at least, so that little room in the read-ahead does not mean a call for each part of a record (16 KiB).
LEAST_READ = 16384
#: How long the peer may leave our last words unread.
GOODBYE = 5.0

_WRITE = 2

#: The first byte of every handshake (RFC 8446 5.1, content type 22).
HANDSHAKE = 0x16


class Truncated(ConnectionError):
    """The connection ended without close_notify."""


class NotTls(Exception):
    """What came is no handshake: plain HTTP, probably. `first`: what was read of it."""

    def __init__(self, first: bytes) -> None:
        super().__init__("no TLS")
        self.first = first


class TlsStream(Stream):
    """The server's end of one connection. `shake` comes first, and nothing else before it is done."""

    __slots__ = (
        "_begun",
        "_broken",
        "_from_peer",
        "_notified",
        "_said",
        "_shaken",
        "_tls",
        "_to_peer",
        "_unsent",
    )

    splices = False

    def __init__(self, sock: socket.socket, deadlines: Deadlines, context: ssl.SSLContext) -> None:
        self._from_peer = ssl.MemoryBIO()
        self._to_peer = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._from_peer, self._to_peer, server_side=True)
        self._unsent = b""  # encrypted already: it goes before anything else
        self._begun = False  # the first bytes have come
        self._notified = False  # the peer has said close_notify
        self._said = False  # we have
        self._broken: OSError | None = None
        self._shaken: Callable[[Exception | None], None] | None = None
        super().__init__(sock, deadlines)
        self._recv = self._receive

    # ----------------------------------------------------------------------------------------------------------
    # The handshake

    def shake(self, timeout: float, shaken: Callable[[Exception | None], None], first: bytes = b"") -> None:
        """Wait without a greenlet for a handshake of at most `timeout` seconds, then call `shaken`, once.

        It gets None, or what went wrong: NotTls, TimedOut, an OSError (ssl.SSLError is one); the stream is then for
        the caller to close. `first`: bytes that were read of it already.
        """
        self._shaken = shaken
        self.hurry(timeout)
        if first:
            self._feed(first)

    def hurry(self, timeout: float) -> None:
        """From now on the handshake may take so long."""
        self.when_expired = lambda: self._end_shaking(TimedOut())
        self._read_deadline = self.now() + timeout
        self._deadlines.watch(self, self._read_deadline)

    @property
    def certificate(self) -> bytes:
        """The peer's certificate in DER, verified; b"" if it has shown none."""
        return self._tls.getpeercert(binary_form=True) or b""

    @property
    def certificate_facts(self) -> dict[str, object]:
        """The same as `ssl.SSLSocket.getpeercert` decodes it."""
        return dict(self._tls.getpeercert() or {})

    @property
    def end_point(self) -> bytes:
        """Of the certificate that was shown."""
        context = self._tls.context
        return context.end_point if isinstance(context, ServerContext) else b""

    def release(self) -> None:
        super().release()
        # What holds us, and OpenSSL's memory with us, until cycles are looked for
        self._recv = self._sock.recv
        if self._broken is not None:
            self._broken.__traceback__ = None

    def surrender(self) -> socket.socket:
        """The socket itself, for another stream; this one is over."""
        self.release()
        return self._sock

    def _shake(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end_shaking(error)
            return
        if data:
            self._feed(data)
        else:
            self._end_shaking(Truncated("the peer went away in the handshake"))

    def _feed(self, data: bytes) -> None:
        if not self._begun and data[0] != HANDSHAKE and data[:1].isalpha():
            self._end_shaking(NotTls(data))
            return
        self._begun = True
        self._from_peer.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # OpenSSL's alert tells the peer
            self._end_shaking(error)
        else:
            self._flush()
            self._ahead = self._decrypted()  # a request may have come with the last flight
            if self._notified or self._broken is not None:
                self._hub.loop.run_callback(self._look_again)
            self._end_shaking(None)

    def _end_shaking(self, problem: Exception | None) -> None:
        shaken, self._shaken = self._shaken, None
        assert shaken is not None, "a handshake ends once"
        self.rouse()
        shaken(problem)
        if problem is None and self._ahead and self.when_readable is not None:
            self.when_readable()

    # ----------------------------------------------------------------------------------------------------------
    # Reading

    def _read_ahead(self) -> None:
        if self._shaken is not None:
            self._shake()
        else:
            super()._read_ahead()

    def _park_reader(self, timeout: float | None) -> None:
        """What OpenSSL has told already is not told by the socket again."""
        if not self._notified and self._broken is None:
            super()._park_reader(timeout)

    def _receive(self, limit: int) -> bytes:
        """In place of `socket.recv`: some bytes, b"" at close_notify; BlockingIOError if there is no whole record."""
        if self._broken is not None:
            raise self._broken
        if self._notified:
            return b""
        data = self._sock.recv(max(limit, LEAST_READ))
        if not data:
            raise Truncated("the peer has ended without close_notify")
        self._from_peer.write(data)
        plain = self._decrypted()
        if plain:
            if self._notified or self._broken is not None:
                self._hub.loop.run_callback(self._look_again)
            return plain
        if self._broken is not None:
            raise self._broken
        if self._notified:
            return b""
        raise BlockingIOError

    def _decrypted(self) -> bytes:
        """All whole records that are here. OpenSSL's own words to the peer go out with them."""
        pieces: list[bytes] = []
        read, pending, waiting = self._tls.read, self._tls.pending, self._from_peer
        try:
            while waiting.pending or pending():
                piece = read(READ_SIZE)
                if not piece:
                    self._notified = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass  # part of a record: the rest is on its way
        except ssl.SSLZeroReturnError:
            self._notified = True
        except ssl.SSLError as error:
            self._broken = error
        if self._to_peer.pending:
            self._flush()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _look_again(self) -> None:
        """For an end that came together with bytes."""
        if not self.closed:
            self._readable()

    def recv_into_pipe(self, pipe: int, limit: int, timeout: float | None) -> int:
        raise AssertionError("the kernel cannot decrypt")

    # ----------------------------------------------------------------------------------------------------------
    # Writing

    def send(self, data: bytes | bytearray | memoryview, timeout: float | None) -> None:
        """As `Stream.send`; `sent` counts what has been encrypted, which is sent before anything else."""
        if self.closed:
            raise StreamClosed("the stream is closed")
        if self._unsent:
            self._push(timeout)
        write = self._tls.write
        if len(data) <= PIECE:
            self.sent += write(data) if data else 0
            self._push(timeout)
            return
        view = memoryview(data)
        while view:
            count = write(view[:PIECE])
            self.sent += count
            view = view[count:]
            self._push(timeout)

    def send_both(self, first: bytes, second: bytes | memoryview, timeout: float | None) -> None:
        self.send(first + second, timeout)

    def send_file(self, file: int, offset: int, count: int, timeout: float | None) -> None:
        """As `Stream.send_file`, through this process."""
        while count:
            data = os.pread(file, min(count, PIECE), offset)
            if not data:
                raise EOFError("the file has become shorter")
            self.send(data, timeout)
            offset, count = offset + len(data), count - len(data)

    def send_from_pipe(self, pipe: int, held: int, timeout: float | None) -> int:
        raise AssertionError("the kernel cannot encrypt")

    def _push(self, timeout: float | None) -> None:
        """All that is encrypted goes to the kernel. Raises as `send`."""
        while True:
            data = self._unsent + self._to_peer.read() if self._unsent else self._to_peer.read()
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._unsent = b""
                raise
            if sent == len(data):
                self._unsent = b""
                return
            self._unsent = data[sent:]
            self._park_writer(timeout)

    def _park_writer(self, timeout: float | None) -> None:
        if self._write_watcher is not None:
            self._write_watcher.stop()  # `_flush` may have started it
        super()._park_writer(timeout)

    def _flush(self) -> None:
        """The same for who cannot wait: what does not fit goes when there is room."""
        data = self._unsent + self._to_peer.read()
        if not data or self.closed:
            return
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            sent = len(data)  # it is gone: the next read tells
        self._unsent = data[sent:]
        if self._unsent and self._writer is None:
            if self._write_watcher is None:
                self._write_watcher = self._deadlines.loop.io(self._sock.fileno(), _WRITE)
            self._write_watcher.start(self._flush_on)

    def _flush_on(self) -> None:
        self._flush()
        if not self._unsent and self._write_watcher is not None:
            self._write_watcher.stop()

    # ----------------------------------------------------------------------------------------------------------
    # The end

    def _say_goodbye(self) -> None:
        """close_notify, encrypted and ready to be sent."""
        if self._said:
            return
        self._said = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's own close_notify is not there yet, or there never was a handshake

    def end(self) -> None:
        """close_notify, then FIN. Waits for the peer to take it. Raises TimedOut, StreamClosed, OSError."""
        if not self.closed:
            self._say_goodbye()
            self._push(GOODBYE)
            super().end()

    def expire(self, now: float) -> None:
        if self._read_deadline <= now and self._reader is None and self._shaken is None:
            # A rest is over, between two requests: this is no half answer.
            self._say_goodbye()
            self._flush()
        super().expire(now)
