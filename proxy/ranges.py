"""Range requests (RFC 9110 14): which bytes of a representation a request asks for."""

from __future__ import annotations

import re

_RANGES = re.compile(
    r"(?i:bytes)=[ \t,]*((?:\d{1,40}-\d{0,40}|-\d{1,40})(?:[ \t]*,[ \t]*(?:\d{1,40}-\d{0,40}|-\d{1,40})?)*)"
)
_RANGE = re.compile(r"(\d*)-(\d*)")

#: More ranges than any player or reader of documents asks for; who asks for more gets the whole (RFC 9110 17.15).
MOST = 16


class Unsatisfiable(Exception):
    """No range asked for has a byte of it: 416."""


def ranges_of(value: str, size: int) -> list[tuple[int, int]] | None:
    """First byte and count of each range, overlapping ones made one. None: the field does not count, since it is not
    valid, asks for too many, or for as much as the whole. Raises Unsatisfiable."""
    found = _RANGES.fullmatch(value.strip(" \t"))
    if found is None:
        return None
    wanted = []
    for first, last in _RANGE.findall(found[1]):
        if first and last and int(last) < int(first):
            return None
        span = _span(first, last, size)
        if span is not None:
            wanted.append(span)
        if len(wanted) > MOST:
            return None
    if not wanted:
        raise Unsatisfiable
    merged = _merged(wanted)
    if len(merged) > 1 and sum(count for _, count in merged) >= size:
        return None
    return merged


def _span(first: str, last: str, size: int) -> tuple[int, int] | None:
    """None: it has no byte of `size`."""
    if not first:
        count = min(int(last), size)
        return (size - count, count) if count else None
    begin = int(first)
    if begin >= size:
        return None
    end = min(int(last), size - 1) if last else size - 1
    return begin, end - begin + 1


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """In the order asked for, unless some overlap or touch: then in the order of the bytes."""
    ordered = sorted(spans)
    merged = [ordered[0]]
    for begin, count in ordered[1:]:
        before, length = merged[-1]
        if begin <= before + length:
            merged[-1] = before, max(length, begin + count - before)
        else:
            merged.append((begin, count))
    return spans if len(merged) == len(spans) else merged
