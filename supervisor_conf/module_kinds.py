"""Kinds of values that only modules' options have (the others are in `setting_kinds.py`)."""

from __future__ import annotations

import re
from ipaddress import ip_network

from supervisor_conf import setting_kinds as kinds
from supervisor_conf.setting_errors import Unfit, display
from supervisor_conf.setting_kinds import Kind, Place, str_of

UNIX = "unix"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_SEGMENT = re.compile(r"[^/\\%*\x00-\x1f\x7f]+\*?")
_EXTENSION = re.compile(r"\.[^./\\%\x00-\x20\x7f]+")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?/ ?(s|m|h)")
_PER_SECOND = {"s": 1, "m": kinds.MINUTE, "h": kinds.HOUR}


def _peer(text: str, _: Place) -> str:
    return text if text == UNIX else str(ip_network(text, strict=False))


PEERS = kinds.list_of(
    "list of strings",
    'a list of networks, and "unix" for who comes over a Unix socket',
    '["10.0.0.0/8", "::1", "unix"]',
    _peer,
)


def _segment(text: str, _: Place) -> str:
    if not _SEGMENT.fullmatch(text) or text in (".", ".."):
        raise ValueError("not a segment")
    return text


SEGMENTS = kinds.list_of(
    "list of strings",
    "a list of names between slashes, each with a * at its end or without",
    '[".git", ".env*"]',
    _segment,
)


def _extension(text: str, _: Place) -> str:
    if text and not _EXTENSION.fullmatch(text):
        raise ValueError("not an extension")
    return text


EXTENSIONS = kinds.list_of(
    "list of strings", 'a list of extensions with their dot; "" is a name without one', '[".php"]', _extension
)


def _rate(value: object, _: Place) -> float:
    """Requests a second."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        rate = float(value)
    elif match := _RATE.fullmatch(str_of(value)):
        rate = float(match[1]) / _PER_SECOND[match[2]]
    else:
        rate = float(kinds.whole(value))
    if rate and not 1 / kinds.DAY <= rate <= 1_000_000:
        raise ValueError("out of range")
    return rate


RATE = Kind(
    "rate",
    'requests a second as a number, or a string such as "10/s", "100/m", "5/h"; at least one a day, or 0',
    '"10/s"',
    _rate,
)


def _field_name(text: object) -> str:
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise Unfit("the name of a header field (RFC 9110 5.1)", read=display(text))
    return text


FIELD_NAME = Kind(
    "string",
    "the name of a header field (RFC 9110 5.1)",
    '"X-Request-ID"',
    lambda value, _: _field_name(value),
)


def _field_limits(value: object, _: Place) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ValueError("not a table")
    return {_field_name(name): _limit(name, limit) for name, limit in value.items()}


def _limit(name: str, value: object) -> int:
    try:
        found = kinds.bytes_of(value)
    except ValueError:
        found = 0
    if not 1 <= found <= 16 * kinds.MIB:
        raise Unfit(f"a size from 1 to 16 MiB for {name}", read=display(value))
    return found


FIELD_LIMITS = Kind(
    "table of sizes",
    "a table of sizes by the name of the header field, * for all others",
    '{ Cookie = "4KiB", "*" = "16KiB" }',
    _field_limits,
)


# ------------------------------------------------------------------------------------------------------------
# Files

_T = _TOKEN.pattern
_MEDIA_TYPE = re.compile(rf'{_T}/{_T}(?:; ?{_T}=(?:{_T}|"[ !#-\[\]-~]*"))*')  # RFC 9110 8.3.1


def _file_name(value: object, _: Place) -> str:
    text = str_of(value)
    if text in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", text):
        raise ValueError("not a name")
    return text


FILE_NAME = Kind(
    "string", 'the name of a file without its folder, or "" for none', '"index.html"', _file_name
)


def _media_types(value: object, place: Place) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("not a table")
    for extension, kind in value.items():
        if not isinstance(extension, str) or not _EXTENSION.fullmatch(extension):
            raise Unfit("an extension with its dot", read=display(extension))
        if not isinstance(kind, str) or not _MEDIA_TYPE.fullmatch(kind):
            raise Unfit(f"a media type for {extension}", read=display(kind))
    return {extension.lower(): kind for extension, kind in value.items()}


MEDIA_TYPES = Kind(
    "table of strings",
    "a table of media types by extension",
    '{ ".wasm" = "application/wasm", ".txt" = "text/plain; charset=utf-8" }',
    _media_types,
)


def _charset(value: object, _: Place) -> str:
    text = str_of(value)
    if text and not _TOKEN.fullmatch(text):
        raise ValueError("not a token")
    return text


CHARSET = Kind("string", "the name of a character set", '"utf-8"', _charset)

# ------------------------------------------------------------------------------------------------------------
# Rules for fields

_VALUE = re.compile(r"(?:[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*)?")  # RFC 9110 5.5
_RULES = ("set", "add", "remove")


def _field_rules(value: object, _: Place) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("not a table")
    unknown = [name for name in value if name not in _RULES]
    if unknown:
        raise Unfit("set, add or remove", read=display(unknown[0]), example="response.set = { ... }")
    return {name: _removed(rule) if name == "remove" else _said(rule) for name, rule in value.items()}


def _removed(value: object) -> list[str]:
    if not isinstance(value, list):
        raise Unfit("a list of names of fields", read=display(value), example='{ remove = ["Server"] }')
    return [_field_name(name) for name in value]


def _said(value: object) -> list[tuple[str, str]]:
    """In written order; a list of strings is a field said more than once."""
    if not isinstance(value, dict):
        raise Unfit(
            "a table of strings", read=display(value), example='{ set = { X-Frame-Options = "DENY" } }'
        )
    said = []
    for name, values in value.items():
        for text in values if isinstance(values, list) and values else [values]:
            if not isinstance(text, str) or not _VALUE.fullmatch(text):
                raise Unfit(
                    f"a string without line breaks and outer blanks for {name} (RFC 9110 5.5)",
                    read=display(text),
                )
            said.append((_field_name(name), text))
    return said


FIELD_RULES = Kind(
    "table of rules",
    "a table with set, add or remove",
    '{ set = { X-Frame-Options = "DENY" }, remove = ["Server"] }',
    _field_rules,
)
