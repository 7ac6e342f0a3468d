"""The bytes of a web.config -> a tree of elements with the line of every element and attribute.

Read by expat alone: a DOCTYPE is refused before anything in it is looked at, so there are no entities but XML's own
five, and nothing outside of the file is ever read. Size and depth are bounded.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

LARGEST = 250 * 1024
"""Bytes; as IIS has it (MaxWebConfigFileSizeInKB)."""

DEEPEST = 24
LONGEST_NAME = 100
"""Both only so that no file, however made, costs more than a moment; those of IIS stay far below."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ENCODINGS = ("utf-8", "us-ascii", "iso-8859-1", "windows-1252")
_DECLARED = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=<>"'/]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


class Unreadable(Exception):
    """The file is no XML that can be used: what was read, what is expected, in which line (0: not known)."""

    def __init__(self, read: str, expected: str, line: int = 0):
        self.read = read
        self.expected = expected
        self.line = line
        super().__init__(f"{read}; {expected}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: its XML path and its line, from 1."""

    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Attribute:
    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Element:
    name: str
    place: Place
    attributes: Mapping[str, Attribute]
    children: list[Element] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)
    """Lines on which text stands directly inside of it."""

    def named(self, name: str) -> list[Element]:
        return [child for child in self.children if child.name == name]

    def get(self, name: str) -> str | None:
        attribute = self.attributes.get(name)
        return attribute.value if attribute is not None else None


def parse(content: bytes) -> Element:
    """The root element. Raises Unreadable."""
    if len(content) > LARGEST:
        raise Unreadable("a longer file", f"at most {LARGEST // 1024} KiB, as IIS has it")
    return _Builder(_as_utf8(content)).build()


def _as_utf8(content: bytes) -> bytes:
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise Unreadable(f"bytes that are not {encoding.upper()}", "text in its encoding", line) from problem
    return text.removeprefix("\ufeff").encode("utf-8", "surrogatepass")


def _encoding(content: bytes) -> str:
    """A byte order mark decides; else the declaration does, which UTF-16 can do without a mark too."""
    for mark, name in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return name
    if content.startswith(b"<\0?\0"):
        return "utf-16-le"
    if content.startswith(b"\0<\0?"):
        return "utf-16-be"
    declared = _DECLARED.match(content)
    name = declared.group(1).decode("ascii").lower() if declared else "utf-8"
    if name not in _ENCODINGS:
        raise Unreadable(
            f"the encoding {name}", "UTF-8, or UTF-16 with a byte order mark", content.count(b"\n", 0, 1) + 1
        )
    return name


class _Builder:
    """One parse. expat is told that the bytes are UTF-8, whatever the declaration says."""

    def __init__(self, content: bytes):
        self._content = content
        self._root: Element | None = None
        self._open: list[Element] = []
        parser = expat.ParserCreate("utf-8")
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser

    def build(self) -> Element:
        try:
            self._parser.Parse(self._content, True)
        except expat.ExpatError as problem:
            what = expat.errors.messages.get(problem.code, "not well-formed")
            raise Unreadable(f"no XML ({what})", "well-formed XML", problem.lineno) from problem
        if self._root is None:
            raise Unreadable("no element", "the element configuration")
        return self._root

    def _doctype(self, *_: object) -> None:
        raise Unreadable("a DOCTYPE", "none, since a web.config has no entities", self._line)

    @property
    def _line(self) -> int:
        return self._parser.CurrentLineNumber

    def _start(self, name: str, names_and_values: Sequence[str]) -> None:
        if len(self._open) >= DEEPEST:
            raise Unreadable("elements within elements", f"at most {DEEPEST} levels of them", self._line)
        if len(name) > LONGEST_NAME:
            raise Unreadable("a longer name", f"names of at most {LONGEST_NAME} characters", self._line)
        path = f"{self._open[-1].place.path}/{name}" if self._open else name
        lines = self._lines_of_attributes(name)
        attributes = {
            key: Attribute(value, Place(f"{path}/@{key}", lines.get(key, self._line)))
            for key, value in zip(names_and_values[::2], names_and_values[1::2], strict=True)
        }
        element = Element(name, Place(path, self._line), attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        if text.strip():
            self._open[-1].texts.append(self._line)

    def _lines_of_attributes(self, name: str) -> dict[str, int]:
        """expat tells the line of a tag; its attributes may stand on lines of their own."""
        lines: dict[str, int] = {}
        line = self._line
        at = self._parser.CurrentByteIndex + len("<") + len(name.encode())
        while found := _ATTRIBUTE.match(self._content, at):
            line += self._content.count(b"\n", at, found.start(1))
            lines[found.group(1).decode()] = line
            line += self._content.count(b"\n", found.start(1), found.end())
            at = found.end()
        return lines
