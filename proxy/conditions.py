"""Conditional requests: what a request that says «only if» gets, in the order of RFC 9110 13.2.2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from enum import Enum
from functools import lru_cache

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
# All three forms of RFC 9110 5.6.7 begin with a day and a comma or a blank; nothing else is looked at.
_DATE = re.compile(
    r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT"
    r"|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}"
)

#: In lower case.
CONDITIONS = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")


class Verdict(Enum):
    PERFORM = 200
    NOT_MODIFIED = 304
    FAILED = 412


def judge(fields: Mapping[bytes, str], tag: str, modified: int) -> Verdict:
    """For a GET or HEAD of a representation that exists. `fields`: names in lower case, values joined; `tag`: its
    strong entity tag with quotes; `modified`: Unix seconds, as Last-Modified says it."""
    if (wanted := fields.get(b"if-match")) is not None:
        if wanted != "*" and not any(not weak and found == tag for weak, found in _tags(wanted)):
            return Verdict.FAILED
    elif (limit := date_of(fields.get(b"if-unmodified-since"))) is not None and modified > limit:
        return Verdict.FAILED
    if (known := fields.get(b"if-none-match")) is not None:
        if known == "*" or any(found == tag for _, found in _tags(known)):
            return Verdict.NOT_MODIFIED
    elif (since := date_of(fields.get(b"if-modified-since"))) is not None and modified <= since:
        return Verdict.NOT_MODIFIED
    return Verdict.PERFORM


def range_still_holds(value: str | None, tag: str, modified: int) -> bool:
    """If-Range (RFC 9110 13.1.5): strong comparison of a tag, or exactly the date; True without one."""
    if value is None:
        return True
    if value.startswith(('"', "W/")):
        return value == tag
    return date_of(value) == modified


def date_of(value: str | None) -> int | None:
    """An HTTP date in Unix seconds; None for none, or for what is no date: that condition does not count."""
    if value is None or not _DATE.fullmatch(value):
        return None
    try:
        found = parsedate_to_datetime(value)
        return int(found.replace(tzinfo=UTC).timestamp()) if found.tzinfo is None else int(found.timestamp())
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """IMF-fixdate (RFC 9110 5.6.7) of Unix seconds; those of a second, and of a file, are asked for again and again."""
    return formatdate(seconds, usegmt=True)


def _tags(value: str) -> list[tuple[bool, str]]:
    """Weakness and opaque tag (with its quotes) of each; members that are no tags count for nothing."""
    return [(bool(weak), f'"{opaque}"') for weak, opaque in _TAG.findall(value)]
