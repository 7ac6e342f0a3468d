"""The chunked coding is read in one way, however it is cut, and h11 reads it in the same way."""

from __future__ import annotations

import h11
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy.body import MAX_SIZE_LINE, TRAILER_LIMITS, ChunkedReader
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
bodies = st.lists(st.tuples(st.binary(min_size=1, max_size=40), extensions), max_size=5)
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
