"""`<requestFiltering>`, `<ipSecurity>` and `<dynamicIpSecurity>` of a web.config -> options of the module `filtering`.

Only what is written is done: of IIS's own configuration, the list of hidden segments alone counts as inherited, once a
file adds to it or takes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final

from supervisor_conf import setting_kinds
from supervisor_conf.module_table import FILTERING
from supervisor_conf.setting_errors import Unfit
from supervisor_conf.webconfig_lists import attributes, children, flag, keyed, value
from supervisor_conf.webconfig_sections import FILTERING as SECTION
from supervisor_conf.webconfig_sections import REQUEST_LIMITS, Notes, Sections, shown
from supervisor_conf.webconfig_table import CONTENT_LENGTH, whole
from supervisor_conf.webconfig_xml import Attribute, Element, Place

_HIDDEN_BY_IIS: Final = (
    "web.config",
    "bin",
    "App_code",
    "App_GlobalResources",
    "App_LocalResources",
    "App_WebReferences",
    "App_Data",
    "App_Browsers",
)
_LONGEST: Final = 2**20  # of the options; a larger limit is none
_LENGTH: Final = whole(1, 2**32 - 1, " of characters")
_COUNT: Final = whole(1, 2**32 - 1)
_KINDS: Final = {key.name: key.kind for key in FILTERING}
_NOWHERE: Final = setting_kinds.Place(Path("/"))
_OF_FILTERING: Final = ("allowDoubleEscaping", "allowHighBitCharacters", "removeServerHeader")
_OF_QUERIES: Final = (
    "unescapeQueryString",
)  # how denyQueryStringSequences read them: each of those is a warning
_LISTS: Final = ("fileExtensions", "hiddenSegments", "verbs", REQUEST_LIMITS)

Network = IPv4Network | IPv6Network


@dataclass(slots=True)
class Filtered:
    """`options`: those of the module that are said. `longest_body`: the front's affair."""

    options: dict[str, object] = field(default_factory=dict)
    place: Place | None = None
    longest_body: tuple[object, Attribute] | None = None
    hides_server: bool = False

    def say(self, name: str, option: object, place: Place) -> None:
        self.options[name] = option
        self.place = self.place or place


def read_filtering(sections: Sections, notes: Notes) -> Filtered:
    found = Filtered()
    owners = sections.of(SECTION)
    _read_flags(owners, found, notes)
    for owner in owners:
        for child in owner.children:
            if child.name not in _LISTS:
                notes.no_counterpart(child)
    _read_listed(owners, _VERBS, found, notes)
    _read_listed(owners, _FILE_EXTENSIONS, found, notes)
    _read_segments(children(owners, "hiddenSegments"), found, notes)
    _read_limits(children(owners, REQUEST_LIMITS), found, notes)
    _read_addresses(sections.of("ipSecurity"), found, notes)
    _read_rates(sections.of("dynamicIpSecurity"), found, notes)
    return found


def _read_flags(owners: Sequence[Element], found: Filtered, notes: Notes) -> None:
    said = attributes(owners, _OF_FILTERING, notes, _OF_QUERIES)
    double = said.get("allowDoubleEscaping")
    if double is not None and not flag(double, True, notes):
        found.say("double_escaping", False, double.place)
    found.hides_server = flag(said.get("removeServerHeader"), False, notes)
    high = said.get("allowHighBitCharacters")
    if high is not None and not flag(high, True, notes):
        notes.attribute_without_counterpart(high)


# ------------------------------------------------------------------------------------------------------------
# Verbs, extensions, segments


@dataclass(frozen=True, slots=True)
class _Listed:
    """A collection whose items are allowed or not, and what becomes of those that are not in it."""

    name: str
    key: str
    allowed: str  # the option of those that may, if nobody else may
    denied: str
    written: Callable[[str], str]


def _verb(text: str) -> str:
    """IIS compares them without regard to case; HTTP does not (RFC 9110 9.1)."""
    return text.upper()


def _extension(text: str) -> str:
    return "" if text == "." else text.lower()


