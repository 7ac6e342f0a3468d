"""The chunked coding is read in one way, however it is cut, and h11 reads it in the same way; what is passed on in
chunks is what it would be if it were taken apart and framed anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import h11
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy.chunked import MAX_SIZE_LINE, TRAILER_LIMITS, ChunkedReader
from proxy.headers import Fields, trailer_fields
from proxy.strict import Malformed
from tests.properties.heads import loaded_fields, ordinary_fields, tokens, values, words

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

extensions = st.lists(
    st.builds(
        lambda blank, name, value: b";" + blank + name + value,
        st.sampled_from([b"", b" ", b"\t"]),
        tokens,
        st.just(b"")
        | tokens.map(lambda token: b"=" + token)
        | words(b"ab ;\t=,'", 0, 6).map(lambda text: b'="' + text + b'"'),
    ),
    max_size=3,
).map(b"".join)
# Long enough to cross as they stand, and full of what looks like framing.
long_data = st.builds(
    lambda text, length: (text * length)[:length],
    st.sampled_from([b"x", b"\r\n", b"\r\n100\r\n", b"0\r\n\r\n", b"\n\r\n0\r\n\r"]),
    st.sampled_from([255, 256, 257, 300]),
)
bodies = st.lists(
    st.tuples(st.binary(min_size=1, max_size=40), extensions)
    | st.tuples(long_data, extensions | st.just(b"")),
    max_size=5,
)
trailers = st.lists(ordinary_fields | loaded_fields | st.tuples(tokens, values), max_size=3)
sizes = st.sampled_from(["%x", "%X", "0%x", "00000000%x"])
pieces = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b" ", b"\t", b";", b"\0", b"-", b"+", b"0x", b"_", b'"', b"f", b":"]
)


@st.composite
def good_bodies(draw: st.DrawFn) -> bytes:
    wire = b"".join(
        draw(sizes).encode() % len(data) + extension + b"\r\n" + data + b"\r\n"
        for data, extension in draw(bodies)
    )
    section = b"".join(b"%b:%b\r\n" % field for field in draw(trailers))
    return wire + b"0" + draw(extensions) + b"\r\n" + section + b"\r\n"


@st.composite
def bent_bodies(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(good_bodies()))
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(body) - 1))
        piece = draw(pieces)
        body[at : at + draw(st.integers(0, 1))] = piece
    return bytes(body)


any_bodies = good_bodies() | bent_bodies() | st.binary(max_size=40)
following = st.sampled_from([b"", b"G", b"GET / HTTP/1.1\r\n\r\n", b"\r\n"])
Read = TypeVar("Read")
Outcome = tuple[str, bytes, Fields, bytes]


def outcome(pieces: list[bytes]) -> Outcome:
    """How it ends, the body, the trailers and what is left over; of a refusal only that it is one."""
    reader, body = ChunkedReader(), b""
    for number, piece in enumerate(pieces):
        try:
            body += reader.feed(piece)
        except Malformed as problem:
            return f"refused {problem.status}", b"", [], b""
        if reader.done:
            return "whole", body, reader.trailers, reader.rest + b"".join(pieces[number + 1 :])
    return "unfinished", body, [], b""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def by_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def as_h11_reads(data: bytes) -> Outcome:
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    judge.receive_data(HEAD + data)
    assert isinstance(judge.next_event(), h11.Request)
    body = b""
    while isinstance(read := judge.next_event(), h11.Data):
        body += read.data
    if not isinstance(read, h11.EndOfMessage):
        return "unfinished", body, [], b""
    return "whole", body, trailer_fields(list(read.headers.raw_items())), judge.trailing_data[0]


@given(any_bodies, following, st.lists(st.integers(0, 1 << 16), max_size=6))
@example(b"5 \r\nhello\r\n0\r\n\r\n", b"", [])
@example(b"5;\nhello\r\n0\r\n\r\n", b"", [])
@example(b"0\r\nX: 1\n\r\n", b"", [])
@example(b"5\r\nhello\rX0\r\n\r\n", b"", [])
@example(b"5\r\nhelloX\n0\r\n\r\n", b"", [])
@example(b"5;" + b"x" * MAX_SIZE_LINE + b"\r\nhello\r\n0\r\n\r\n", b"", [])
@example(b"0;" + b"x" * 10 + b"\r\n\nab", b"", [7])
@example(b"0\r\nContent-Length: chunked\r\n\r\n", b"", [])
@example(b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"", [])
def test_a_chunked_body_means_the_same_however_it_is_cut_and_to_h11(
    data: bytes, after: bytes, places: list[int]
) -> None:
    whole = outcome([data + after])
    event(whole[0])
    assert outcome(cut(data + after, places)) == whole
    assert outcome(by_bytes(data + after)) == whole
    if whole[0] == "whole":
        assert as_h11_reads(data + after) == whole


def plain_sizes(chunks: bytes) -> list[int]:
    """Sizes of whole chunks without extensions, the last chunk included; its trailers are not looked at."""
    sizes, at = [], 0
    while at < len(chunks):
        line = re.compile(rb"(?:0|[1-9a-fA-F][0-9a-fA-F]{0,4})\r\n").match(chunks, at)
        assert line is not None, chunks[at : at + 20]
        sizes.append(int(line[0], 16))
        at = line.end() + sizes[-1] + 2
        if not sizes[-1]:
            break
        assert chunks[at - 2 : at] == b"\r\n"
    return sizes


def judged(read: Callable[[bytes], Read], piece: bytes, nothing: Read) -> tuple[Read, str]:
    """What is read, or why it is refused."""
    try:
        return read(piece), ""
    except Malformed as problem:
        return nothing, str(problem)


def passed_on_as_it_is_read(pieces: list[bytes]) -> str:
    """Piece by piece, one reader takes the coding apart and one passes it on: how it ends for both."""
    apart, onward = ChunkedReader(), ChunkedReader()
    for piece in pieces:
        data, refusal = judged(apart.feed, piece, b"")
        (chunks, count), refusal_to_pass_on = judged(onward.pass_on, piece, (b"", 0))
        assert refusal == refusal_to_pass_on
        if refusal:
            return refusal
        assert (count, onward.done, onward.rest) == (len(data), apart.done, apart.rest)
        assert sum(plain_sizes(chunks)) == count
        assert sum(0 < size < 256 for size in plain_sizes(chunks)) <= 2, "small ones are put together"
        ending = b"" if apart.done else b"0\r\n\r\n"
        assert as_h11_reads(chunks + ending) == ("whole", data, apart.trailers, b"")
        if apart.done:
            return "whole"
    return "unfinished"


@given(any_bodies, following, st.lists(st.integers(0, 1 << 16), max_size=6))
@example(b"100\r\n" + 256 * b"x" + b"0\r\n\r\n", b"", [])
@example(b"101\r\n" + 250 * b"x" + b"\r\n0\r\n\r\n", b"", [])
@example(b"0100\r\n" + 256 * b"x" + b"\r\n0\r\n\r\n", b"", [])
@example(3 * (b"100\r\n" + 256 * b"x" + b"\r\n") + b"0\r\n\r\n", b"", [200, 263])
@example(b"100\r\n" + 256 * b"x" + b"\r\n0\r\nA: 0\r\n\r\n", b"", [])
@example(50 * b"1\r\nx\r\n" + b"0\r\n\r\n", b"", [])
@example(b"1100\r\n" + 256 * b"x" + b"\r\n" + 4094 * b"y" + b"\r\n0\r\n\r\n", b"", [1])
@example(b"100\r\n" + 256 * b"x" + b"100\r\n" + 256 * b"x" + b"\r\n0\r\n\r\n", b"", [261])
def test_what_is_passed_on_is_what_is_read(data: bytes, after: bytes, places: list[int]) -> None:
    event(passed_on_as_it_is_read([data + after]))
    passed_on_as_it_is_read(cut(data + after, places))


@given(
    st.lists(st.sampled_from([256, 257, 4096, 0xABC]), min_size=1, max_size=40), st.sampled_from(["%x", "%X"])
)
def test_plain_chunks_are_left_as_they_stand(sizes: list[int], form: str) -> None:
    data = b"".join(b"%b\r\n%b\r\n" % ((form % size).encode(), size * b"d") for size in sizes)
    reader = ChunkedReader()
    assert reader.pass_on(data)[0] is data
    assert reader.pass_on(ending := data + b"0\r\n\r\n")[0] is ending
    assert reader.done


@given(good_bodies())
def test_the_grammar_is_taken(data: bytes) -> None:
    """Guards the property above: a reader that refuses everything would keep it."""
    kind, _, _, rest = outcome([data])
    section = data.rpartition(b"0")[2]
    if kind == "refused 400":  # only for what a trailer may not say of the length
        assert b"content-length" in data.lower() or b"transfer-encoding" in data.lower(), section
    else:
        assert (kind, rest) == ("whole", b"")


@given(st.sampled_from([b"5;" + b"x" * MAX_SIZE_LINE, b"0\r\nX: " + b"y" * TRAILER_LIMITS.max_head, b"0" * 17,
                        b"0\r\n" + b"a:\r\n" * TRAILER_LIMITS.max_head]), st.integers(1, 5000))  # fmt: skip
def test_nothing_is_kept_without_bound(endless: bytes, step: int) -> None:
    pieces = [endless[at : at + step] for at in range(0, len(endless), step)]
    assert outcome(pieces)[0] == "refused 400"
