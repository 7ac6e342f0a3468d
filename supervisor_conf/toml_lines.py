"""Lines of the keys in a TOML text, for errors: `tomllib` tells values and no places.

A scan of table headers and `key =` at the beginning of lines; keys inside inline tables are not found.
"""

from __future__ import annotations

import re
import tomllib

KeyPath = tuple[str, ...]

_PART = r"""(?:"[^"\\]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEY = re.compile(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")
_TABLE = re.compile(rf"\s*\[\s*({_PART}(?:\s*\.\s*{_PART})*)\s*\]\s*(?:#.*)?")
_TABLE_OF_LIST = re.compile(rf"\s*\[\[\s*({_PART}(?:\s*\.\s*{_PART})*)\s*\]\]\s*(?:#.*)?")
_LONG_QUOTE = re.compile(r'"""|' + "'''")


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """Path of every table and key found -> its line, from 1. `text` must be valid TOML.

    The tables of a list (`[[front.modules]]`) are counted from 0: `("front", "modules", "0")`.
    """
    lines: dict[KeyPath, int] = {}
    counted: dict[KeyPath, int] = {}
    table: KeyPath = ()
    long_quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not long_quote:
            if header := _TABLE.fullmatch(line):
                table = _counted(_path(header.group(1)), counted)
                lines.setdefault(table, number)
            elif header := _TABLE_OF_LIST.fullmatch(line):
                table = _path(header.group(1))
                lines.setdefault(table, number)
                counted[table] = counted.get(table, -1) + 1
                table = (*table, str(counted[table]))
                lines[table] = number
            elif key := _KEY.match(line):
                path = _path(key.group(1))
                for length in range(1, len(path) + 1):  # `response.set = …` is where `response` is, too
                    lines.setdefault(table + path[:length], number)
        for quote in _LONG_QUOTE.findall(line):
            if not long_quote:
                long_quote = quote
            elif quote == long_quote:
                long_quote = ""
    return lines


def _counted(path: KeyPath, counted: dict[KeyPath, int]) -> KeyPath:
    """`[front.modules.response]` belongs to the last of `[[front.modules]]`."""
    for length in range(len(path) - 1, 0, -1):
        if path[:length] in counted:
            return (*path[:length], str(counted[path[:length]]), *path[length:])
    return path


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of this key, else of the nearest table around it, else 0."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def _path(text: str) -> KeyPath:
    node: object = tomllib.loads(f"{text} = 0")
    path: list[str] = []
    while isinstance(node, dict):
        ((name, node),) = node.items()
        path.append(name)
    return tuple(path)
