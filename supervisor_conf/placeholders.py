"""Braces in `command`: {port} {host} {socket} {fd} are filled in at every start, `{{` and `}}` are braces."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAMES = ("port", "host", "socket", "fd")

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class BadPlaceholder(ValueError):
    """A brace that is neither doubled nor part of a known placeholder; `found` is what stands there."""

    def __init__(self, found: str):
        self.found = found
        super().__init__(f"{found} is no placeholder")


def fill(word: str, values: Mapping[str, str]) -> str:
    """The word with its placeholders replaced. Raises BadPlaceholder for a name that `values` lacks."""

    def piece(match: re.Match[str]) -> str:
        text = match.group()
        if text in ("{{", "}}"):
            return text[0]
        name = match.group(1)
        if name is None or name not in values:
            raise BadPlaceholder(text)
        return values[name]

    return _PIECE.sub(piece, word)


def names_in(word: str) -> tuple[str, ...]:
    """The placeholders a word uses, in order. Raises BadPlaceholder for an unknown one."""
    fill(word, dict.fromkeys(NAMES, ""))
    return tuple(match.group(1) for match in _PIECE.finditer(word) if match.group(1) is not None)
