"""Kinds of values a key of the configuration can have: how each is read, what it is called, what it expects.

Strings stand for numbers and truth values too («"8080"», «"true"»), since `${NAME}` can only give strings.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from supervisor_conf import placeholders
from supervisor_conf.listen import absolute, host_name, parse_listen
from supervisor_conf.setting_errors import Unfit, display

KIB = 1024
MIB = 1024 * KIB
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Place:
    """What a relative value refers to: the folder of the file, and the app (for `{app}`)."""

    base: Path
    app: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """`word` names the kind in the reference, `expected` and `example` (TOML) complete an error's sentence.

    `convert` takes a value of TOML, its strings already expanded, and raises Unfit or ValueError.
    """

    word: str
    expected: str
    example: str
    convert: Callable[[object, Place], object]


# ------------------------------------------------------------------------------------------------------------
# Single values

_UNITS = {"ms": 0.001, "s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
_PARTS = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_CLOCK = re.compile(r"(?:([0-9]+)\.)?([0-9]{1,2}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]+)?)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZES = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": 1024 * MIB, "tib": 1024 * 1024 * MIB}
_SIZES |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-zA-Z]*)")


def seconds(value: object) -> float:
    """A duration: a number of seconds, «90s», «2m», «1h30m», «00:02:00», «1.00:00:00» (days).

    Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError("not finite")
        return float(value)
    text = str_of(value).replace(" ", "")
    if _NUMBER.fullmatch(text):
        return float(text)
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, rest = clock.groups()
        return int(days or 0) * DAY + int(hours) * HOUR + int(minutes) * MINUTE + float(rest)
    if _PARTS.fullmatch(text):
        return sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    raise ValueError("not a duration")


def bytes_of(value: object) -> int:
    """A size: a whole number of bytes, «64KiB», «1.5GiB», «10MB». Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str_of(value).strip())
    unit = _SIZES.get(match.group(2).lower()) if match else None
    if match is None or unit is None:
        raise ValueError("not a size")
    return round(float(match.group(1)) * unit) if "." in match.group(1) else int(match.group(1)) * unit


def whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if re.fullmatch(r"[0-9]{1,18}", str_of(value)):
        return int(str_of(value))
    raise ValueError("not a whole number")


def str_of(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("not a string")


def duration(low: float, high: float, example: str = '"90s"') -> Kind:
    expected = f"a duration from {low:g} to {high:.10g} seconds"
    return Kind("duration", expected, example, lambda value, _: _within(seconds(value), low, high))


def size(low: int, high: int, example: str = '"10MiB"') -> Kind:
    expected = f"a size from {low} to {high} bytes"
    return Kind("size", expected, example, lambda value, _: _within(bytes_of(value), low, high))


def integer(low: int, high: int, example: str) -> Kind:
    expected = f"a whole number from {low} to {high}"
    return Kind("integer", expected, example, lambda value, _: _within(whole(value), low, high))


def choice(*words: str) -> Kind:
    def convert(value: object, _: Place) -> str:
        if value not in words:
            raise ValueError("none of the words")
        return str(value)

    return Kind("string", "one of " + ", ".join(words), f'"{words[0]}"', convert)


_Number = TypeVar("_Number", int, float)


def _within(value: _Number, low: float, high: float) -> _Number:
    if not low <= value <= high:
        raise ValueError("out of range")
    return value


def _flag(value: object, _: Place) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}[str_of(value)]


def _text(value: object, _: Place) -> str:
    return _one_line(str_of(value))


def _one_line(text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("control character")
    return text


def _user(value: object, _: Place) -> str:
    text = str_of(value)
    if text and not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.@-]*\$?", text):
        raise ValueError("not a user name")
    return text


def _pseudonym(value: object, _: Place) -> str:
    text = str_of(value)
    if text and not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(:[0-9]{1,5})?", text):
        raise ValueError("not a token")
    return text


def _tls_version(value: object, _: Place) -> str:
    """TOML's number 1.2 means what the string does."""
    text = str(value) if isinstance(value, float) else str_of(value)
    if text not in ("1.2", "1.3"):
        raise ValueError("none of the versions")
    return text


_REDIRECTS = (301, 302, 307, 308)


def _redirect(value: object, _: Place) -> int:
    if value in ("off", False):
        return 0
    status = whole(value)
    if status not in _REDIRECTS:
        raise ValueError("no redirect")
    return status


TLS_VERSION = Kind("string", "1.2 or 1.3", '"1.2"', _tls_version)
REDIRECT = Kind("status", 'one of 301, 302, 307, 308, or "off"', "308", _redirect)
_USER_HEADERS = ("X-Remote-User", "Remote-User")
"""Names that no visitor and no proxy gets through with, whatever is configured (`proxy/headers.py`)."""


def _user_header(value: object, _: Place) -> str:
    text = str_of(value)
    return text and {name.lower(): name for name in _USER_HEADERS}[text.lower()]