_VERBS = _Listed("verbs", "verb", "methods", "denied_methods", _verb)
_FILE_EXTENSIONS = _Listed("fileExtensions", "fileExtension", "extensions", "denied_extensions", _extension)


def _read_listed(owners: Sequence[Element], kind: _Listed, found: Filtered, notes: Notes) -> None:
    groups = children(owners, kind.name)
    # There is no WebDAV to apply it to.
    unlisted = attributes(groups, ("allowUnlisted",), notes, ("applyToWebDAV",)).get("allowUnlisted")
    options: dict[str, list[str]] = {kind.allowed: [], kind.denied: []}
    for text, element in keyed(groups, kind.key, ("allowed",), notes, normal=kind.written).items():
        assert element is not None  # nothing is inherited
        option = kind.allowed if flag(notes.required(element, "allowed"), True, notes) else kind.denied
        if _is_lawful(kind.denied, text, element.attributes[kind.key], notes):
            options[option].append(text)
    if options[kind.denied]:
        found.say(kind.denied, options[kind.denied], groups[0].place)
    if unlisted is None or flag(unlisted, True, notes):
        return
    if options[kind.allowed]:
        found.say(kind.allowed, options[kind.allowed], unlisted.place)
    else:
        expected = f'an <add {kind.key}="…" allowed="true" />, since nothing would be answered'
        notes.refuse(unlisted.place, shown(unlisted.value), expected)


def _read_segments(groups: Sequence[Element], found: Filtered, notes: Notes) -> None:
    attributes(groups, (), notes, ("applyToWebDAV",))
    segments = keyed(groups, "segment", (), notes, inherited=_HIDDEN_BY_IIS)
    lawful = [
        text
        for text, element in segments.items()
        if element is None or _is_lawful("hidden_segments", text, element.attributes["segment"], notes)
    ]
    if lawful and any(group.children for group in groups):
        found.say("hidden_segments", lawful, groups[0].place)


def _is_lawful(option: str, text: str, attribute: Attribute, notes: Notes) -> bool:
    """Whether this item may stand in the list that the option is."""
    try:
        _KINDS[option].convert([text], _NOWHERE)
    except Unfit as problem:
        notes.refuse(attribute.place, shown(attribute.value), problem.expected)
        return False
    return True


# ------------------------------------------------------------------------------------------------------------
# Lengths


def _read_limits(groups: Sequence[Element], found: Filtered, notes: Notes) -> None:
    said = attributes(groups, ("maxAllowedContentLength", "maxUrl", "maxQueryString"), notes)
    body = said.get("maxAllowedContentLength")
    length = value(body, CONTENT_LENGTH, None, notes, 'maxAllowedContentLength="30000000"')
    if body is not None and length is not None:
        found.longest_body = (length, body)
    for name, option in (("maxUrl", "max_path"), ("maxQueryString", "max_query")):
        longest = value(said.get(name), _LENGTH, None, notes)
        if isinstance(longest, int):
            found.say(option, longest if longest <= _LONGEST else 0, said[name].place)
    for group in groups:
        for child in group.children:
            if child.name != "headerLimits":
                notes.no_counterpart(child)
    limits: dict[str, object] = {}
    headers = keyed(children(groups, "headerLimits"), "header", ("sizeLimit",), notes)
    for name, element in headers.items():
        assert element is not None  # nothing is inherited
        limit = value(notes.required(element, "sizeLimit"), _LENGTH, None, notes)
        if isinstance(limit, int):
            _say_limit(limits, name, limit, element.attributes["header"], notes)
    if limits:
        found.say("max_fields", limits, groups[0].place)


def _say_limit(limits: dict[str, object], name: str, limit: int, header: Attribute, notes: Notes) -> None:
    try:
        _KINDS["max_fields"].convert({name: 1}, _NOWHERE)
    except Unfit as problem:
        notes.refuse(header.place, shown(header.value), problem.expected)
    else:
        limits[name] = min(limit, 16 * setting_kinds.MIB)


# ------------------------------------------------------------------------------------------------------------
# Addresses


