"""Which elements of a web.config count: the sections of `system.webServer`, in the order in which IIS merges them.

What stands directly below `configuration` comes first, then what `<location path=".">` adds or replaces. Everything
else is noted: as an error where IIS would refuse the file too, else as a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from supervisor_conf.setting_errors import LONGEST_READ, SettingsError, SettingsWarning
from supervisor_conf.setting_table import nearest
from supervisor_conf.webconfig_xml import Attribute, Element, Place

ASP_NET_CORE = "aspNetCore"
HTTP_PLATFORM = "httpPlatform"
HANDLERS = "handlers"
INITIALIZATION = "applicationInitialization"
PROTOCOL = "httpProtocol"
FILTERING = "requestFiltering"
REQUEST_LIMITS = "requestLimits"

_SECURITY = "security"
_SECTIONS = (ASP_NET_CORE, HTTP_PLATFORM, HANDLERS, INITIALIZATION, PROTOCOL, _SECURITY)
_OF_SECURITY = (FILTERING, "ipSecurity", "dynamicIpSecurity", "authentication", "authorization", "access")

# What Visual Studio once wrote at the root, and IIS passes over.
_OLD_NAMESPACE = "http://schemas.microsoft.com/.NetConfiguration/v2.0"
_WORTH_A_GUESS = 50  # errors: to look for the nearest name takes its time
_THIS_APP = ("", ".", "./")
_LOCATION = ("path", "inheritInChildApplications", "allowOverride", "overrideMode")
_LOCKS = (
    "lockAttributes",
    "lockElements",
    "lockItem",
    "lockAllAttributesExcept",
    "lockAllElementsExcept",
)
_NOTHING_COMES_OF_IT = "nothing here, since Portico has no counterpart: it has no effect"


def shown(text: str | None) -> str:
    """A value as it stands in the file, on one line, shortened."""
    line = "".join(char if char.isprintable() else "?" for char in text or "")
    return f'"{line}"' if len(line) <= LONGEST_READ else f'"{line[:LONGEST_READ]}…"'


class Notes:
    """What is wrong with one file, and what of it has no effect."""

    def __init__(self, file: str):
        self._file = file
        self._errors: list[SettingsError] = []
        self._warnings: list[SettingsWarning] = []

    @property
    def errors(self) -> tuple[SettingsError, ...]:
        return tuple(sorted(self._errors, key=lambda error: error.line))

    @property
    def warnings(self) -> tuple[SettingsWarning, ...]:
        return tuple(sorted(self._warnings, key=lambda warning: warning.line))

    def refuse(self, place: Place, read: str, expected: str, example: str = "") -> None:
        error = SettingsError(place.path, read, expected, example=example, file=self._file, line=place.line)
        self._errors.append(error)

    def warn(self, place: Place, read: str, expected: str) -> None:
        self._warnings.append(SettingsWarning(place.path, read, expected, self._file, place.line))

    def no_counterpart(self, element: Element) -> None:
        self.warn(element.place, f"the element {shown(element.name)}", _NOTHING_COMES_OF_IT)

    def attribute_without_counterpart(self, attribute: Attribute) -> None:
        self.warn(attribute.place, shown(attribute.value), _NOTHING_COMES_OF_IT)

    def check_attributes(
        self, element: Element, known: Collection[str], besides: Collection[str] = ()
    ) -> None:
        """IIS refuses attributes and text that the schema does not know, and so do we; `besides`: noted already."""
        for name, attribute in element.attributes.items():
            if name in _LOCKS:
                self.attribute_without_counterpart(attribute)
            elif ":" in name:
                expected = "no names with a prefix: a transform is applied before the file is used"
                self.refuse(attribute.place, f"the attribute {name}", expected)
            elif name not in known and name not in besides:
                near = nearest(name, known) if len(self._errors) < _WORTH_A_GUESS else ""
                expected = f"a known attribute, perhaps {near}" if near else _one_of(known)
                self.refuse(attribute.place, "an unknown attribute", expected)
        self.check_text(element)

    def check_text(self, element: Element) -> None:
        for line in element.texts:
            self.refuse(Place(element.place.path, line), "text", "attributes and elements only")

    def required(self, element: Element, name: str) -> Attribute | None:
        """This attribute, or an error where it is missing or, being a name, empty."""
        attribute = element.attributes.get(name)
        if attribute is None or (name == "name" and not attribute.value):
            place = element.place if attribute is None else attribute.place
            read = "nothing" if attribute is None else '""'
            self.refuse(Place(f"{element.place.path}/@{name}", place.line), read, f"{_article(name)} {name}")
            return None
        return attribute


@dataclass(frozen=True, slots=True)
class Sections:
    """The elements of each section, those that count more later. `elsewhere`: what `<security>` says in locations other
    than the app's own, whose rules for who may come in must not be passed over."""

    found: dict[str, list[Element]] = field(default_factory=dict)
    elsewhere: list[Sections] = field(default_factory=list)

    def of(self, name: str) -> list[Element]:
        return self.found.get(name, [])


