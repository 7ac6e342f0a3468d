"""`<httpProtocol>` of a web.config -> options of the module `headers`, and whether connections are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from supervisor_conf import setting_kinds
from supervisor_conf.module_table import HEADERS
from supervisor_conf.setting_errors import Unfit
from supervisor_conf.webconfig_lists import attributes, children, flag, keyed
from supervisor_conf.webconfig_sections import Notes, shown
from supervisor_conf.webconfig_xml import Attribute, Element, Place

_RESPONSE: Final = next(key.kind for key in HEADERS if key.name == "response")
_NOWHERE: Final = setting_kinds.Place(Path("/"))


@dataclass(slots=True)
class Fields:
    """`added`: fields of every response. `closing`: where it is said that connections are not kept."""

    added: dict[str, str] = field(default_factory=dict)
    place: Place | None = None
    closing: Attribute | None = None


def read_fields(owners: Sequence[Element], notes: Notes) -> Fields:
    found = Fields()
    keep = attributes(owners, ("allowKeepAlive",), notes).get("allowKeepAlive")
    if keep is not None and not flag(keep, True, notes):
        found.closing = keep
    for child in (child for owner in owners for child in owner.children):
        if child.name != "customHeaders":
            notes.no_counterpart(child)
    groups = children(owners, "customHeaders")
    attributes(groups, (), notes)
    for element in keyed(groups, "name", ("value",), notes).values():
        assert element is not None  # nothing is inherited
        _add(element, found, notes)
    return found


def _add(element: Element, found: Fields, notes: Notes) -> None:
    name, text = element.attributes["name"], notes.required(element, "value")
    if text is None:
        return
    try:
        _RESPONSE.convert({"add": {name.value: text.value}}, _NOWHERE)
    except Unfit as problem:
        notes.refuse(element.place, problem.read or shown(text.value), problem.expected)
        return
    found.added[name.value] = text.value
    found.place = found.place or element.place
