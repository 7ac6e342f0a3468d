"""Whose keys a keytab holds: MIT Kerberos's file format, version 2, without the keys themselves.

Source: "Keytab file format" of the MIT Kerberos documentation (formats/keytab_file_format.html).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"\x05\x02"
_NAME_TYPE_TIME_VERSION: Final = struct.Struct(">IIB")


class BadKeytab(ValueError):
    """It cannot be read as a keytab; the message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Key:
    """One entry. `principal`: without realm, components joined with a slash."""

    principal: str
    realm: str
    version: int
    encryption: int  # number of the type (RFC 3961 section 8)

    @property
    def name(self) -> str:
        return f"{self.principal}@{self.realm}"


def read_keytab(data: bytes) -> list[Key]:
    """Every entry, in order. Raises BadKeytab, also when there is none."""
    if data[:2] != MAGIC:
        raise BadKeytab("it does not begin as a keytab does (bytes 05 02)")
    found, position = [], 2
    while position < len(data):
        size = _Reader(data, position).signed()
        position += 4
        if size > 0:  # 0 or less: the hole that a removed entry has left
            found.append(_entry(data[position : position + size], size))
        position += abs(size)
    if position > len(data):
        raise BadKeytab("it is cut off in the middle of an entry")
    if not found:
        raise BadKeytab("it holds no key")
    return found


def _entry(data: bytes, size: int) -> Key:
    reader = _Reader(data)
    if len(data) < size:
        raise BadKeytab("it is cut off in the middle of an entry")
    components = reader.count()
    realm = reader.text()
    principal = "/".join(reader.text() for _ in range(components))
    _, _, version = _NAME_TYPE_TIME_VERSION.unpack(reader.take(_NAME_TYPE_TIME_VERSION.size))
    encryption = reader.count()
    if not reader.take(reader.count()):
        raise BadKeytab(f"the key of {principal} is empty")
    if reader.left >= 4:  # versions above 255 follow in full
        version = reader.signed() or version
    return Key(principal, realm, version, encryption)


class _Reader:
    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise BadKeytab("an entry is shorter than what it says it holds")
        self._position += count
        return self._data[self._position - count : self._position]

    def count(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def signed(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def text(self) -> str:
        return self.take(self.count()).decode("utf-8", "replace")
