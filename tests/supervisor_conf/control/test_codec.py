"""One codec for both ends: whatever the bytes are cut into, whatever they are."""

from __future__ import annotations

import json
import struct
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor_conf.control import messages
from supervisor_conf.control.codec import FRAME_LIMIT, Decoder, ProtocolError, encode
from tests.kit.examples import one_in

MESSAGES = [
    shape
    for shape in vars(messages).values()
    if isinstance(shape, type) and shape.__module__ == messages.__name__
]


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Every value of an annotation, surrogates of undecodable file names included."""
    if hint is str:
        return st.text(st.characters(), max_size=20)
    if hint is int:
        return st.integers(-(2**62), 2**62)
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if hint is bool:
        return st.booleans()
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if inner[-1] is Ellipsis:
            return st.lists(values(inner[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, inner))
    if type(None) in get_args(hint):
        return st.none() | values(get_args(hint)[0])
    return instances(hint)


def instances(shape: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(shape, **{name: values(hint) for name, hint in get_type_hints(shape).items()})


any_message = st.sampled_from(MESSAGES).flatmap(instances)


@settings(max_examples=one_in(4))
@given(st.lists(any_message, max_size=4), st.data())
def test_any_messages_in_any_pieces(sent: list[Any], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    decoder, received = Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += decoder.feed(stream[:size])
        stream = stream[size:]
    assert received == sent
    assert decoder.pending == 0


@given(any_message)
def test_byte_by_byte(message: Any) -> None:
    decoder = Decoder()
    assert [one for byte in encode(message) for one in decoder.feed(bytes([byte]))] == [message]


@given(st.binary(max_size=200), st.booleans())
def test_garbage_gives_messages_or_a_sentence(garbage: bytes, framed: bool) -> None:
    data = struct.pack(">I", len(garbage)) + garbage if framed else garbage
    read = attempt(data)
    assert isinstance(read, list) or read.endswith(".")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(MESSAGES), st.data())
def test_json_of_any_shape_gives_the_message_it_says_or_a_sentence(
    shape: type[Any], data: st.DataObject
) -> None:
    fields = {name: data.draw(json_values) for name in get_type_hints(shape)}
    read = attempt(frame({"v": 1, "kind": shape.__name__, **fields}))
    if isinstance(read, str):
        assert shape.__name__ in read or "JSON" in read
    else:
        (message,) = read
        assert type(message) is shape
        assert Decoder().feed(encode(message)) == [message]


def attempt(data: bytes) -> list[Any] | str:
    """The messages, or the sentence of the error."""
    try:
        return Decoder().feed(data)
    except ProtocolError as error:
        return str(error)


def frame(value: object) -> bytes:
    body = json.dumps(value).encode()
    return struct.pack(">I", len(body)) + body


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"v": 2, "kind": "Need", "app": "shop"}, "version 2 .* version 1"),
        ({"kind": "Need", "app": "shop"}, "version none .* version 1"),
        ({"v": True, "kind": "Need", "app": "shop"}, "version none"),
        ({"v": 1, "app": "shop"}, "no kind"),
        ({"v": 1, "kind": "Need"}, "Need.app is missing"),
        ({"v": 1, "kind": "Need", "app": 7}, "Need.app is a number, expected a string"),
        (
            {"v": 1, "kind": "Bad", "app": "shop", "generation": True, "why": ""},
            "a boolean, expected an integer",
        ),
        ({"v": 1, "kind": "Drained", "app": "shop", "generation": 1.0}, "expected an integer"),
        (
            {"v": 1, "kind": "AppRoutes", "app": "a", "state": "", "routes": {}},
            "an object, expected an array",
        ),
        (
            {"v": 1, "kind": "AppRoutes", "app": "a", "state": "", "routes": [{}]},
            r"routes\[0\].generation is missing",
        ),
        ({"v": 1, "kind": "GiveUp", "app": "a", "refusal": None}, r"null, expected an object \(Refusal\)"),
        ([], "not an object"),
        ("x", "not an object"),
    ],
)
def test_what_is_wrong_is_said(value: object, sentence: str) -> None:
    with pytest.raises(ProtocolError, match=sentence):
        Decoder().feed(frame(value))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"nan", b'{"v":NaN}', b"[" * 60_000, b"1" * 60_000])
def test_what_is_no_json_is_said(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(struct.pack(">I", len(body)) + body)


def test_unknown_kinds_and_fields_are_skipped() -> None:
    later = frame({"v": 1, "kind": "Teleport", "to": "mars"})
    more = frame({"v": 1, "kind": "Need", "app": "shop", "urgency": 3})
    assert Decoder().feed(later + more) == [messages.Need("shop")]


def test_missing_fields_take_their_defaults() -> None:
    assert Decoder().feed(frame({"v": 1, "kind": "Hello", "role": "worker"})) == [messages.Hello("worker")]


def test_an_integer_may_stand_for_a_float() -> None:
    read = {"v": 1, "kind": "Output", "generation": 1, "text": "", "first_after": 2}
    (message,) = Decoder().feed(frame(read))
    assert type(message.first_after) is float


def test_the_limit_is_known_before_the_body_has_come() -> None:
    with pytest.raises(ProtocolError, match="longer than the limit of 65536"):
        Decoder().feed(struct.pack(">I", FRAME_LIMIT + 1))
    with pytest.raises(ProtocolError, match="does not fit"):
        encode(messages.Progress("x" * FRAME_LIMIT))
    fits = messages.Progress("x" * (FRAME_LIMIT - 100))
    assert Decoder().feed(encode(fits)) == [fits]


def test_only_messages_are_encoded() -> None:
    with pytest.raises(ProtocolError, match="dict is not a message"):
        encode({"v": 1})
