"""What of `<security>` in a web.config decides who may come in: `<authentication>`, `<authorization>`, `<access>`.

Portico has modules for that, but a web.config has no place for their keys and files. What would keep somebody out is an
error: a warning would let everybody in.
"""

from __future__ import annotations

from typing import Final

from supervisor_conf.webconfig_lists import attributes, children, flag
from supervisor_conf.webconfig_sections import Notes, Sections, shown
from supervisor_conf.webconfig_xml import Element, Place

_ANONYMOUS: Final = "anonymousAuthentication"
_RULES: Final = ("accessType", "users", "roles", "verbs")
_CURE_OF_ADDRESSES: Final = (
    "a portico.toml with an app of its own for this path, since a web.config describes one app: "
    "here everybody would come in"
)
_CURE: Final = (
    "a portico.toml with a module that asks who it is, since a web.config has no place for its keys: "
    "here everybody would come in"
)


def read_access(sections: Sections, notes: Notes) -> None:
    """`ipSecurity` of the app itself is a module's (`webconfig_filtering.py`)."""
    for one in (sections, *sections.elsewhere):
        _read_authentication(one, notes)
        _read_authorization(one, notes)
        _read_channel(one, notes)
    for one in sections.elsewhere:
        _read_addresses(one, notes)


def _read_authentication(sections: Sections, notes: Notes) -> None:
    owners = sections.of("authentication")
    for owner in owners:
        notes.check_attributes(owner, ())
    for name in dict.fromkeys(child.name for owner in owners for child in owner.children):
        elements = children(owners, name)
        said = {key: attribute for element in elements for key, attribute in element.attributes.items()}
        enabled = said.get("enabled")
        if name == _ANONYMOUS:
            if enabled is not None and not flag(enabled, True, notes):
                notes.refuse(enabled.place, shown(enabled.value), _CURE)
        elif enabled is not None and flag(enabled, False, notes):
            notes.no_counterpart(elements[-1])


def _read_authorization(sections: Sections, notes: Notes) -> None:
    """URL authorization; that everybody may is what it says without a rule."""
    owners = sections.of("authorization")
    attributes(owners, ("bypassLoginPages",), notes)
    for child in (child for owner in owners for child in owner.children):
        if child.name == "clear":
            continue
        notes.check_attributes(child, _RULES)
        everybody = (child.get("accessType") or "").lower() == "allow" and child.get("users") == "*"
        if child.name == "add" and everybody and not child.get("verbs"):
            continue
        notes.refuse(child.place, f"the rule {_rule(child)}", _CURE)


def _rule(child: Element) -> str:
    words = [child.name, *(f"{name}={child.get(name)}" for name in _RULES if child.get(name))]
    return shown(" ".join(words))


def _read_channel(sections: Sections, notes: Notes) -> None:
    flags = attributes(sections.of("access"), ("sslFlags",), notes).get("sslFlags")
    if flags is None:
        return
    named = {name.strip().lower() for name in flags.value.split(",")}
    if "sslrequirecert" in named:
        notes.refuse(Place(flags.place.path, flags.place.line), shown(flags.value), _CURE)
    elif named - {"none", ""}:
        notes.attribute_without_counterpart(flags)


def _read_addresses(sections: Sections, notes: Notes) -> None:
    """Of a location that is not the app's: a module's lists are for all of the app."""
    owners = sections.of("ipSecurity")
    for owner in owners:
        unlisted = owner.attributes.get("allowUnlisted")
        if unlisted is not None and not flag(unlisted, True, notes):
            notes.refuse(unlisted.place, shown(unlisted.value), _CURE_OF_ADDRESSES)
    for child in children(owners, "add"):
        if not flag(child.attributes.get("allowed"), False, notes):
            notes.refuse(child.place, f"the address {shown(child.get('ipAddress'))}", _CURE_OF_ADDRESSES)
