"""Stacks as py-spy writes them, summed up.

`--format raw`: one line a stack, frames from the outermost one, separated by semicolons; then a blank and a count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]*?)(?::(?P<line>\d+))?\)")


@dataclass(frozen=True, slots=True)
class Frame:
    function: str
    file: str
    line: int  # 0: not known

    @property
    def where(self) -> str:
        return f"{self.function} ({self.file})"

    @property
    def at(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples by place. `own`: nothing of Python's was called from there (so what C does for it counts);
    `own_lines`: the same by line; `within`: there or in what it called."""

    samples: int
    own: Counter[str]
    own_lines: Counter[str]
    within: Counter[str]
    own_files: Counter[str]


def parse_stack(line: str) -> tuple[list[Frame], int] | None:
    """The frames and the count of one line; None for what is no stack."""
    stack, _, count = line.rpartition(" ")
    if not count.isdigit():
        return None
    frames = [_frame(text) for text in stack.split(";")]
    return [frame for frame in frames if frame is not None], int(count)


def _frame(text: str) -> Frame | None:
    found = _FRAME.fullmatch(text)
    if not found:
        return None  # "process 123:…", "thread …"
    return Frame(found["function"], _short(found["file"]), int(found["line"] or 0))


def _short(path: str) -> str:
    """The path from the package on."""
    return re.sub(r"^.*/(?:site-packages|lib/python3\.\d+)/", "", path)


def summed(lines: Iterable[str]) -> Profile:
    own: Counter[str] = Counter()
    own_lines: Counter[str] = Counter()
    within: Counter[str] = Counter()
    own_files: Counter[str] = Counter()
    samples = 0
    for line in lines:
        parsed = parse_stack(line)
        if parsed is None or not parsed[0]:
            continue
        frames, count = parsed
        samples += count
        last = frames[-1]
        own[last.where] += count
        own_lines[last.at] += count
        own_files[last.file] += count
        for where in {frame.where for frame in frames}:
            within[where] += count
    return Profile(samples, own, own_lines, within, own_files)
