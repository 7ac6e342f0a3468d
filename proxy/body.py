"""Bodies: once a head has said how its body is framed, these read it and write it, piece by piece, never whole.

Reading: `read()` gives the next piece, b"" at the proper end, and raises Truncated if the sender stops before it;
`at_hand()` gives what has arrived already, without waiting. Writing: `chunk()` and `last_chunk()`.
"""

from __future__ import annotations

from typing import Protocol

import h11

from proxy.headers import Fields, trailer_fields
from proxy.peer import Framing, Request, Response
from proxy.streams import Stream
from proxy.strict import Malformed


class Truncated(Exception):
    """The sender ended in the middle of the body."""


class BodyTooLarge(Exception):
    """More bytes than `max_request_body` allows."""


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
        if len(data) > self._left:
            self._stream.unread(data[self._left :])
            data = data[: self._left]
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def at_hand(self) -> bytes:
        return self.read(0) if self._stream.ahead() else b""


class ChunkedBody:
    """The chunked coding (RFC 9112 7.1), read by h11: extensions are dropped, trailers kept."""

    __slots__ = ("_judge", "_stream", "done", "trailers")

    def __init__(self, stream: Stream, judge: h11.Connection) -> None:
        self._stream = stream
        self._judge = judge
        self.done = False
        self.trailers: Fields = []

    def read(self, timeout: float | None) -> bytes:
        while not self.done:
            if piece := self._next_piece():
                return piece
            if not self.done:
                data = self._stream.recv(timeout, eager=True)
                if not data:
                    raise Truncated("the last chunk is missing")
                self._judge.receive_data(data)
        return b""

    def at_hand(self) -> bytes:
        if self.done:
            return b""
        if ahead := self._stream.ahead():
            self._stream.recv(0)
            self._judge.receive_data(ahead)
        pieces = []
        while piece := self._next_piece():
            pieces.append(piece)
        return b"".join(pieces)

    def _next_piece(self) -> bytes:
        """The next piece that h11 has, b"" if it wants more bytes or the body is done. Raises Malformed."""
        if self.done:
            return b""
        try:
            event = self._judge.next_event()
        except h11.RemoteProtocolError as error:
            raise Malformed(400, str(error)) from None
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            self.done = True
            self.trailers = trailer_fields(list(event.headers.raw_items()))
            if rest := self._judge.trailing_data[0]:
                self._stream.unread(rest)
        return b""


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
            return NoBody()
        case Framing.LENGTH:
            return LengthBody(stream, message.length)
        case Framing.CHUNKED:
            return ChunkedBody(stream, message.judge)
        case Framing.UNTIL_CLOSE:
            return UntilCloseBody(stream)


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    """The end of a chunked body, with its trailer section."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
