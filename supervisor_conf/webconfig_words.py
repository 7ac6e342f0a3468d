"""How Windows reads what stands in a web.config: `%NAME%`, command lines, paths; and what that is on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from supervisor_conf.setting_errors import Unfit

PORT_NAMES = frozenset({"HTTP_PLATFORM_PORT", "ASPNETCORE_PORT"})

PORT_MARK = "\0"
"""Stands for the port until the text is a word: neither XML nor an environment can hold a NUL."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.()]*")


class Variables:
    """The environment as Windows looks into it: without regard to case, an exact name first."""

    def __init__(self, environ: Mapping[str, str]):
        self._exact = environ
        self._names: dict[str, str] = {}
        for name in environ:
            self._names.setdefault(name.upper(), name)

    def get(self, name: str) -> str | None:
        found = self.spelling(name)
        return None if found is None else self._exact[found]

    def spelling(self, name: str) -> str | None:
        """The name under which the environment has this variable, if it does."""
        return name if name in self._exact else self._names.get(name.upper())


@dataclass(frozen=True, slots=True)
class Expanded:
    """`unset`: names that are not in the environment and stay as written; `roots`: absolute paths put in."""

    text: str
    unset: tuple[str, ...]
    roots: tuple[str, ...]


def expand(text: str, variables: Variables, *, port: bool = False) -> Expanded:
    """`%NAME%` as ExpandEnvironmentStrings does it; with `port`, the port's names become PORT_MARK.

    A percent sign that begins no known name stays, and the next one may begin another.
    """
    done: list[str] = []
    unset: list[str] = []
    roots: list[str] = []
    at = 0
    while (start := text.find("%", at)) >= 0 and (end := text.find("%", start + 1)) >= 0:
        name = text[start + 1 : end]
        value = PORT_MARK if port and name.upper() in PORT_NAMES else variables.get(name)
        done.append(text[at:start])
        if value is None:
            done.append(text[start:end])
            unset += [name] if _NAME.fullmatch(name) else []
            at = end
            continue
        done.append(value)
        roots += [value] if value.startswith("/") else []
        at = end + 1
    return Expanded("".join([*done, text[at:]]), tuple(dict.fromkeys(unset)), tuple(dict.fromkeys(roots)))


def split(command_line: str) -> list[str]:
    """The words of a Windows command line behind its program, as the C runtime of every program there splits it.

    Only spaces and tabs part words. Backslashes are themselves, but before a double quote two are one, and an odd
    one makes the quote a character. Within quotes, two quotes are one. What is not closed ends with the text.
    """
    words: list[str] = []
    word: list[str] | None = None
    quoted = False
    at = 0
    while at < len(command_line):
        char = command_line[at]
        if char in " \t" and not quoted:
            words += ["".join(word)] if word is not None else []
            word = None
            at += 1
            continue
        word = [] if word is None else word
        slashes = _count_slashes(command_line, at)
        at += slashes
        if command_line[at : at + 1] != '"':
            word.append("\\" * slashes or char)
            at += 0 if slashes else 1
            continue
        word.append("\\" * (slashes // 2))
        doubled = quoted and command_line[at : at + 2] == '""'
        if slashes % 2 or doubled:
            word.append('"')
        else:
            quoted = not quoted
        at += 2 if doubled and not slashes % 2 else 1
    return words + (["".join(word)] if word is not None else [])


def _count_slashes(text: str, at: int) -> int:
    end = at
    while text[end : end + 1] == "\\":
        end += 1
    return end - at


def path_of(text: str) -> str:
    """A Windows path as a path of this machine. Raises Unfit for drives and network shares, which are not here."""
    text = text.removeprefix("\\\\?\\")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Unfit("a path on one line")
    if re.match(r"[A-Za-z]:", text) or text.startswith("\\\\") or text.upper().startswith("UNC\\"):
        raise Unfit("a path of this machine, which has no Windows drives and shares")
    return text.replace("\\", "/")


class Reading(Enum):
    """What a word of `arguments` was taken for."""

    AS_WRITTEN = "as written"
    PATH = "path"
    GUESSED_PATH = "guessed path"
    WINDOWS_ONLY = "windows only"


# `.\x`, also behind `--option=`
_RELATIVE = re.compile(r"((?:[^\\=]*=)?)(\.{1,2}\\.*)", re.DOTALL)
# `bin\shop.dll`: names parted by backslashes, the last with an extension
_NAMES = re.compile(r"[\w-]+(?:\\[\w.-]+)*\\[\w-][\w.-]*\.[A-Za-z]\w{0,9}")
_WINDOWS_ONLY = re.compile(r"(?:[^\\=]*=)?(?:[A-Za-z]:\\|\\\\\w)")


def argument(word: str, roots: Sequence[str] = ()) -> tuple[str, Reading]:
    """One word of `arguments` for a program of this machine, and what it was taken for.

    `roots`: absolute paths that `%NAME%` has put in; what follows one after a backslash is a path.
    """
    for root in roots:
        before, found, after = word.partition(root + "\\")
        if found:
            return f"{before}{root}/" + after.replace("\\", "/"), Reading.PATH
    if relative := _RELATIVE.fullmatch(word):
        return relative.group(1) + relative.group(2).replace("\\", "/"), Reading.PATH
    if _NAMES.fullmatch(word):
        return word.replace("\\", "/"), Reading.GUESSED_PATH
    return word, Reading.WINDOWS_ONLY if _WINDOWS_ONLY.match(word) else Reading.AS_WRITTEN


def as_word(text: str) -> str:
    """Text for `command` and other values with placeholders: braces doubled, the port's mark filled in."""
    return text.replace("{", "{{").replace("}", "}}").replace(PORT_MARK, "{port}")
