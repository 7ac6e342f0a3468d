"""`<environmentVariables>` of a web.config, with ANCM's rules of precedence.

Names are compared without regard to case, a later entry takes the place of an earlier one, `<clear/>` forgets those
before it, a configured value goes before an inherited one (unless ANCM_PREFER_ENVIRONMENT_VARIABLES says otherwise).
No message ever shows a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supervisor_conf import setting_kinds
from supervisor_conf.setting_errors import Unfit
from supervisor_conf.webconfig_sections import Notes, collection, shown
from supervisor_conf.webconfig_table import SET_AT_EVERY_START, whole
from supervisor_conf.webconfig_words import PORT_MARK, PORT_NAMES, Expanded, Variables, as_word, expand
from supervisor_conf.webconfig_xml import Element, Place

_TOKEN = "ASPNETCORE_TOKEN"
_PREFER_INHERITED = "ANCM_PREFER_ENVIRONMENT_VARIABLES"
_PORT = whole(1, 65535)
_PORT_EXAMPLE = '<environmentVariable name="ASPNETCORE_PORT" value="5000" />'


@dataclass(frozen=True, slots=True)
class Environment:
    """`with_port`: the variables whose values are filled in at every start; `port` 0: a fresh one."""

    variables: tuple[tuple[str, str], ...] = field(repr=False)
    with_port: tuple[str, ...]
    port: int
    place_of_port: Place | None


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    value: Expanded = field(repr=False)
    place: Place


def read_environment(owners: Sequence[Element], inherited: Variables, notes: Notes) -> Environment:
    entries = _entries(owners, inherited, notes)
    variables: dict[str, str] = {}
    with_port: list[str] = []
    port, place_of_port = 0, None
    for key, entry in entries.items():
        if key in PORT_NAMES:
            port, place_of_port = _port(entry, notes), entry.place
        elif key == _TOKEN:
            expected = f"no {_TOKEN}, since the token is new at every start and never configured"
            notes.refuse(entry.place, "a value", expected)
        elif not _is_set_at_every_start(key, entry, notes) and not _is_inherited(entry, inherited, notes):
            name = _spelling(entry, inherited, notes)
            text = _as_path(entry.value)
            if PORT_MARK in text:
                with_port.append(name)
                text = as_word(text)
            if _is_lawful(name, text, entry.place, notes):
                variables[name] = text
    return Environment(tuple(variables.items()), tuple(with_port), port, place_of_port)


def _entries(owners: Sequence[Element], inherited: Variables, notes: Notes) -> dict[str, _Entry]:
    """The entries that count, by name in capitals."""
    entries: dict[str, _Entry] = {}
    items = collection(owners, "environmentVariables", "environmentVariable", notes, clear=entries.clear)
    for item in items:
        notes.check_attributes(item, ("name", "value"))
        name, value = notes.required(item, "name"), notes.required(item, "value")
        if name is None or value is None:
            continue
        place = Place(f"{item.place.path}[@name={shown(name.value)}]/@value", value.place.line)
        key = name.value.upper()
        if entries.pop(key, None) is not None:
            notes.warn(place, "a second value", "one for each name: the last one counts")
        expanded = expand(value.value, inherited, port=True)
        for unset in expanded.unset:
            expected = f"{unset} to be set in the environment: the value stays as it is written"
            notes.warn(place, f"%{unset}%, which is not set", expected)
        entries[key] = _Entry(name.value, expanded, place)
    return entries


def _port(entry: _Entry, notes: Notes) -> int:
    """Empty, or the port itself, is a fresh one."""
    text = entry.value.text.strip()
    if text in ("", PORT_MARK):
        return 0
    try:
        return int(str(_PORT.convert(text)))
    except ValueError:
        notes.refuse(entry.place, shown(text), f"{_PORT.expected}, or nothing for a fresh one", _PORT_EXAMPLE)
        return 0


def _is_set_at_every_start(key: str, entry: _Entry, notes: Notes) -> bool:
    if key not in SET_AT_EVERY_START and not key.startswith("PORTICO_"):
        return False
    if key != "PORT" or entry.value.text != PORT_MARK:
        expected = f"no {entry.name}, since Portico sets it at every start: this value has no effect"
        notes.warn(entry.place, "a value", expected)
    return True


def _is_inherited(entry: _Entry, inherited: Variables, notes: Notes) -> bool:
    """ANCM_PREFER_ENVIRONMENT_VARIABLES: what is inherited goes before what is configured."""
    if (inherited.get(_PREFER_INHERITED) or "").lower() not in ("1", "true"):
        return False
    if inherited.spelling(entry.name) is None:
        return False
    notes.warn(entry.place, "a value", f"the environment's own, since {_PREFER_INHERITED} is set")
    return True


def _as_path(value: Expanded) -> str:
    r"""`%HOME%\x` is a path where HOME is one; what else holds backslashes may mean them."""
    rooted = any(value.text.startswith(root + "\\") for root in value.roots)
    return value.text.replace("\\", "/") if rooted else value.text


def _spelling(entry: _Entry, inherited: Variables, notes: Notes) -> str:
    """As Windows would, `Path` replaces an inherited `PATH`; here they would be two variables."""
    name = inherited.spelling(entry.name) or entry.name
    if name != entry.name:
        expected = f"{name}, which is in the environment: that one gets the value"
        notes.warn(entry.place, entry.name, expected)
    return name


def _is_lawful(name: str, text: str, place: Place, notes: Notes) -> bool:
    try:
        setting_kinds.ENVIRONMENT.convert({name: text}, setting_kinds.Place(Path("/")))
    except Unfit as problem:
        notes.refuse(place, problem.read or shown(name), problem.expected)
        return False
    return True
