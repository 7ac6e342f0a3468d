"""The options of the module `negotiate` (`module_table.py`)."""

from __future__ import annotations

import re
from typing import Final

from supervisor_conf import setting_kinds as kinds
from supervisor_conf.setting_kinds import Kind, Place, str_of
from supervisor_conf.setting_table import REQUIRED, Key

# RFC 4120 6.1 and 6.2: what may stand in names, without what has a meaning in them when they are written as text
_PLAIN = r"[!-?A-\[\]-~]+"


def _realm(text: str, _: Place) -> str:
    if not re.fullmatch(_PLAIN, text):
        raise ValueError("not a realm")
    return text


def _principal(value: object, _: Place) -> str:
    text = str_of(value)
    if text and not re.fullmatch(rf"{_PLAIN}@{_PLAIN}", text):
        raise ValueError("not a principal")
    return text


_REALMS = kinds.list_of("list of strings", "a list of names of Kerberos realms", '["EXAMPLE.ORG"]', _realm)
_PRINCIPAL = Kind(
    "string", 'a service with its realm, or "" for any', '"HTTP/www.example.org@EXAMPLE.ORG"', _principal
)


def _file(value: object, place: Place) -> object:
    found = kinds.OPTIONAL_FILE.convert(value, place)
    if found is None:
        raise ValueError("no path")
    return found


_FILE = Kind("path", "a path of a file", '"/etc/portico/http.keytab"', _file)


NEGOTIATE: Final = (
    Key(
        "keytab",
        _FILE,
        REQUIRED,
        "The keys of this service (`HTTP/www.example.org`), readable by whoever starts Portico and not by everybody.",
    ),
    Key("principal", _PRINCIPAL, "", 'The service whose tickets are taken; `""` is any of the keytab.'),
    Key("required", kinds.FLAG, True, "`false`: who shows no ticket passes unknown."),
    Key(
        "persist",
        kinds.choice("request", "connection"),
        "request",
        "A ticket speaks for its `request`, or for those after it on the same `connection` too.",
    ),
    Key("realms", _REALMS, [], "Realms whose users are admitted; empty is those of the keys in the keytab."),
    Key(
        "channel_binding",
        kinds.choice("offered", "required", "off"),
        "offered",
        "A token bound to another TLS connection is refused (`offered`), one bound to none as well (`required`), or "
        "bindings are not looked at (`off`).",
    ),
    Key(
        "strip_realm", kinds.FLAG, False, "The app is told `ann`, not `ann@EXAMPLE.ORG`; for one realm only."
    ),
)
