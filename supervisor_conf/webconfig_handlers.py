"""`<handlers>` of a web.config: for which paths and methods the app is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor_conf import setting_kinds
from supervisor_conf.setting_errors import Unfit
from supervisor_conf.webconfig_sections import Notes, shown
from supervisor_conf.webconfig_xml import Attribute, Element

_ATTRIBUTES = (
    "name", "path", "verb", "modules", "type", "scriptProcessor", "resourceType", "requireAccess",
    "allowPathInfo", "preCondition", "responseBufferLimit",
)  # fmt: skip
_READ = ("name", "path", "verb", "modules")
_ANY_RESOURCE = "Unspecified"  # of resourceType: files and folders or not

_ALL = "*"
_BELOW = re.compile(r"/?([^*?]+)/\*")


@dataclass(frozen=True, slots=True)
class Handled:
    """`methods` empty: all. The attributes tell where it stands."""

    path: str = "/"
    methods: tuple[str, ...] = ()
    path_attribute: Attribute | None = None
    methods_attribute: Attribute | None = None


def read_handlers(sections: Sequence[Element], modules: Sequence[str], notes: Notes) -> Handled:
    """What the handlers of one of these modules answer for; no handler is all of it, with a warning."""
    ours = [add for add in _additions(sections, notes) if _is_ours(add, modules, notes)]
    usable = [add for add in ours if _check(add, notes)]
    if not ours and sections:
        expected = f"one whose modules is {modules[0]}: every path and method is the app's"
        notes.warn(sections[-1].place, "no handler for the app", expected)
    if not usable:
        return Handled()
    if len(usable) == 1:
        return _one(usable[0], notes)
    return _several(usable, notes)


def _additions(sections: Iterable[Element], notes: Notes) -> list[Element]:
    """By name, as `<remove>` and `<clear>` leave them."""
    found: dict[str, Element] = {}
    for section in sections:
        for name, attribute in section.attributes.items():
            if name == "accessPolicy":
                notes.attribute_without_counterpart(attribute)
        notes.check_attributes(section, ("accessPolicy",))
        for child in section.children:
            if child.name == "clear":
                found.clear()
            elif child.name == "remove":
                name_ = notes.required(child, "name")
                found.pop(name_.value if name_ else "", None)
            elif child.name == "add":
                _add(child, found, notes)
            else:
                read = f"the element {shown(child.name)}"
                notes.refuse(child.place, read, "add, remove or clear")
    return list(found.values())


def _add(child: Element, found: dict[str, Element], notes: Notes) -> None:
    notes.check_attributes(child, _ATTRIBUTES)
    name = notes.required(child, "name")
    if name is None:
        return
    if name.value in found:
        line = found[name.value].place.line
        notes.refuse(name.place, shown(name.value), f"a name of its own, other than in line {line}")
        return
    found[name.value] = child


def _is_ours(add: Element, modules: Sequence[str], notes: Notes) -> bool:
    named = {module.strip().lower() for module in (add.get("modules") or "").split(",")}
    if named & {module.lower() for module in modules}:
        return True
    what = add.get("modules") or add.get("type") or add.get("name") or ""
    expected = "a handler for the app: Portico has no others, and what this one answered is the app's"
    notes.warn(add.place, f"a handler for {shown(what)}", expected)
    return False


def _check(add: Element, notes: Notes) -> bool:
    for name, attribute in add.attributes.items():
        unrestricted = name == "resourceType" and attribute.value == _ANY_RESOURCE
        if name in _ATTRIBUTES and name not in _READ and not unrestricted:
            notes.attribute_without_counterpart(attribute)
    return None not in (notes.required(add, "path"), notes.required(add, "verb"))


def _one(add: Element, notes: Notes) -> Handled:
    path, verb = add.attributes["path"], add.attributes["verb"]
    return Handled(_path(path, notes), _methods(verb, notes), path, verb)


def _several(adds: Sequence[Element], notes: Notes) -> Handled:
    """One app has one path: different ones are answered from the root."""
    each = [_one(add, notes) for add in adds]
    methods = () if any(not one.methods for one in each) else sum((one.methods for one in each), ())
    paths = {one.path for one in each}
    first = each[0]
    if len(paths) > 1:
        for one in each[1:]:
            if one.path_attribute is not None:
                read = shown(one.path_attribute.value)
                notes.warn(one.path_attribute.place, read, "one path for the app: every path is the app's")
    path = first.path if len(paths) == 1 else "/"
    return Handled(path, tuple(dict.fromkeys(methods)), first.path_attribute, first.methods_attribute)


def _path(attribute: Attribute, notes: Notes) -> str:
    """`*` is everything, `api/*` what begins with it; other patterns cannot be told apart here."""
    pattern = attribute.value
    if pattern == _ALL:
        return "/"
    below = _BELOW.fullmatch(pattern)
    if below is None:
        notes.warn(attribute.place, shown(pattern), '"*" or "NAME/*": every path is the app\'s')
        return "/"
    try:
        path = str(setting_kinds.APPLICATION_PATH.convert(f"/{below.group(1)}", _NOWHERE))
    except ValueError:
        notes.refuse(attribute.place, shown(pattern), "a path of a URL", 'path="api/*"')
        return "/"
    expected = f'"*", since the app sees {path} as its application path, which IIS would not tell it'
    notes.warn(attribute.place, shown(pattern), expected)
    return path


def _methods(attribute: Attribute, notes: Notes) -> tuple[str, ...]:
    verbs = [verb.strip() for verb in attribute.value.split(",")]
    if _ALL in verbs:
        return ()
    try:
        found = setting_kinds.METHODS.convert(verbs, _NOWHERE)
    except Unfit as problem:
        notes.refuse(
            attribute.place, problem.read or shown(attribute.value), problem.expected, 'verb="GET,HEAD"'
        )
        return ()
    return tuple(found) if isinstance(found, tuple) else ()


_NOWHERE = setting_kinds.Place(Path("/"))
