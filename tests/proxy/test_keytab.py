"""The keytab format: what MIT Kerberos writes is read; what is cut off, bent or something else is refused."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keytab import MAGIC, BadKeytab, Key, read_keytab

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/@"), min_size=1, max_size=20)
KEYS = st.builds(Key, NAMES, NAMES, version=st.integers(1, 2**31 - 1), encryption=st.integers(1, 2**16 - 1))


def counted(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def entry(key: Key, *, secret: bytes = b"secret", whole_version: bool = True) -> bytes:
    components = key.principal.encode().split(b"/")
    body = struct.pack(">H", len(components)) + counted(key.realm.encode())
    body += b"".join(counted(component) for component in components)
    body += struct.pack(">IIBH", 1, 1_700_000_000, key.version & 0xFF, key.encryption) + counted(secret)
    if whole_version:
        body += struct.pack(">I", key.version)
    return struct.pack(">i", len(body)) + body


HOLE = struct.pack(">i", -12) + bytes(12)
HTTP = Key("HTTP/www.example.org", "EXAMPLE.ORG", 3, 18)


@given(st.lists(KEYS, min_size=1, max_size=5))
def test_what_is_written_is_read(keys: list[Key]) -> None:
    assert read_keytab(MAGIC + HOLE.join(entry(key) for key in keys)) == keys


def test_a_version_of_one_byte_is_enough_where_no_other_follows() -> None:
    assert read_keytab(MAGIC + entry(HTTP, whole_version=False)) == [HTTP]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not begin"),
        (b"\x05\x01" + entry(HTTP), "does not begin"),
        (b"[libdefaults]\n", "does not begin"),
        (MAGIC, "no key"),
        (MAGIC + HOLE, "no key"),
        (MAGIC + entry(HTTP)[:-1], "cut off"),
        (MAGIC + entry(HTTP)[:3], "shorter"),
        (MAGIC + entry(HTTP, secret=b""), "is empty"),
        (MAGIC + struct.pack(">i", 4) + b"\0\x7f\xff\xff", "shorter"),
    ],
)
def test_what_is_no_keytab_is_refused_in_words(data: bytes, says: str) -> None:
    with pytest.raises(BadKeytab, match=says):
        read_keytab(data)


@given(st.binary(max_size=200))
def test_anything_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadKeytab):
        assert read_keytab(MAGIC + data)
