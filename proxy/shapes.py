"""Shapes: request heads that were judged before and differ in a few values alone.

A browser's requests are the same from the first field to the last but for what is new each time: where it came from,
its cookies, the length of what it sends. A *shape* is what such a head means with these values cut out, found by what
is left. So a head of a known shape is read by one search and one look into a dictionary, where twelve lines would have
to be looked up.

Whether a field line is well formed does not depend on where it stands, and what a head means depends on no value that
is cut out except Content-Length's: a head of a known shape is judged as the one was that the shape was learnt from.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.headers import Fields
from proxy.peer import Framing, Request

#: Shapes remembered, and the longest, values left out: three MiB a worker at most.
SHAPES = 1024
LONGEST_SHAPE = 1024

CONTENT_LENGTH = b"content-length"
#: Fields that are another one in most requests. What is secret in one of them is kept no longer than its message.
EVER_NEW = frozenset(
    b"cookie referer authorization content-length if-none-match if-modified-since range "
    b"proxy-authorization x-forwarded-for x-real-ip x-request-id".split()
)

# Their lines, values as in every plain line (see head.py): what is not plain is not cut out. Clients write names as RFC
# 9110 does, nearly all of them; proxies write more fields, and often in lower case.
_VALUE = rb"([\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*+(?<![ \t]))(?=\r)"
_OF_CLIENTS = re.compile(
    rb"(\n(?:Cookie|Referer|Content-Length|Authorization|If-(?:None-Match|Modified-Since)|Range): )" + _VALUE
)
_OF_PROXIES = re.compile(
    rb"(\n(?:[Cc]ookie|[Rr]eferer|[Cc]ontent-[Ll]ength|[Aa]uthorization|[Rr]ange"
    rb"|[Ii]f-(?:[Nn]one-[Mm]atch|[Mm]odified-[Ss]ince)"
    rb"|[Xx]-(?:[Ff]orwarded-[Ff]or|[Rr]eal-I[Pp]|[Rr]equest-I[Dd])): )" + _VALUE
)
LENGTH = re.compile(rb"[0-9]{1,18}+")

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """A dictionary in two halves. When the younger is full it becomes the older one, and what is in that and was not
    asked for again is forgotten: what is used often stays, whatever else passes by, and no moment costs much."""

    __slots__ = ("_half", "_older", "get", "younger")

    def __init__(self, entries: int) -> None:
        self._half = entries // 2
        self.younger: dict[Key, Value] = {}
        self._older: dict[Key, Value] = {}
        self.get = self.younger.get

    def again(self, key: Key) -> Value | None:
        """What `get` did not find may be among the older ones."""
        value = self._older.get(key)
        if value is not None:
            self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        if len(self.younger) >= self._half:
            self._older, self.younger = self.younger, {}
            self.get = self.younger.get
        self.younger[key] = value

    def __len__(self) -> int:
        return len(self.younger) + len(self._older)


@dataclass(frozen=True, slots=True)
class Shape:
    """`names` and `places` are of the values that are cut out, in `fields`; `crossing` says which of them cross, None
    for all, and `pieces` is what crosses otherwise, with b"" where they go. `length_at`: which value is
    Content-Length's, -1 none."""

    fields: Fields
    names: tuple[bytes, ...]
    places: tuple[int, ...]
    pieces: list[bytes]
    crossing: tuple[int, ...] | None
    length_at: int
    framing: Framing
    keep_alive: bool
    host: bytes
    accept: bytes

    def request(self, method: bytes, target: bytes, values: list[bytes]) -> Request | None:
        """A request of this shape, with these values."""
        length = 0
        if self.length_at >= 0:
            if LENGTH.fullmatch(values[self.length_at]) is None:
                return None
            length = int(values[self.length_at])
        fields = self.fields.copy()
        for place, name, value in zip(self.places, self.names, values, strict=True):
            fields[place] = name, value
        pieces = self.pieces.copy()
        pieces[1::2] = values if self.crossing is None else [values[n] for n in self.crossing]
        return Request(
            method,
            target,
            b"1.1",
            fields,
            self.framing,
            length,
            self.keep_alive,
            None,
            self.host,
            b"",
            False,
            self.accept,
            b"".join(pieces),
        )


def shape_of(lines: list[bytes], request: Request, crossing: Collection[int]) -> Shape:
    """The shape of a head that has been judged: `lines` are those of its fields, `crossing` which of them cross."""
    places: list[int] = []
    values_that_cross: list[int] = []
    pieces: list[bytes] = []
    piece = b""
    for index, ((name, _), line) in enumerate(zip(request.fields, lines, strict=True)):
        crosses = index in crossing
        if name.lower() not in EVER_NEW:
            piece += line + b"\r\n" if crosses else b""
            continue
        if crosses:
            values_that_cross.append(len(places))
            pieces += [b"%b%b: " % (piece, name), b""]
            piece = b"\r\n"
        places.append(index)
    names = tuple([request.fields[place][0] for place in places])
    folded = [name.lower() for name in names]
    return Shape(
        fields=[(name, b"") if name.lower() in EVER_NEW else (name, value) for name, value in request.fields],
        names=names,
        places=tuple(places),
        pieces=[*pieces, piece],
        crossing=tuple(values_that_cross) if len(values_that_cross) < len(places) else None,
        length_at=folded.index(CONTENT_LENGTH) if CONTENT_LENGTH in folded else -1,
        framing=request.framing,
        keep_alive=request.keep_alive,
        host=request.host,
        accept=request.accept,
    )


class Shapes:
    """The shapes that one reader knows, of clients' requests or of trusted proxies'."""

    __slots__ = ("_cut", "known")

    def __init__(self, *, trusted: bool) -> None:
        self._cut = (_OF_PROXIES if trusted else _OF_CLIENTS).split
        self.known: Memory[tuple[bytes, ...], Shape] = Memory(SHAPES)

    def cut(self, block: bytes) -> tuple[tuple[bytes, ...], list[bytes]]:
        """What follows a request line, taken apart: what is left, and the values that were cut out of it."""
        parts = self._cut(block)
        values = parts[2::3]
        del parts[2::3]
        return tuple(parts), values

    def find(self, left: tuple[bytes, ...]) -> Shape | None:
        return self.known.get(left) or self.known.again(left)

    def learn(
        self, left: tuple[bytes, ...], lines: list[bytes], request: Request, crossing: Collection[int]
    ) -> None:
        """`request` is what a head means of which this is `left`; the `lines` at `crossing` cross."""
        if sum(map(len, left)) <= LONGEST_SHAPE:
            self.known.put(left, shape_of(lines, request, crossing))
