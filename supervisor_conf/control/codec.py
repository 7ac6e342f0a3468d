"""One frame: four bytes of length, big-endian, then one JSON object with version and kind of a message.

    00 00 00 1f {"v":1,"kind":"Need","app":"shop"}

Bytes in, messages out: nothing here reads a socket. What comes in is judged strictly by the annotations of
the dataclass it claims to be. A kind that this version does not know is skipped, as are fields that it does
not know; a field that is missing takes its default, and is an error where there is none.
"""

from __future__ import annotations

import json
import struct
import types
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from supervisor_conf.control import messages

FRAME_LIMIT: Final = 64 * 1024
"""Longest JSON object of a frame, in bytes. Far above any message but a report, which is cut to fit."""

_LENGTH: Final = struct.Struct(">I")


class ProtocolError(Exception):
    """The peer broke the protocol, or a message does not fit into a frame. The text is a sentence."""


def encode(message: object, limit: int = FRAME_LIMIT) -> bytes:
    """The frame of `message`, a dataclass of `messages`. Raises ProtocolError if it is too long."""
    kind = type(message).__name__
    if _kinds().get(kind) is not type(message):
        raise ProtocolError(f"{kind} is not a message of the control protocol.")
    body = json.dumps(
        {"v": messages.VERSION, "kind": kind, **_plain_fields(message)},
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    ).encode("utf-8", "surrogatepass")
    if len(body) > limit:
        raise ProtocolError(f"A {kind} of {len(body)} bytes does not fit into a frame of {limit}.")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes of one peer, in any pieces, to messages in order. A ProtocolError ends the connection."""

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that `data` completes. Raises ProtocolError, then nothing of `data` counts."""
        self._buffer += data
        complete: list[Any] = []
        while (body := self._next_body()) is not None:
            message = _message(body)
            if message is not None:
                complete.append(message)
        return complete

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete: more than 0 at the end of a stream means it was cut off."""
        return len(self._buffer)

    def _next_body(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._limit:
            raise ProtocolError(f"A frame of {length} bytes is longer than the limit of {self._limit}.")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return body


# --------------------------------------------------------------------------------------------------------
# JSON object -> dataclass


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    hint: Any
    required: bool


def _message(body: bytes) -> object | None:
    """The message in `body`; None for a kind this version does not know."""
    try:
        read = json.loads(body.decode("utf-8", "surrogatepass"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ProtocolError("A frame does not hold JSON in UTF-8.") from None
    if not isinstance(read, dict):
        raise ProtocolError("A frame holds JSON, but not an object.")
    version = read.get("v")
    if type(version) is not int or version != messages.VERSION:
        shown = version if type(version) is int else "none"
        raise ProtocolError(
            f"The peer speaks version {shown} of the control protocol, this is version {messages.VERSION}."
        )
    kind = read.get("kind")
    if not isinstance(kind, str):
        raise ProtocolError("A frame names no kind of message.")
    shape = _kinds().get(kind)
    return None if shape is None else _build(shape, read, kind)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _build(shape: type[Any], read: dict[str, Any], where: str) -> Any:
    values = {}
    for field in _fields()[shape]:
        if field.name in read:
            values[field.name] = _value(field.hint, read[field.name], f"{where}.{field.name}")
        elif field.required:
            raise ProtocolError(f"{where}.{field.name} is missing.")
    return shape(**values)


def _value(hint: Any, read: Any, where: str) -> Any:
    """`read` as the annotation `hint` wants it: true is no integer; an integer may stand for a float."""
    if hint in (str, bool, int):
        if type(read) is hint:
            return read
    elif hint is float:
        if type(read) in (int, float):
            return _as_float(read, where)
    elif get_origin(hint) in (Union, types.UnionType):
        return _optional(hint, read, where)
    elif get_origin(hint) is tuple:
        if isinstance(read, list):
            return _tuple(get_args(hint), read, where)
    elif is_dataclass(hint) and isinstance(hint, type) and isinstance(read, dict):
        return _build(hint, read, where)
    raise ProtocolError(f"{where} is {_json_name(read)}, expected {_hint_name(hint)}.")


def _as_float(read: int | float, where: str) -> float:
    try:
        return float(read)
    except OverflowError:
        raise ProtocolError(f"{where} is too large a number.") from None


def _optional(hint: Any, read: Any, where: str) -> Any:
    (inner,) = (one for one in get_args(hint) if one is not type(None))
    return None if read is None else _value(inner, read, where)


def _tuple(hints: tuple[Any, ...], read: list[Any], where: str) -> tuple[Any, ...]:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_value(hints[0], one, f"{where}[{index}]") for index, one in enumerate(read))
    if len(hints) != len(read):
        raise ProtocolError(f"{where} has {len(read)} values, expected {len(hints)}.")
    return tuple(
        _value(hint, one, f"{where}[{index}]")
        for index, (hint, one) in enumerate(zip(hints, read, strict=True))
    )


def _json_name(read: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(read), "a number")


def _hint_name(hint: Any) -> str:
    if is_dataclass(hint) and isinstance(hint, type):
        return f"an object ({hint.__name__})"
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a number"}
    return names.get(hint, "an array")


# --------------------------------------------------------------------------------------------------------
# Dataclass -> JSON object


def _plain_fields(message: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(message, field.name)) for field in _fields()[type(message)]}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return _plain_fields(value) if is_dataclass(value) else value


# --------------------------------------------------------------------------------------------------------
# What the dataclasses of `messages` look like


@cache
def _kinds() -> dict[str, type[Any]]:
    return {shape.__name__: shape for shape in _dataclasses(vars(messages).values())}


@cache
def _fields() -> dict[type[Any], tuple[_Field, ...]]:
    return {shape: tuple(_fields_of(shape)) for shape in _kinds().values()}


def _dataclasses(values: Iterable[object]) -> Iterable[type[Any]]:
    for value in values:
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == messages.__name__:
            yield value


def _fields_of(shape: type[Any]) -> Iterable[_Field]:
    hints = get_type_hints(shape)
    for field in fields(shape):
        required = field.default is MISSING and field.default_factory is MISSING
        yield _Field(field.name, hints[field.name], required)
