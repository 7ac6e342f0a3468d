"""The chunked coding (RFC 9112 7.1): bytes in, body or whole chunks out; nothing here knows of streams."""

from __future__ import annotations

import re
from enum import Enum

from proxy.headers import Fields, trailer_fields
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

# The size line of a chunk that may cross as it stands: nothing but a size, not padded. A body in smaller chunks is put
# together to larger ones, so that nobody makes an app read a line for each byte.
_PLAIN_SIZE = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{2,4}+)\r\n")
_BARE_LAST_CHUNK = b"0\r\n\r\n"


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

    def pass_on(self, data: bytes) -> tuple[bytes, int]:
        """As `feed`, for a body that goes on in chunks: the body bytes in `data` as whole chunks, the last chunk too
        once it is `done`, and how many bytes of body they are.

        Chunks that are whole and plain are left as they stand, which is what a reader of the coding cannot tell from
        what `chunk` writes; everything else is taken apart by `feed` and put into a chunk of its own.
        """
        start = self._left + 2 if self._expected in (_Expected.DATA, _Expected.DATA_END) else 0
        if self._held or self._expected is _Expected.TRAILERS or start > len(data):
            return self._framed_anew(data)
        before, first = self._framed_anew(data[:start]) if start else (b"", 0)
        end, whole = whole_chunks(data, start)
        if len(data) - end == len(_BARE_LAST_CHUNK) and data.endswith(_BARE_LAST_CHUNK):
            self.done = True
            end = len(data)
        if not end:
            return self._framed_anew(data)
        if not start and end == len(data):
            return data, whole
        after, last = self._framed_anew(data[end:]) if end < len(data) else (b"", 0)
        return b"".join((before, memoryview(data)[start:end], after)), first + whole + last

    def _framed_anew(self, data: bytes) -> tuple[bytes, int]:
        piece = self.feed(data)
        return framed(piece, self.trailers if self.done else None), len(piece)

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


def whole_chunks(data: bytes, at: int) -> tuple[int, int]:
    """Where the plain chunks end that are whole and follow one another from `data[at]` on, and how many bytes of body
    they hold. What comes there is for the reader to judge."""
    held = 0
    while (line := _PLAIN_SIZE.match(data, at)) is not None:
        size = int(line[1], 16)
        end = line.end() + size
        another = b"\r\n" + line[0]
        while data.startswith(another, end):  # mostly, all have one size
            at = end + 2
            end += len(another) + size
            held += size
        if not data.startswith(b"\r\n", end):
            break
        at = end + 2
        held += size
    return at, held


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def framed(piece: bytes, trailers: Fields | None) -> bytes:
    """A piece of a body as a chunk, if there is any of it; with its `trailers` the last one."""
    whole = chunk(piece) if piece else b""
    return whole if trailers is None else whole + last_chunk(trailers)


def last_chunk(trailers: Fields) -> bytes:
    """The end of a chunked body, with its trailer section."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
