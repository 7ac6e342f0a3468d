"""Bodies: once a head has said how its body is framed, these read it and write it, piece by piece, never whole.

Reading: `read()` gives the next piece, b"" at the proper end, and raises Truncated if the sender stops before it;
`at_hand()` gives what has arrived already, without waiting. Writing: `chunk()` and `last_chunk()`.
"""

from __future__ import annotations

from typing import Protocol

from proxy.chunked import ChunkedReader
from proxy.headers import Fields
from proxy.peer import Framing, Request, Response
from proxy.splice import Pipe
from proxy.streams import Stream


class Truncated(Exception):
    """The sender ended in the middle of the body."""


class Body(Protocol):
    """A body being read. `done`: its end has been seen."""

    done: bool
    trailers: Fields

    def read(self, timeout: float | None) -> bytes: ...

    def at_hand(self) -> bytes: ...


class NoBody:
    """Nothing follows the head."""

    done = True
    trailers: Fields = []  # noqa: RUF012  (never written)

    def read(self, timeout: float | None) -> bytes:
        return b""

    def at_hand(self) -> bytes:
        return b""


NO_BODY = NoBody()


class LengthBody:
    """Content-Length bytes (RFC 9112 6.2). What comes after them is the next message's and is put back."""

    __slots__ = ("_left", "_stream", "done", "trailers")

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream = stream
        self._left = length
        self.done = length == 0
        self.trailers: Fields = []

    def read(self, timeout: float | None) -> bytes:
        if self.done:
            return b""
        data = self._stream.recv(timeout, eager=True)
        if not data:
            raise Truncated(f"{self._left} bytes of the body are missing")
        return self._taken(data)

    def _taken(self, data: bytes) -> bytes:
        if len(data) > self._left:
            self._stream.unread(data[self._left :])
            data = data[: self._left]
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def at_hand(self) -> bytes:
        return self._taken(self._stream.take()) if self._left else b""

    @property
    def left(self) -> int:
        """Bytes that have not been read yet."""
        return self._left

    def read_into(self, pipe: Pipe, timeout: float | None) -> int:
        """As `read`, but the bytes stay in the kernel: how many. Nothing may be at hand."""
        moved = pipe.fill(self._stream, self._left, timeout)
        if not moved:
            raise Truncated(f"{self._left} bytes of the body are missing")
        self._left -= moved
        self.done = self._left == 0
        return moved


class ChunkedBody:
    """A chunked body on a stream. `chunks`: what the last `read_chunks` has got, to be sent on."""

    __slots__ = ("_reader", "_stream", "chunks", "done", "trailers")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = ChunkedReader()
        self.chunks = b""
        self.done = False
        self.trailers: Fields = []

    def read(self, timeout: float | None) -> bytes:
        """`timeout` is for a piece with its framing: the framing may not be dribbled."""
        give_up = None if timeout is None else self._stream.now() + timeout
        while not self.done:
            if piece := self._taken(self._some(give_up)):
                return piece
        return b""

    def at_hand(self) -> bytes:
        if self.done or not self._stream.ahead():
            return b""
        return self._taken(self._stream.recv(0))

    def read_chunks(self, timeout: float | None) -> int:
        """As `read`, for who sends on in chunks: how many bytes of body `chunks` hold; the last chunk is in them once
        the body is `done`."""
        self.chunks = b""
        give_up = None if timeout is None else self._stream.now() + timeout
        while not self.done:
            if count := self._passed_on(self._some(give_up)):
                return count
        return 0

    def chunks_at_hand(self) -> int:
        """The same of what is here already."""
        self.chunks = b""
        return self._passed_on(self._stream.recv(0)) if self._stream.ahead() else 0

    def _some(self, give_up: float | None) -> bytes:
        left = None if give_up is None else max(give_up - self._stream.now(), 0)
        data = self._stream.recv(left, eager=True)
        if not data:
            raise Truncated("the last chunk is missing")
        return data

    def _taken(self, data: bytes) -> bytes:
        piece = self._reader.feed(data)
        self._look_for_the_end()
        return piece

    def _passed_on(self, data: bytes) -> int:
        self.chunks, count = self._reader.pass_on(data)
        self._look_for_the_end()
        return count

    def _look_for_the_end(self) -> None:
        if self._reader.done:
            self.done = True
            self.trailers = self._reader.trailers
            if self._reader.rest:
                self._stream.unread(self._reader.rest)


class UntilCloseBody:
    """A response that lasts until the connection ends (RFC 9112 6.3, rule 8)."""

    __slots__ = ("_stream", "done", "trailers")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.done = False
        self.trailers: Fields = []

    def read(self, timeout: float | None) -> bytes:
        if self.done:
            return b""
        data = self._stream.recv(timeout, eager=True)
        self.done = not data
        return data

    def at_hand(self) -> bytes:
        return self._stream.recv(0) if self._stream.ahead() else b""


def body_of(message: Request | Response, stream: Stream) -> Body:
    """The reader for what follows this head on this stream."""
    match message.framing:
        case Framing.NONE:
            return NO_BODY
        case Framing.LENGTH:
            return LengthBody(stream, message.length)
        case Framing.CHUNKED:
            return ChunkedBody(stream)
        case Framing.UNTIL_CLOSE:
            return UntilCloseBody(stream)
