"""`<applicationInitialization>` of a web.config: pages that are asked when the app has started, before visitors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor_conf import setting_kinds
from supervisor_conf.webconfig_sections import Notes, shown
from supervisor_conf.webconfig_table import FLAG
from supervisor_conf.webconfig_xml import Attribute, Element

_EAGER = "doAppInitAfterRestart"
_ATTRIBUTES = (_EAGER, "skipManagedModules", "remapManagedRequestsTo")
_PAGE = "initializationPage"


@dataclass(frozen=True, slots=True)
class Initialization:
    """`pages`: each with its place; `eager`: where it is said that nobody is waited for."""

    pages: tuple[Attribute, ...] = ()
    eager: Attribute | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(page.value for page in self.pages)


def read_initialization(sections: Sequence[Element], notes: Notes) -> Initialization:
    """A later level adds its pages to those of an earlier one; `<clear/>` forgets them."""
    pages: dict[str, Attribute] = {}
    eager: Attribute | None = None
    for section in sections:
        notes.check_attributes(section, _ATTRIBUTES)
        for name, attribute in section.attributes.items():
            if name in _ATTRIBUTES and name != _EAGER:
                notes.attribute_without_counterpart(attribute)
        if _EAGER in section.attributes:
            eager = section.attributes[_EAGER] if _flag(section.attributes[_EAGER], notes) else None
        for child in section.children:
            _read_child(child, pages, notes)
    return Initialization(tuple(pages.values()), eager)


def _flag(attribute: Attribute, notes: Notes) -> bool:
    try:
        return FLAG.convert(attribute.value) is True
    except ValueError:
        notes.refuse(attribute.place, shown(attribute.value), FLAG.expected, f'{_EAGER}="true"')
        return False


def _read_child(child: Element, pages: dict[str, Attribute], notes: Notes) -> None:
    if child.name == "clear":
        pages.clear()
    elif child.name not in ("add", "remove"):
        notes.refuse(child.place, f"the element {shown(child.name)}", "add, remove or clear")
    else:
        _read_page(child, pages, notes)


def _read_page(child: Element, pages: dict[str, Attribute], notes: Notes) -> None:
    notes.check_attributes(child, (_PAGE, "hostName"))
    if "hostName" in child.attributes:
        notes.attribute_without_counterpart(child.attributes["hostName"])
    page = notes.required(child, _PAGE)
    if page is None:
        return
    if child.name == "remove":
        pages.pop(page.value, None)
        return
    path = page.value if page.value.startswith("/") else f"/{page.value}"
    try:
        setting_kinds.PATHS.convert([path], _NOWHERE)
    except ValueError:
        notes.refuse(page.place, shown(page.value), "a path of a URL", f'{_PAGE}="/warm"')
        return
    pages[page.value] = Attribute(path, page.place)


_NOWHERE = setting_kinds.Place(Path("/"))
