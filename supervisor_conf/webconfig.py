"""A web.config of IIS -> values of the keys of `setting_table.py`: one app, in the folder of the file.

What the file says is done, or refused with its line, or named in a warning; nothing is passed over in silence.
`docs/web-config.md` has the whole table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor_conf import setting_kinds, setting_rules, webconfig_sections, webconfig_xml
from supervisor_conf.listen import absolute
from supervisor_conf.module_settings import shipped_module
from supervisor_conf.setting_errors import SettingsError, SettingsWarning, Unfit
from supervisor_conf.setting_table import APP, FRONT
from supervisor_conf.webconfig_access import read_access
from supervisor_conf.webconfig_environment import read_environment
from supervisor_conf.webconfig_fields import read_fields
from supervisor_conf.webconfig_filtering import read_filtering
from supervisor_conf.webconfig_handlers import read_handlers
from supervisor_conf.webconfig_initialization import read_initialization
from supervisor_conf.webconfig_sections import ASP_NET_CORE, HTTP_PLATFORM, Notes, Sections, collection, shown
from supervisor_conf.webconfig_table import (
    ATTRIBUTES,
    DEFAULT_LOG,
    DELAY,
    FLAG,
    HANDLER_SETTINGS,
    KNOWN,
    MODULES,
    Form,
    whole,
)
from supervisor_conf.webconfig_words import Reading, Variables, argument, as_word, expand, path_of, split
from supervisor_conf.webconfig_xml import Attribute, Element, Place

ENOUGH = webconfig_xml.LARGEST + 1
"""So many bytes of a file tell whether it is too long."""

EXAMPLE = '<aspNetCore processPath="dotnet" arguments=".\\shop.dll" />'

_KEYS = {key.name: key for key in (*FRONT, *APP)}
_COLLECTIONS = ("environmentVariables", "handlerSettings", "recycleOnFileChange")
_START_ATTEMPTS = 2
_NO_RELOAD, _SHUTDOWN_DELAY = "disallowRotationOnConfigChange", "shutdownDelay"
_LAUNCHER_PATH, _LAUNCHER_ARGUMENTS = "ANCM_LAUNCHER_PATH", "ANCM_LAUNCHER_ARGS"
_ERROR_LINK = "ANCM_ADDITIONAL_ERROR_PAGE_LINK"


@dataclass(frozen=True, slots=True)
class WebConfig:
    """`app` and `front`: values of keys, converted; keys that are not in them have their defaults.

    `places`: where the value of a key stands. With `errors` the values are not whole.
    """

    name: str
    app: Mapping[str, Any] = field(repr=False)
    front: Mapping[str, Any]
    places: Mapping[str, Place]
    errors: tuple[SettingsError, ...]
    warnings: tuple[SettingsWarning, ...]


def is_web_config(path: Path) -> bool:
    return path.suffix.lower() == ".config"


def read_web_config(content: bytes, file: Path, environ: Mapping[str, str]) -> WebConfig:
    """Whatever the bytes are: values, or errors."""
    base = file.absolute().parent
    name = setting_rules.app_name_from_folder(os.path.basename(os.path.normpath(base)))
    notes = Notes(str(file))
    reader = _Reader(setting_kinds.Place(base, name), Variables(environ), notes)
    try:
        root = webconfig_xml.parse(content)
    except webconfig_xml.Unreadable as problem:
        notes.refuse(Place("", problem.line), problem.read, problem.expected)
    else:
        reader.read(root)
    return WebConfig(name, reader.app, reader.front, reader.places, notes.errors, notes.warnings)


def error_of(conflict: setting_rules.Conflict, found: WebConfig, file: Path) -> SettingsError:
    """A conflict between keys, told with the place in the file that gives the value."""
    place = found.places.get(conflict.key, Place("", 0))
    return SettingsError(place.path, conflict.read, conflict.expected, file=str(file), line=place.line)


def _place_of(owner: Element, attribute: str) -> Place:
    """Where an attribute would stand that is not there."""
    return Place(f"{owner.place.path}/@{attribute}", owner.place.line)


class _Reader:
    """Reads one tree; `app`, `front` and `places` grow."""

    def __init__(self, place: setting_kinds.Place, variables: Variables, notes: Notes):
        self._place = place
        self._variables = variables
        self._notes = notes
        self._attributes: dict[str, Attribute] = {}
        self.app: dict[str, Any] = {}
        self.front: dict[str, Any] = {}
        self.places: dict[str, Place] = {}

    def read(self, root: Element) -> None:
        sections = webconfig_sections.find(root, self._notes)
        name = self._choose(root, sections)
        if not name:
            return
        owners = sections.of(name)
        self._collect_attributes(name, owners)
        self._read_command(owners[-1])
        self._read_keys()
        self._read_log(DEFAULT_LOG[name])
        self._read_model()
        self._read_environment(owners)
        self.front["reload_on_change"] = True  # as IIS does with a changed web.config
        self._read_settings_of_the_handler(owners)
        self._read_handlers(sections, MODULES[name])
        self._read_modules(sections)
        self._read_initialization(sections)
        self._read_link()

    def _choose(self, root: Element, sections: Sections) -> str:
        names = [name for name in (ASP_NET_CORE, HTTP_PLATFORM) if sections.of(name)]
        if len(names) == 1:
            return names[0]
        if names:
            place = sections.of(HTTP_PLATFORM)[-1].place
            self._notes.refuse(
                place, "httpPlatform beside aspNetCore", "one of the two, since one app is run"
            )
        elif not self._notes.errors:
            expected = "aspNetCore or httpPlatform in system.webServer"
            self._notes.refuse(root.place, "neither of its sections", expected, EXAMPLE)
        return ""

    # ------------------------------------------------------------------------------------------------------
    # Attributes

    def _collect_attributes(self, section: str, owners: list[Element]) -> None:
        """Those of all levels, a later one in place of an earlier one."""
        for owner in owners:
            retries = owner.attributes.get("startupRetryCount")
            if retries is not None and section == ASP_NET_CORE:
                expected = "no startupRetryCount, which is httpPlatform's: a start is tried twice"
                self._notes.refuse(retries.place, shown(retries.value), expected)
            self._notes.check_attributes(owner, KNOWN[section], besides=("startupRetryCount",))
            self._attributes |= {
                name: owner.attributes[name] for name in KNOWN[section] if owner.get(name) is not None
            }
            for child in owner.children:
                if child.name not in _COLLECTIONS:
                    read = f"the element {shown(child.name)}"
                    self._notes.refuse(child.place, read, f"one of {', '.join(_COLLECTIONS)}")

    def _read_keys(self) -> None:
        for one in ATTRIBUTES:
            attribute = self._attributes.get(one.name)
            if attribute is None:
                continue
            value = self._value(attribute, one.form, f'{one.name}="{one.example}"')
            if value is not None:
                self._set(self.app, one.key, not value if one.negated else value, attribute)

    def _value(self, attribute: Attribute, form: Form, example: str) -> object:
        """The value, or None and an error."""
        try:
            return form.convert(attribute.value)
        except ValueError:
            self._notes.refuse(attribute.place, shown(attribute.value), form.expected, example)
            return None

    def _set(self, table: dict[str, Any], name: str, value: object, attribute: Attribute) -> None:
        """The value of a key, as the key itself allows it."""
        key = _KEYS[name]
        self.places[name] = attribute.place
        try:
            table[name] = key.kind.convert(value, self._place)
        except ValueError:
            self._notes.refuse(attribute.place, shown(attribute.value), key.kind.expected)

    def _flag(self, name: str) -> bool:
        attribute = self._attributes.get(name)
        return attribute is not None and self._value(attribute, FLAG, f'{name}="false"') is True

    # ------------------------------------------------------------------------------------------------------
    # The command

    def _read_command(self, owner: Element) -> None:
        attribute = self._launched_instead("processPath", _LAUNCHER_PATH, owner)
        if attribute is None or not attribute.value.strip():
            place = attribute.place if attribute else _place_of(owner, "processPath")
            read = shown(attribute.value) if attribute else "nothing"
            self._notes.refuse(place, read, "the program to start", EXAMPLE)
            return
        self.places["command"] = attribute.place
        program = self._program(attribute)
        words = [program, *self._arguments(self._launched_instead("arguments", _LAUNCHER_ARGUMENTS, owner))]
        self.app["command"] = tuple(as_word(word) for word in words)

    def _launched_instead(self, name: str, variable: str, owner: Element) -> Attribute | None:
        """The attribute, or what a debugger has put into the environment: ANCM prefers that."""
        attribute = self._attributes.get(name)
        text = self._variables.get(variable)
        if not text or owner.name != ASP_NET_CORE:
            return attribute
        place = attribute.place if attribute else _place_of(owner, name)
        read = shown(attribute.value) if attribute else "nothing"
        self._notes.warn(place, read, f"{variable} of the environment, which goes before it")
        return Attribute(text, place)

    def _program(self, attribute: Attribute) -> str:
        expanded = expand(attribute.value, self._variables)
        for name in expanded.unset:
            expected = f"{name} to be set in the environment"
            self._notes.refuse(attribute.place, f"%{name}%, which is not set", expected)
        text = expanded.text.strip()
        if len(text) > 2 and text[0] == text[-1] == '"':
            text = text[1:-1]
        try:
            path = path_of(text)
        except Unfit as problem:
            self._notes.refuse(attribute.place, shown(text), problem.expected, 'processPath="dotnet"')
            return text
        if path.lower().endswith(".exe") and not (self._place.base / path).is_file():
            path = path[: -len(".exe")]
            expected = f"{shown(path)}, since programs of this machine have no .exe: that is what is started"
            self._notes.warn(attribute.place, shown(attribute.value), expected)
        return self._in_folder(path)

    def _in_folder(self, path: str) -> str:
        """A bare name is a program in the app's folder if there is one, else on the PATH, as ANCM has it."""
        if "/" in path or not path:
            return path
        file = self._place.base / path
        return f"./{path}" if file.is_file() and os.access(file, os.X_OK) else path

    def _arguments(self, attribute: Attribute | None) -> list[str]:
        if attribute is None:
            return []
        expanded = expand(attribute.value, self._variables, port=True)
        self._warn_of_unset(attribute, expanded.unset)
        words = []
        for word in split(expanded.text):
            read, reading = argument(word, expanded.roots)
            if reading is Reading.GUESSED_PATH:
                expected = f"{shown(read)} for a path: that is what the app gets"
                self._notes.warn(attribute.place, shown(word), expected)
            elif reading is Reading.WINDOWS_ONLY:
                expected = "a path of this machine: the app gets it as it is written"
                self._notes.warn(attribute.place, shown(word), expected)
            words.append(read)
        return words

    def _warn_of_unset(self, attribute: Attribute, names: tuple[str, ...]) -> None:
        for name in names:
            expected = f"{name} to be set in the environment: it stays as it is written"
            self._notes.warn(attribute.place, f"%{name}%, which is not set", expected)

    # ------------------------------------------------------------------------------------------------------
    # Log, hosting model, what has no effect

    def _read_log(self, default: str) -> None:
        self.app["stdout_log"] = ""
        enabled = self._flag("stdoutLogEnabled")
        attribute = self._attributes.get("stdoutLogFile")
        if attribute is not None:
            self.places["stdout_log"] = attribute.place
        elif enabled:
            self.places["stdout_log"] = self._attributes["stdoutLogEnabled"].place
        if not enabled:
            return
        text = default
        if attribute is not None and attribute.value:
            expanded = expand(attribute.value, self._variables)
            self._warn_of_unset(attribute, expanded.unset)
            text = expanded.text
        try:
            self.app["stdout_log"] = str(absolute(self._place.base, path_of(text)))
        except Unfit as problem:
            expected = f"{problem.expected}: the app runs without a log"
            self._notes.warn(self.places["stdout_log"], shown(text), expected)

    def _read_model(self) -> None:
        model = self._attributes.get("hostingModel")
        if model is not None and model.value.lower() == "inprocess":
            expected = "outofprocess, since every app is a process of its own: it is run out of process"
            self._notes.warn(model.place, shown(model.value), expected)
        elif model is not None and model.value.lower() not in ("", "outofprocess"):
            expected = "one of inprocess, outofprocess"
            self._notes.refuse(model.place, shown(model.value), expected, 'hostingModel="outofprocess"')
        if self._flag("forwardWindowsAuthToken"):
            expected = (
                "false, since this machine has no Windows tokens: none is forwarded "
                "(a delegated Kerberos ticket is: forward_credentials in a portico.toml)"
            )
            self._notes.warn(self._attributes["forwardWindowsAuthToken"].place, "true", expected)
        retries = self._attributes.get("startupRetryCount")
        if retries is not None:
            count = self._value(retries, whole(0, 100), f'startupRetryCount="{_START_ATTEMPTS}"')
            if count not in (None, _START_ATTEMPTS):
                expected = f"{_START_ATTEMPTS}, which is how often a start is tried"
                self._notes.warn(retries.place, shown(retries.value), expected)

    def _read_settings_of_the_handler(self, owners: list[Element]) -> None:
        for file in self._items(owners, "recycleOnFileChange", "file", ("path",)):
            expected = "nothing here, since ANCM never did it either: a change of this file has no effect"
            self._notes.warn(file.place, f"the file {shown(file.get('path'))}", expected)
        for setting in self._items(owners, "handlerSettings", "handlerSetting", ("name", "value")):
            name = setting.get("name") or ""
            if name == _NO_RELOAD:
                self._read_no_reload(setting)
                continue
            if name == _SHUTDOWN_DELAY:
                self._value(setting.attributes["value"], DELAY, f'name="{_SHUTDOWN_DELAY}" value="1000"')
            reason = HANDLER_SETTINGS.get(name, "Portico has no counterpart")
            self._notes.warn(setting.place, f"the setting {shown(name)}", f"nothing here, since {reason}")

    def _read_no_reload(self, setting: Element) -> None:
        attribute = setting.attributes["value"]
        value = self._value(attribute, FLAG, f'name="{_NO_RELOAD}" value="true"')
        if value is not None:
            self.front["reload_on_change"] = not value
            self.places["reload_on_change"] = attribute.place

    def _items(
        self, owners: list[Element], name: str, item: str, attributes: tuple[str, ...]
    ) -> list[Element]:
        found: list[Element] = []
        for child in collection(owners, name, item, self._notes, clear=found.clear):
            self._notes.check_attributes(child, attributes)
            if None not in [self._notes.required(child, attribute) for attribute in attributes]:
                found.append(child)
        return found

    # ------------------------------------------------------------------------------------------------------
    # Children and other sections

    def _read_environment(self, owners: list[Element]) -> None:
        found = read_environment(owners, self._variables, self._notes)
        self.app["environment"] = found.variables
        self.app["environment_with_port"] = found.with_port
        if found.place_of_port is not None:
            self.places["port"] = found.place_of_port
        if found.port:
            self.app["port"] = found.port
            self.app["overlap"] = False  # one port cannot be listened on by two generations

    def _read_handlers(self, sections: Sections, modules: tuple[str, ...]) -> None:
        handled = read_handlers(sections.of(webconfig_sections.HANDLERS), modules, self._notes)
        self.app["path"], self.app["methods"] = handled.path, handled.methods
        if handled.path_attribute is not None and handled.methods_attribute is not None:
            self.places["path"] = handled.path_attribute.place
            self.places["methods"] = handled.methods_attribute.place

    def _read_initialization(self, sections: Sections) -> None:
        found = read_initialization(sections.of(webconfig_sections.INITIALIZATION), self._notes)
        if found.eager is not None:
            self.app["start"] = "eager"
            self.places["start"] = found.eager.place
        if found.pages:
            self.app["warm_up"] = found.paths
            self.places["warm_up"] = found.pages[0].place

    def _read_link(self) -> None:
        """ANCM's way to put a link on the page of a failed start."""
        text = self._variables.get(_ERROR_LINK)
        if not text:
            return
        kind = _KEYS["startup_error_link"].kind
        try:
            self.app["startup_error_link"] = kind.convert(text, self._place)
        except ValueError:
            self._notes.warn(Place(_ERROR_LINK, 0), shown(text), f"{kind.expected}: the page has no link")

    def _read_modules(self, sections: Sections) -> None:
        """What modules of IIS did before the app; those that can refuse come first."""
        filtered = read_filtering(sections, self._notes)
        fields = read_fields(sections.of(webconfig_sections.PROTOCOL), self._notes)
        read_access(sections, self._notes)
        if filtered.longest_body is not None:
            self._set(self.front, "max_request_body", *filtered.longest_body)
        if fields.closing is not None:
            self._set(self.front, "keep_alive_timeout", 0, fields.closing)
        modules = []
        if filtered.options:
            options = {"hidden_segments": [], "double_escaping": True} | filtered.options
            modules.append(shipped_module("filtering", options, self._place))
        if fields.added or filtered.hides_server:
            rules = {"add": fields.added, "remove": ["Server"] if filtered.hides_server else []}
            modules.append(shipped_module("headers", {"response": rules}, self._place))
        if modules:
            self.app["modules"] = tuple(modules)
