"""`[[front.modules]]` and `[[apps.NAME.modules]]`: which modules look at a request before its app, in written order.

Each table says `use` and the module's own options. The options of the modules that come with Portico stand in
`module_table.py` and are checked like every other key; those of others' are handed to them as they are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from stat import S_ISREG
from typing import Any

from supervisor_conf.expansion import expand
from supervisor_conf.module_table import SHIPPED
from supervisor_conf.setting_errors import Unfit, display
from supervisor_conf.setting_kinds import Place
from supervisor_conf.setting_reader import Reader
from supervisor_conf.setting_table import nearest
from supervisor_conf.toml_lines import KeyPath

ENTRY_POINTS = "portico.modules"
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """One table. `use`: a shipped module's name, an entry point of `portico.modules`, or `package.module:Class`.

    `options` is a JSON object in text: what it holds is the module's own affair, and as text it compares and travels
    between our processes like every other setting. Paths in it are absolute.
    """

    use: str
    options: str = "{}"
    files: tuple[str, ...] = ()
    """What the files that its options name looked like: so a reload sees that one has changed."""

    def values(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.options)
        return loaded


def read_modules(reader: Reader, path: KeyPath, data: object, place: Place) -> tuple[ModuleSettings, ...]:
    """The tables that are right; the others leave errors in `reader`."""
    if not isinstance(data, list) or not all(isinstance(table, dict) for table in data):
        reader.refuse(path, display(data), "tables", f'[[{".".join(path)}]] with use = "filtering"')
        return ()
    found = (_module(reader, (*path, str(number)), table, place) for number, table in enumerate(data))
    return tuple(module for module in found if module is not None)


def _module(reader: Reader, path: KeyPath, table: Mapping[str, Any], place: Place) -> ModuleSettings | None:
    use = table.get("use")
    if not isinstance(use, str) or not _is_known(use):
        _refuse(reader, path, use)
        return None
    options = {name: value for name, value in table.items() if name != "use"}
    keys = SHIPPED.get(use)
    files: tuple[str, ...] = ()
    if keys is not None:
        options = reader.keys(path, options, keys, place)
        if len(options) < len(keys):
            return None
        files = tuple(_look_of(value) for value in options.values() if isinstance(value, Path))
    else:
        options = _expanded(reader, path, options)
    return ModuleSettings(use, json.dumps(options, default=str, sort_keys=True), files)


def _look_of(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "missing"
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}" if S_ISREG(found.st_mode) else "no file"


def shipped_module(use: str, options: Mapping[str, Any], place: Place) -> ModuleSettings:
    """A module that comes with Portico, its other options at their defaults. Raises ValueError."""
    found = {key.name: key.kind.convert(options.get(key.name, key.default), place) for key in SHIPPED[use]}
    return ModuleSettings(use, json.dumps(found, default=str, sort_keys=True))


def _expanded(reader: Reader, path: KeyPath, options: Mapping[str, Any]) -> dict[str, Any]:
    """Another's options: only `${NAME}` means the same in them as everywhere."""
    found = {}
    for name, value in options.items():
        try:
            found[name] = expand(value, reader.environ)
        except Unfit as problem:
            reader.refuse((*path, name), problem.read, problem.expected, problem.example)
    return found


def _is_known(use: str) -> bool:
    return (
        use in SHIPPED
        or bool(_IMPORT_PATH.fullmatch(use))
        or bool(entry_points(group=ENTRY_POINTS, name=use))
    )


def _refuse(reader: Reader, path: KeyPath, use: object) -> None:
    near = nearest(use, SHIPPED) if isinstance(use, str) else ""
    shipped = f"{near}, perhaps" if near else f"one of {', '.join(SHIPPED)}"
    reader.refuse(
        (*path, "use"),
        "nothing" if use is None else display(use),
        f"a module: {shipped}; an entry point of {ENTRY_POINTS}; or package.module:Class",
        f'use = "{near or "filtering"}"',
    )
