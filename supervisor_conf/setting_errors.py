"""What is wrong with a configuration, one error a sentence. All errors of a file are raised together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_READ = 80


class SettingsError(Exception):
    """One error: where, what was read, what is expected, and an example.

    `key` is the whole path («apps.shop.port»); `line` counts from 1 and is 0 where it is not known; `read`,
    `expected` and `example` are phrases of the sentence and never hold a value of an app's environment.
    """

    def __init__(
        self, key: str, read: str, expected: str, *, example: str = "", file: str = "", line: int = 0
    ):
        self.file = file
        self.line = line
        self.key = key
        self.read = read
        self.expected = expected
        self.example = example
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        tail = f", for example {self.example}" if self.example else ""
        wrong = f"read {self.read}; expected {self.expected}{tail}"
        return ": ".join(part for part in (where, self.key, wrong) if part)


@dataclass(frozen=True, slots=True)
class SettingsWarning:
    """What can be used but is not taken as it is written; the parts of a sentence as in `SettingsError`."""

    key: str
    read: str
    expected: str
    file: str = ""
    line: int = 0

    @property
    def error(self) -> SettingsError:
        return SettingsError(self.key, self.read, self.expected, file=self.file, line=self.line)


class InvalidSettings(Exception):
    """A configuration that cannot be used, with all its errors in the order of the file."""

    def __init__(self, errors: Sequence[SettingsError]):
        self.errors = tuple(errors)
        super().__init__("\n".join(error.sentence for error in self.errors))


class Unfit(ValueError):
    """A value does not fit its key. Raised by converters, which know neither the file nor the key.

    `read` replaces the display of the value (for values that must not be shown, or a part of a list).
    """

    def __init__(self, expected: str, *, read: str = "", example: str = ""):
        self.expected = expected
        self.read = read
        self.example = example
        super().__init__(expected)


def display(value: object) -> str:
    """A value as a person would write it in the file, on one line, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= LONGEST_READ else f"{text[: LONGEST_READ - 1]}…"
