"""Tables of TOML -> values of the keys of `setting_table.py`, collecting every error with its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from supervisor_conf.expansion import expand
from supervisor_conf.misplaced import tables_with
from supervisor_conf.setting_errors import InvalidSettings, SettingsError, Unfit, display
from supervisor_conf.setting_kinds import Place
from supervisor_conf.setting_table import REQUIRED, Key, nearest
from supervisor_conf.toml_lines import KeyPath, line_of, lines_of_keys

_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


class Reader:
    """Reads one file. `errors` grows; nothing is raised but for a text that is no TOML at all."""

    def __init__(self, file: str, environ: Mapping[str, str]):
        self._file = file
        self.environ = environ
        self._lines: dict[KeyPath, int] = {}
        self._errors: list[SettingsError] = []

    def parse(self, content: bytes) -> dict[str, Any]:
        """The tables of a file. Raises InvalidSettings with its one error."""
        try:
            text = content.decode("utf-8-sig")
            data = tomllib.loads(text)
        except UnicodeDecodeError as problem:
            line = content.count(b"\n", 0, problem.start) + 1
            error = SettingsError("", "bytes that are not UTF-8", "TOML in UTF-8", file=self._file, line=line)
            raise InvalidSettings([error]) from problem
        except tomllib.TOMLDecodeError as problem:
            place = _AT_LINE.search(str(problem))
            what = _AT_LINE.sub("", str(problem))
            line = int(place.group(1)) if place else 0
            error = SettingsError(
                "", f"no TOML ({what})", "TOML", example='name = "value"', file=self._file, line=line
            )
            raise InvalidSettings([error]) from problem
        self._lines = lines_of_keys(text)
        return data

    @property
    def errors(self) -> list[SettingsError]:
        """In the order of the file; errors without a line come last."""
        return sorted(self._errors, key=lambda error: error.line or 10**9)

    def refuse(self, path: KeyPath, read: str, expected: str, example: str = "") -> None:
        line = line_of(self._lines, path)
        key = ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else display(part) for part in path)
        self._errors.append(SettingsError(key, read, expected, example=example, file=self._file, line=line))

    def table(self, path: KeyPath, data: object) -> dict[str, Any]:
        """A table, or an error and an empty one."""
        if isinstance(data, dict):
            return data
        self.refuse(path, display(data), "a table", f"[{'.'.join(path)}]")
        return {}

    def keys(
        self, path: KeyPath, data: Mapping[str, Any], keys: tuple[Key, ...], place: Place
    ) -> dict[str, Any]:
        """Values of all keys that are right, defaults for those not written. A wrong key is left out."""
        known = {key.name: key for key in keys}
        for name in data:
            if name not in known:
                self._unknown((*path, name), known)
        values = {}
        for key in keys:
            try:
                values[key.name] = self._value(key, data, place)
            except Unfit as problem:
                read = problem.read or (display(data[key.name]) if key.name in data else "nothing")
                self.refuse((*path, key.name), read, problem.expected, problem.example)
        return values

    def _value(self, key: Key, data: Mapping[str, Any], place: Place) -> object:
        example = f"{key.name} = {key.shown_example}"
        if key.name not in data:
            if key.default is REQUIRED:
                raise Unfit(key.kind.expected, example=example)
            return key.kind.convert(key.default, place)
        try:
            value = key.kind.convert(expand(data[key.name], self.environ), place)
        except Unfit as problem:
            shown = problem.example or key.shown_example
            whole = shown if "=" in shown.partition("{")[0] else f"{key.name} = {shown}"
            raise Unfit(problem.expected, read=problem.read, example=whole) from problem
        except (ValueError, KeyError, OverflowError) as problem:
            raise Unfit(key.kind.expected, example=example) from problem
        return value

    def _unknown(self, path: KeyPath, known: Mapping[str, Key]) -> None:
        near = nearest(path[-1], known)
        elsewhere = tables_with(path[-1])
        if elsewhere:
            self.refuse(path, "an unknown key", f"it in {elsewhere}")
        elif near:
            self.refuse(
                path,
                "an unknown key",
                f"a known key, perhaps {near}",
                f"{near} = {known[near].shown_example}",
            )
        else:
            self.refuse(path, "an unknown key", f"one of {', '.join(known)}")
