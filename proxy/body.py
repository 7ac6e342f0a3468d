"""Bodies: once a head has said how its body is framed, these read it and write it, piece by piece, never whole.

Reading: `read()` gives the next piece, b"" at the proper end, and raises Truncated if the sender stops before it;
`at_hand()` gives what has arrived already, without waiting. Writing: `chunk()` and `last_chunk()`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Protocol

from proxy.headers import Fields, trailer_fields
from proxy.peer import Framing, Request, Response
from proxy.splice import Pipe
from proxy.streams import Stream
from proxy.strict import TCHAR, Limits, Malformed, check_trailers

#: Bytes of a chunk's first line: its size and its extensions. Go's net/http takes 4 KiB; what is in use
#: (a signature of 64 hexadecimal digits) needs a hundred.
MAX_SIZE_LINE = 1024
#: A trailer section is a checksum and a status or two.
TRAILER_LIMITS = Limits(max_head=16 * 1024)

# RFC 9112 7.1: 16 digits are 64 bit. White space before the first ";" is what RFC 9112 7.1.1 calls bad; h11 does
# not take it either.
_VALUE = rb"(?:[" + TCHAR + rb"]++|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\")"
_EXTENSION = rb";[ \t]*+[" + TCHAR + rb"]++(?:[ \t]*+=[ \t]*+" + _VALUE + rb")?(?:[ \t]++(?=;))?"
_SIZE_LINE = re.compile(rb"(?P<size>[0-9A-Fa-f]{1,16}+)(?:" + _EXTENSION + rb")*\r\n")
_BEGUN_SIZE_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+)?\r?+")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00")


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


class _Expected(Enum):
    """What the next byte of a chunked body belongs to (RFC 9112 7.1)."""

    SIZE = "size"
    DATA = "data"
    DATA_END = "the CRLF after the data"
    TRAILERS = "trailers"


class ChunkedReader:
    """The chunked coding, taken apart strictly: bytes in, body bytes out; extensions dropped, trailers kept.

    Every CRLF is exactly that, a size has no sign, blank or underscore, an extension is one by the grammar. What
    passes here h11 reads in the same way. Holds at most one unfinished size line or trailer section, both bounded.
    """

    __slots__ = ("_expected", "_held", "_left", "_looked_at", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._expected = _Expected.SIZE
        self._held = b""
        self._looked_at = 0  # bytes of what was held, at the beginning of `data`, that need no second look
        self._left = 0  # bytes of the current chunk that have not come yet
        self.done = False
        self.rest = b""  # what came after the body
        self.trailers: Fields = []

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`; not to be called once it is `done`. Raises Malformed (400)."""
        self._looked_at = len(self._held)
        if self._held:
            data, self._held = self._held + data, b""
        pieces = []
        at = 0
        while at < len(data) and not self.done:
            if self._expected is _Expected.DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._expected = _Expected.DATA_END
                continue
            after = self._step(data, at)
            if after is None:
                self._held = data[at:]
                break
            at = after
            self._looked_at = 0
        if self.done:
            self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _step(self, data: bytes, at: int) -> int | None:
        """Take what is expected from `data[at:]`: where it ends, or None if it is not complete."""
        match self._expected:
            case _Expected.SIZE:
                return self._size(data, at)
            case _Expected.DATA_END:
                return self._data_end(data, at)
            case _:
                return self._trailers(data, at)

    def _size(self, data: bytes, at: int) -> int | None:
        line = _SIZE_LINE.match(data, at)
        if line is None:
            if len(data) - at > MAX_SIZE_LINE or not _BEGUN_SIZE_LINE.fullmatch(data, at):
                raise Malformed(400, "a chunk that does not begin with its size")
            return None
        if line.end() - at > MAX_SIZE_LINE:
            raise Malformed(400, "a chunk extension longer than the limit")
        self._left = int(line["size"], 16)
        self._expected = _Expected.DATA if self._left else _Expected.TRAILERS
        return line.end()

    def _data_end(self, data: bytes, at: int) -> int | None:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise Malformed(400, "a chunk that is longer than its size")
        if len(end) < 2:
            return None
        self._expected = _Expected.SIZE
        return at + 2

    def _trailers(self, data: bytes, at: int) -> int | None:
        if data.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        end = data.find(b"\r\n\r\n", at + max(self._looked_at - 3, 0)) + 4
        section = data[at:] if end < 4 else data[at:end]
        if len(section) > TRAILER_LIMITS.max_head:
            raise Malformed(400, "a trailer section longer than the limit")
        if _BARE_LINE_END.search(section, max(self._looked_at - 1, 0)):
            raise Malformed(400, "a bare CR, LF or NUL in the trailer section")
        if end < 4:
            return None
        try:
            check_trailers(section, TRAILER_LIMITS)
        except Malformed as problem:
            raise Malformed(400, problem.reason) from None
        lines = (line.partition(b":") for line in section[:-4].split(b"\r\n"))
        self.trailers = trailer_fields([(name, value.strip(b" \t")) for name, _, value in lines])
        self.done = True
        return end


class ChunkedBody:
    """A chunked body on a stream."""

    __slots__ = ("_reader", "_stream", "done", "trailers")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = ChunkedReader()
        self.done = False
        self.trailers: Fields = []

    def read(self, timeout: float | None) -> bytes:
        """`timeout` is for a piece with its framing: the framing may not be dribbled."""
        give_up = None if timeout is None else self._stream.now() + timeout
        while not self.done:
            left = None if give_up is None else max(give_up - self._stream.now(), 0)
            data = self._stream.recv(left, eager=True)
            if not data:
                raise Truncated("the last chunk is missing")
            if piece := self._taken(data):
                return piece
        return b""

    def at_hand(self) -> bytes:
        if self.done or not self._stream.ahead():
            return b""
        return self._taken(self._stream.recv(0))

    def _taken(self, data: bytes) -> bytes:
        piece = self._reader.feed(data)
        if self._reader.done:
            self.done = True
            self.trailers = self._reader.trailers
            if self._reader.rest:
                self._stream.unread(self._reader.rest)
        return piece


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


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    """The end of a chunked body, with its trailer section."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