def _read_addresses(owners: Sequence[Element], found: Filtered, notes: Notes) -> None:
    if not owners:
        return
    unread = ("enableReverseDns", "enableProxyMode", "denyAction")
    said = attributes(owners, ("allowUnlisted", *unread), notes)
    for name in unread:
        if name in said:
            notes.attribute_without_counterpart(said[name])
    allow: dict[Network, Element] = {}
    deny: dict[Network, Element] = {}
    for add in _addresses(owners, notes):
        network = _network(add, notes)
        if network is not None:
            (allow if flag(add.attributes.get("allowed"), False, notes) else deny)[network] = add
    _refuse_exceptions(allow, deny, notes)
    place = owners[-1].place
    if not flag(said.get("allowUnlisted"), True, notes):
        if allow:
            found.say("allow", _written(allow), place)
        else:
            found.say("deny", ["0.0.0.0/0", "::/0"], place)
    if deny and "deny" not in found.options:
        found.say("deny", _written(deny), place)


def _addresses(owners: Sequence[Element], notes: Notes) -> list[Element]:
    """Those that count, by all that makes an item of this collection."""
    found: dict[tuple[str, ...], Element] = {}
    keys = ("ipAddress", "subnetMask", "domainName")
    for child in (child for owner in owners for child in owner.children):
        notes.check_attributes(child, (*keys, "allowed"))
        key = tuple(child.get(name) or "" for name in keys)
        if child.name == "clear":
            found.clear()
        elif child.name == "add":
            found[key] = child
        elif child.name == "remove":
            found.pop(key, None)
        else:
            notes.refuse(child.place, f"the element {shown(child.name)}", "add, remove or clear")
    return list(found.values())


def _network(add: Element, notes: Notes) -> Network | None:
    address = add.get("ipAddress")
    text = f"{address}/{add.get('subnetMask')}" if add.get("subnetMask") else address or ""
    if add.get("domainName"):
        expected = "an ipAddress, since names are not looked up: whoever it is for would be somebody else"
        notes.refuse(add.attributes["domainName"].place, shown(add.get("domainName")), expected)
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        example = 'ipAddress="10.0.0.0" subnetMask="255.0.0.0"'
        notes.refuse(add.place, shown(text), "an IP address, with a subnetMask or without", example)
        return None


def _refuse_exceptions(allow: Mapping[Network, Element], deny: Collection[Network], notes: Notes) -> None:
    """Of the module, what is denied comes first, however narrow what is allowed."""
    for network, add in allow.items():
        wider = (network.supernet(new_prefix=length) for length in range(network.prefixlen + 1))
        denied = next((one for one in wider if one in deny), None)
        if denied is not None:
            expected = f"no exception from {denied}, since what is denied comes first"
            notes.refuse(add.place, shown(str(network)), expected)


def _written(networks: Iterable[Network]) -> list[str]:
    return [str(network) for network in networks]


# ------------------------------------------------------------------------------------------------------------
# Rates


def _read_rates(owners: Sequence[Element], found: Filtered, notes: Notes) -> None:
    names = ("denyAction", "enableProxyMode", "enableLoggingOnlyMode")
    said = attributes(owners, names, notes)
    for attribute in said.values():
        notes.attribute_without_counterpart(attribute)
    only_logged = flag(said.get("enableLoggingOnlyMode"), False, notes)
    for child in (child for owner in owners for child in owner.children):
        if child.name != "denyByRequestRate":
            notes.no_counterpart(child)
    groups = children(owners, "denyByRequestRate")
    limits = attributes(groups, ("enabled", "maxRequests", "requestIntervalInMilliseconds"), notes)
    if not flag(limits.get("enabled"), False, notes) or only_logged:
        return
    count = value(limits.get("maxRequests"), _COUNT, 20, notes)
    interval = value(limits.get("requestIntervalInMilliseconds"), _COUNT, 200, notes)
    if not isinstance(count, int) or not isinstance(interval, int):
        return
    place = groups[-1].place
    rate = round(count * 1000 / interval, 6)
    try:
        _KINDS["rate"].convert(rate, _NOWHERE)
    except ValueError:
        notes.refuse(place, f"{count} in {interval} ms", _KINDS["rate"].expected)
        return
    found.say("rate", rate, place)
    found.say("burst", min(count, 10**6), place)
