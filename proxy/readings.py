"""The readings of a path: what its segments are to whoever normalises it, each in his own way.

A path reaches an app raw, and what the app makes of it is its own affair. Whoever decides something by the path (which
app answers, what is refused) must be right for every reading: dot segments removed, `//` merged, `%2F` and `\\` as
separators, `;parameters` dropped, percent-decoded, without regard to ASCII case.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from urllib.parse import unquote_to_bytes


def raw_segments(path: bytes) -> list[bytes]:
    """Split at `/` first, decode then: an encoded slash stays inside its segment."""
    segments = path.lower().split(b"/")[1:]
    return [unquote_to_bytes(s).lower() for s in segments] if b"%" in path else segments


def needs_more_readings(path: bytes) -> bool:
    """Whether anybody could read the path otherwise than `raw_segments` does."""
    return b"//" in path or b"/." in path or b"%" in path or b"\\" in path or b";" in path


def readings(path: bytes) -> Iterable[list[bytes]]:
    """What the path's segments are to readers that normalise, each in his own way: every combination of what may be
    a separator, where a segment ends, and whether empty ones count."""
    text = _decoded_but_for_separators(path)
    slashes = _choices(_ENCODED_SLASH in text)
    backslashes = _choices(b"\\" in text or _ENCODED_BACKSLASH in text)
    endings = [b"", *(ending for ending in (b";", _ENCODED_SEMICOLON) if ending in text)]
    for slash, backslash, ending in product(slashes, backslashes, endings):
        read = text.replace(_ENCODED_SLASH, b"/") if slash else text
        read = read.replace(_ENCODED_BACKSLASH, b"/").replace(b"\\", b"/") if backslash else read
        read = read.replace(_ENCODED_SEMICOLON, b";") if ending == _ENCODED_SEMICOLON else read
        segments = read.split(b"/")[1:]
        if ending:
            segments = [segment.partition(b";")[0] for segment in segments]
        segments = [segment.translate(_PLAIN) for segment in segments]
        yield _without_dot_segments(segments)
        if b"" in segments:
            yield _without_dot_segments([segment for segment in segments if segment])


# Bytes that no target holds stand for what was encoded, until it is decided what that is.
_ENCODED_SLASH, _ENCODED_BACKSLASH, _ENCODED_SEMICOLON = b"\x01", b"\x02", b"\x03"
_PLAIN = bytes.maketrans(b"\x01\x02\x03", b"/\\;")


def _decoded_but_for_separators(path: bytes) -> bytes:
    """In lower case."""
    folded = path.lower()
    if b"%" not in folded:
        return folded
    folded = folded.replace(b"%2f", _ENCODED_SLASH).replace(b"%5c", _ENCODED_BACKSLASH)
    return unquote_to_bytes(folded.replace(b"%3b", _ENCODED_SEMICOLON)).lower()


def _choices(there: bool) -> tuple[bool, ...]:
    return (False, True) if there else (False,)


def _without_dot_segments(segments: list[bytes]) -> list[bytes]:
    """RFC 3986 5.2.4, on segments."""
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    return kept
