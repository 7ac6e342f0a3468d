"""The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt, 2020): what a proxy that passes bytes on says
before them of who is calling.

A connection of an address that asks for it begins with this preamble, or is none: whether there is one is never guessed
(section 2).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.forwarded import plain_address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_LINE = 107
"""Bytes of a version 1 line with its CRLF."""
MAX_BLOCK = 4096
"""Bytes after the fixed part of version 2: two addresses take 216 at most, what is sent of TLS some hundred."""

_FIXED = struct.Struct("!12sBBH")
_BEGINNING = b"PROXY "
_PORT = r"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rf"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]{{2,45}}) ([0-9A-Fa-f:.]{{2,45}}) {_PORT} {_PORT}")

_LOCAL, _PROXY = 0, 1
# Family and transport to the format of both addresses and ports; others are known, but name nobody who could speak HTTP
# to us.
_ADDRESSES = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}
_SIZES = {0: 0, 1: 12, 2: 36, 3: 216}
_TYPE_CRC32C, _TYPE_TLS = 0x03, 0x20
_CLIENT_TLS = 0x01


class BadPreamble(Exception):
    """Not by the protocol: the connection has to be dropped. The text says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Preamble:
    """`length`: its bytes. `address` and `port`: of who is calling, "" and 0 if it does not tell. `local`: the proxy
    itself is calling, to see whether we are well. `tls`: the proxy was spoken to by TLS."""

    length: int
    address: str = ""
    port: int = 0
    local: bool = False
    tls: bool = False


def parse(data: bytes) -> Preamble | None:
    """What `data` begins with; None if more of it is needed, all of `data` being part of it. Raises BadPreamble."""
    if data.startswith(SIGNATURE[: len(data)]):
        return _binary(data)
    if data.startswith(_BEGINNING[: len(data)]):
        return _line(data)
    raise BadPreamble("the connection does not begin with the PROXY protocol")


# ------------------------------------------------------------------------------------------------------------
# Version 1


def _line(data: bytes) -> Preamble | None:
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise BadPreamble("a line longer than 107 bytes")
        return None
    text = data[:end].decode("latin-1")
    if text == "PROXY UNKNOWN" or text.startswith("PROXY UNKNOWN "):
        return Preamble(end + 2)
    match = _LINE.fullmatch(text)
    if match is None:
        raise BadPreamble("a line that is not by the protocol")
    family, source, destination, *ports = match.groups()
    if not (_is_of(family, source) and _is_of(family, destination) and max(map(int, ports)) < 65536):
        raise BadPreamble("a line with an address or a port that is none")
    return Preamble(end + 2, plain_address(source), int(ports[0]))


def _is_of(family: str, address: str) -> bool:
    return (":" in address) == (family == "TCP6") and plain_address(address) != ""


# ------------------------------------------------------------------------------------------------------------
# Version 2


def _binary(data: bytes) -> Preamble | None:
    if len(data) < _FIXED.size:
        if len(data) > len(SIGNATURE) and data[12] >> 4 != 2:
            raise BadPreamble("a version that is not 2")
        return None
    _, version_and_command, family, block_length = _FIXED.unpack_from(data)
    command, length = version_and_command & 0xF, _FIXED.size + block_length
    if version_and_command >> 4 != 2 or command not in (_LOCAL, _PROXY):
        raise BadPreamble("a version that is not 2, or an unknown command")
    if family >> 4 not in _SIZES or family & 0xF > 2:
        raise BadPreamble("an unknown family of addresses, or an unknown transport")
    if block_length > MAX_BLOCK:
        raise BadPreamble(f"a header longer than {MAX_BLOCK} bytes")
    if len(data) < length:
        return None
    if command == _LOCAL:  # whatever it says of addresses is to be skipped (2.2)
        return Preamble(length, local=True)
    return _of_proxy(data[:length], family)


def _of_proxy(header: bytes, family: int) -> Preamble:
    size = _SIZES[family >> 4]
    if len(header) < _FIXED.size + size:
        raise BadPreamble("a header that is too short for its addresses")
    tls = False
    for kind, at, value in _tlvs(header, _FIXED.size + size):
        if kind == _TYPE_CRC32C:
            _check_sum(header, at, value)
        elif kind == _TYPE_TLS:
            tls = bool(value and value[0] & _CLIENT_TLS)
    if (addresses := _ADDRESSES.get(family)) is None:
        return Preamble(len(header), tls=tls)
    source, _, port, _ = addresses.unpack_from(header, _FIXED.size)
    return Preamble(len(header), _text_of(source), port, tls=tls)


def _text_of(packed: bytes) -> str:
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return plain_address(
        ":".join(f"{high << 8 | low:x}" for high, low in zip(packed[::2], packed[1::2], strict=True))
    )


def _tlvs(header: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, place and value of each (2.2)."""
    while at < len(header):
        if at + 3 > len(header):
            raise BadPreamble("a value that is cut off")
        kind, length = header[at], int.from_bytes(header[at + 1 : at + 3], "big")
        value = header[at + 3 : at + 3 + length]
        if len(value) < length:
            raise BadPreamble("a value that is cut off")
        yield kind, at + 3, value
        at += 3 + length


def _check_sum(header: bytes, at: int, value: bytes) -> None:
    """2.2.3: computed over the header with zeros in the place of the sum."""
    if len(value) != 4 or crc32c(header[:at] + bytes(4) + header[at + 4 :]) != int.from_bytes(value, "big"):
        raise BadPreamble("a checksum that does not fit")


def _table_of(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CASTAGNOLI = _table_of(0x82F63B78)


def crc32c(data: bytes) -> int:
    """RFC 3720 appendix B.4, RFC 9260 appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CASTAGNOLI[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