def find(root: Element, notes: Notes) -> Sections:
    sections = Sections()
    if root.name != "configuration":
        notes.refuse(root.place, f"the element {shown(root.name)}", "the element configuration")
        return sections
    namespace = root.attributes.get("xmlns")
    if namespace is not None and namespace.value != _OLD_NAMESPACE:
        notes.refuse(namespace.place, shown(namespace.value), "no namespace")
    notes.check_attributes(root, ("xmlns",))
    for level in _levels(root, sections, notes):
        here: dict[str, Element] = {}
        for group in _walk(level, {"system.webServer"}, notes, skip=("location",)):
            _sections_of(group, here, notes)
        for name, element in here.items():
            sections.found.setdefault(name, []).append(element)
    return sections


def _levels(root: Element, sections: Sections, notes: Notes) -> Iterator[Element]:
    yield root
    for location in root.named("location"):
        if (location.get("path") or "") in _THIS_APP:
            notes.check_attributes(location, _LOCATION)
            yield location
        else:
            path = shown(location.get("path"))
            notes.warn(location.place, f"the location {path}", _NOTHING_COMES_OF_IT)
            sections.elsewhere.append(_security_of(location))


def _security_of(location: Element) -> Sections:
    sections = Sections()
    for group in location.named("system.webServer"):
        for part in (part for security in group.named(_SECURITY) for part in security.children):
            sections.found.setdefault(part.name, []).append(part)
    return sections


def _sections_of(group: Element, here: dict[str, Element], notes: Notes) -> None:
    notes.check_attributes(group, ())
    for section in _walk(group, _SECTIONS, notes):
        if section.name != _SECURITY:
            _put(section, here, notes)
            continue
        notes.check_attributes(section, ())
        for part in _walk(section, _OF_SECURITY, notes):
            _put(part, here, notes)


def _put(section: Element, here: dict[str, Element], notes: Notes) -> None:
    if section.name in here:
        first = here[section.name].place.line
        notes.refuse(section.place, "a second section of this name", f"one, which is in line {first}")
        return
    here[section.name] = section


def _walk(
    parent: Element, known: Collection[str], notes: Notes, skip: Collection[str] = ()
) -> Iterator[Element]:
    """The children that count; the others are noted."""
    for child in parent.children:
        if child.name in known:
            yield child
        elif child.name not in skip or parent.name != "configuration":
            _unknown(child, known, notes)


def _unknown(child: Element, known: Iterable[str], notes: Notes) -> None:
    """Names are case-sensitive: a known one in another case is a mistake, not somebody else's section."""
    meant = next((name for name in known if name.lower() == child.name.lower()), None)
    if meant:
        notes.refuse(child.place, f"the element {shown(child.name)}", f"{meant}: names are case-sensitive")
    else:
        notes.no_counterpart(child)


def collection(
    owners: Iterable[Element], name: str, item: str, notes: Notes, *, clear: Callable[[], None]
) -> Iterator[Element]:
    """The items of a collection such as environmentVariables, over all owners; `<clear/>` calls `clear`."""
    for owner in owners:
        for group in owner.named(name):
            notes.check_attributes(group, ())
            for child in group.children:
                if child.name == item:
                    yield child
                elif child.name == "clear":
                    notes.check_attributes(child, ())
                    clear()
                else:
                    read = f"the element {shown(child.name)}"
                    notes.refuse(child.place, read, f"{item} or clear")


def _one_of(names: Collection[str]) -> str:
    return f"one of {', '.join(names)}" if names else "no attributes"


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"