REMOTE_USER_HEADER = Kind(
    "string", f'{" or ".join(_USER_HEADERS)}, or "" for none', '"X-Remote-User"', _user_header
)
FLAG = Kind("boolean", "true or false", "true", _flag)
TEXT = Kind("string", "a string on one line", '"..."', _text)
PSEUDONYM = Kind("string", "a name without blanks (RFC 9110 7.6.3)", '"portico"', _pseudonym)
USER = Kind("string", "a user of this machine, by name or number", '"www-data"', _user)


def _workers(value: object, _: Place) -> int:
    if value == "auto":
        return len(os.sched_getaffinity(0))
    return _within(whole(value), 1, 1024)


def _max_connections(value: object, _: Place) -> int:
    return 0 if value == "auto" else _within(whole(value), 1, 10**6)


MAX_CONNECTIONS = Kind(
    'integer or "auto"', 'a whole number from 1 to 1000000, or "auto"', "10000", _max_connections
)
WORKERS = Kind('integer or "auto"', 'a whole number from 1 to 1024, or "auto"', '"auto"', _workers)

# ------------------------------------------------------------------------------------------------------------
# Paths


def _folder(value: object, place: Place) -> Path:
    text = _one_line(str_of(value))
    if not text:
        raise ValueError("empty")
    return absolute(place.base, text)


def _optional_file(value: object, place: Place) -> Path | None:
    return None if value == "" else _folder(value, place)


def _log(value: object, place: Place) -> str:
    """A path, "" or "-". `access_log` and `stdout_log`; only the latter has an app for {app}."""
    text = _one_line(str_of(value))
    if text in ("", "-"):
        return text
    if place.app:
        try:
            text = placeholders.fill(text, {"app": place.app})
        except placeholders.BadPlaceholder as problem:
            raise Unfit("a path, where only {app} is filled in", example='"logs/{app}/stdout"') from problem
    return str(absolute(place.base, text))


FOLDER = Kind("path", "a path", '"run"', _folder)
OPTIONAL_FILE = Kind("path", 'a path, or "" for none', '"shop.env"', _optional_file)
LOG = Kind("path", 'a path, "-" for the terminal, or "" for none', '"logs/{app}/stdout"', _log)

# ------------------------------------------------------------------------------------------------------------
# What a request asks for

# RFC 3986, 3.3: pchar and "/"
_URL_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"})


def url_path(text: str) -> str:
    """An absolute path of a URL, without a query, without empty or dot segments. Raises ValueError."""
    segments = text.split("/")[1:]
    if not _URL_PATH.fullmatch(text) or {".", ".."} & set(segments) or "" in segments[:-1]:
        raise ValueError("not a path")
    return text


def _application_path(value: object, _: Place) -> str:
    return url_path(str_of(value)).rstrip("/") or "/"


def _ready(value: object, _: Place) -> str:
    text = str_of(value)
    if text == "listen":
        return text
    path, question, query = text.partition("?")
    if question and not re.fullmatch(r"[!-~]*", query):
        raise ValueError("not a query")
    return url_path(path) + question + query


def _probe(value: object, place: Place) -> str:
    return "" if value == "" else _ready(value, place)


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("not a token")
    if text.upper() in _USUAL_METHODS and text.upper() != text:
        raise Unfit(f"{text.upper()}, since methods are case-sensitive")
    return text


APPLICATION_PATH = Kind("string", "an absolute path of a URL without a query", '"/shop"', _application_path)
READY = Kind("string", '"listen", or an absolute path of a URL', '"/healthz"', _ready)
PROBE = Kind("string", 'an absolute path of a URL, or "" for none', '"/healthz"', _probe)


def _link(value: object, _: Place) -> str:
    text = str_of(value)
    if text and not re.fullmatch(r"https?://[!-~]{1,2000}", text):
        raise ValueError("not a link")
    return text


LINK = Kind("string", 'an http or https URL, or "" for none', '"https://wiki.example.com/shop"', _link)

# ------------------------------------------------------------------------------------------------------------
# Lists and tables


