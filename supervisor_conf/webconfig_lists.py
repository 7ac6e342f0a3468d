"""Collections of IIS in which each item has a key: `<add>`, `<remove>`, `<clear/>`, over all levels of a web.config."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from supervisor_conf.webconfig_sections import Notes, shown
from supervisor_conf.webconfig_table import FLAG, Form
from supervisor_conf.webconfig_xml import Attribute, Element


def children(owners: Sequence[Element], name: str) -> list[Element]:
    """The elements of this name of all levels, an earlier level first."""
    return [child for owner in owners for child in owner.named(name)]


def attributes(
    owners: Sequence[Element], known: Sequence[str], notes: Notes, silent: Sequence[str] = ()
) -> dict[str, Attribute]:
    """Those of all levels, a later one in place of an earlier one. `silent`: known, and without any meaning here."""
    found: dict[str, Attribute] = {}
    for owner in owners:
        notes.check_attributes(owner, (*known, *silent))
        found |= {name: owner.attributes[name] for name in known if name in owner.attributes}
    return found


def keyed(
    groups: Sequence[Element],
    key: str,
    more: Sequence[str],
    notes: Notes,
    *,
    inherited: Sequence[str] = (),
    normal: Callable[[str], str] = str.lower,
) -> dict[str, Element | None]:
    """What remains, by key. `inherited`: keys that IIS's own configuration has, None stands for their elements."""
    found: dict[str, Element | None] = {normal(name): None for name in inherited}
    for group in groups:
        for child in group.children:
            if child.name == "clear":
                notes.check_attributes(child, ())
                found.clear()
            elif child.name in ("add", "remove"):
                notes.check_attributes(child, (key, *more) if child.name == "add" else (key,))
                attribute = notes.required(child, key)
                if attribute is not None and child.name == "add":
                    found[normal(attribute.value)] = child
                elif attribute is not None:
                    found.pop(normal(attribute.value), None)
            else:
                notes.refuse(child.place, f"the element {shown(child.name)}", "add, remove or clear")
    return found


def value(
    attribute: Attribute | None, form: Form, default: object, notes: Notes, example: str = ""
) -> object:
    """The value; the default where there is no attribute, or an error."""
    if attribute is None:
        return default
    try:
        return form.convert(attribute.value)
    except ValueError:
        notes.refuse(attribute.place, shown(attribute.value), form.expected, example)
        return default


def flag(attribute: Attribute | None, default: bool, notes: Notes) -> bool:
    return value(attribute, FLAG, default, notes) is True