def _strings(value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("not a list of strings")


def list_of(word: str, expected: str, example: str, item: Callable[[str, Place], object]) -> Kind:
    def convert(value: object, place: Place) -> tuple[object, ...]:
        found = []
        for text in _strings(value):
            try:
                found.append(item(text, place))
            except Unfit as problem:
                raise Unfit(
                    problem.expected, read=problem.read or display(text), example=example
                ) from problem
            except ValueError as problem:
                raise Unfit(expected, read=display(text), example=example) from problem
        if len(set(found)) < len(found):
            raise Unfit(f"{expected}, each once", example=example)
        return tuple(found)

    return Kind(word, expected, example, convert)


def _listens(value: object, place: Place) -> object:
    found = _LISTEN_LIST.convert([value] if isinstance(value, str) else value, place)
    if not found:
        raise ValueError("no address")
    return found


_LISTEN_LIST = list_of(
    "list of addresses",
    "a list of addresses such as http://HOST:PORT, unix:/path or fd:N",
    '["http://127.0.0.1:8080"]',
    lambda text, place: parse_listen(text, place.base),
)
LISTEN = Kind(_LISTEN_LIST.word, _LISTEN_LIST.expected, _LISTEN_LIST.example, _listens)
HOSTS = list_of(
    "list of strings",
    "a list of host names without a port",
    '["shop.example"]',
    lambda text, _: host_name(text),
)
METHODS = list_of(
    "list of strings", "a list of request methods", '["GET", "HEAD"]', lambda text, _: _method(text)
)
STRINGS = list_of("list of strings", "a list of strings", '["..."]', lambda text, _: _one_line(text))
PATHS = list_of("list of strings", "a list of absolute paths of URLs", '["/"]', _ready)
NETWORKS = list_of(
    "list of strings",
    'a list of networks, or "unix"',
    '["10.0.0.0/8", "::1"]',
    lambda text, _: text if text == "unix" else str(ipaddress.ip_network(text, strict=False)),
)


def _command(value: object, _: Place) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as problem:
            raise Unfit(f"shell words that end ({problem})".replace("No c", "no c")) from problem
    else:
        words = _strings(value)
    if not words or not words[0] or any("\0" in word for word in words):
        raise ValueError("no command")
    return checked_words(words)


def checked_words(words: list[str]) -> tuple[str, ...]:
    """The words of a command, their placeholders looked at, not filled in. Raises Unfit."""
    for word in words:
        try:
            placeholders.names_in(word)
        except placeholders.BadPlaceholder as problem:
            raise Unfit(
                "{port}, {host}, {socket} or {fd} as a placeholder, {{ and }} as braces",
                read=f"{display(problem.found)} in {display(word)}",
                example='"serve --port {port}"',
            ) from problem
    return tuple(words)


COMMAND = Kind(
    "string or list of strings",
    "a command: one string of shell words, or a list of strings",
    '"uvicorn shop.asgi:app"',
    _command,
)

_FIXED = "is set by Portico at every start"
_RESERVED: Mapping[str, str] = {
    "ASPNETCORE_TOKEN": "another name, since the token is new at every start and never configured",
    "PORT": f"the key `port` instead, since PORT {_FIXED}",
    "ASPNETCORE_PORT": f"the key `port` instead, since ASPNETCORE_PORT {_FIXED}",
    "HTTP_PLATFORM_PORT": f"the key `port` instead, since HTTP_PLATFORM_PORT {_FIXED}",
    "ASPNETCORE_APPL_PATH": f"the key `path` instead, since ASPNETCORE_APPL_PATH {_FIXED}",
    "HTTP_PLATFORM_APPL_PATH": f"the key `path` instead, since HTTP_PLATFORM_APPL_PATH {_FIXED}",
    "HOST": f"another name, since HOST {_FIXED}",
    "LISTEN_FDS": f"another name, since LISTEN_FDS {_FIXED}",
    "LISTEN_PID": f"another name, since LISTEN_PID {_FIXED}",
}


def _environment(value: object, _: Place) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Unfit('a table of strings, such as { NAME = "value" }', read=f"a {_toml_type(value)}")
    for name, text in value.items():
        _environment_entry(name, text)
    return tuple(value.items())


def _environment_entry(name: str, text: object) -> None:
    """Raises Unfit whose sentence shows the name and never the value."""
    if not re.fullmatch(r"[!-<>-~]+", name):
        raise Unfit("the name of a variable", read=display(name), example='{ NAME = "value" }')
    if expected := _RESERVED.get(name.upper() if name.upper().startswith("ASPNETCORE_") else name):
        raise Unfit(expected, read=name)
    if name.startswith("PORTICO_"):
        raise Unfit("a name that does not begin with PORTICO_, which Portico keeps for itself", read=name)
    if not isinstance(text, str):
        raise Unfit(
            "a string for each name", read=f"a {_toml_type(text)} for {name}", example=f'{{ {name} = "1" }}'
        )
    if "\0" in text:
        raise Unfit("a value without NUL", read=name)


def _toml_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", list: "list", dict: "table", str: "string"}
    return names.get(type(value), "date or time")


ENVIRONMENT = Kind("table of strings", "a table of strings", '{ NAME = "value" }', _environment)

_LIMITS: Mapping[str, Callable[[object], float]] = {"requests": whole, "age": seconds, "memory": bytes_of}


def _recycle_after(value: object, _: Place) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, dict) or not set(value) <= set(_LIMITS):
        raise ValueError("not a table of limits")
    return tuple((name, float(_LIMITS[name](limit))) for name, limit in value.items())


RECYCLE_AFTER = Kind(
    "table", "a table with requests, age or memory", '{ requests = 10000, age = "24h" }', _recycle_after
)
