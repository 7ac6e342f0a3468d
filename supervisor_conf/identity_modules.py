"""Options of the modules that find out who a visitor is. Part of `module_table.py`."""

from __future__ import annotations

from typing import Final

from supervisor_conf import setting_kinds as kinds
from supervisor_conf.setting_kinds import Kind, Place
from supervisor_conf.setting_table import Key


def _names(value: object, _: Place) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(user, str) and user for user in value.values()):
        raise ValueError("not a table of names")
    return value


_FINGERPRINTS = Kind(
    "table of strings", "a table of SHA-256 fingerprints and names", '{ "AB:CD:…" = "ann" }', _names
)

REQUIRED_TEXT: Final = (
    "`false`: who does not say who he is comes through as nobody, and is asked when the app answers 401."
)

BASIC: Final = (
    Key(
        "file",
        kinds.OPTIONAL_FILE,
        "",
        "An htpasswd file: bcrypt, SHA-512 or SHA-256 crypt. What `htpasswd` changes in it is noticed within seconds.",
        example='"htpasswd"',
    ),
    Key(
        "pam",
        kinds.TEXT,
        "",
        "In place of `file`: a PAM service, that is a file of `/etc/pam.d`.",
        example='"login"',
    ),
    Key(
        "groups",
        kinds.OPTIONAL_FILE,
        "",
        "A file of lines `group: name name`, as Apache's `AuthGroupFile`: whose groups the app is told.",
        example='"htgroup"',
    ),
    Key("realm", kinds.TEXT, "Portico", "What the visitor is told that he signs in to.", example='"Shop"'),
    Key("required", kinds.FLAG, True, REQUIRED_TEXT),
    Key(
        "pass_authorization",
        kinds.FLAG,
        False,
        "`true`: the app sees name and password in `Authorization`.",
    ),
    Key(
        "remember",
        kinds.duration(0, kinds.DAY, '"5m"'),
        300,
        "How long a worker knows a name and a password that were right without hashing again.",
    ),
)

CLIENT_CERTIFICATE: Final = (
    Key(
        "user",
        kinds.choice("CN", "subject", "email", "UPN", "URI", "fingerprints"),
        "CN",
        "Where the certificate names the user: the subject's `CN`, the whole `subject` (RFC 4514), an alternative name "
        "(`email`, `UPN`, `URI`), or nowhere (`fingerprints`: the table alone).",
    ),
    Key(
        "fingerprints",
        _FINGERPRINTS,
        {},
        "SHA-256 fingerprints of single certificates, and whose they are. They come before `user`.",
    ),
    Key(
        "issuers",
        kinds.STRINGS,
        [],
        "Only certificates of these issuers (RFC 4514 names) name a user; empty is all that TLS takes.",
        example='["CN=Example CA,O=Example"]',
    ),
    Key("groups_from_ou", kinds.FLAG, False, "`true`: the subject's `OU` are the user's groups."),
    Key(
        "required",
        kinds.FLAG,
        True,
        "`false`: who shows no certificate, or one that names nobody, comes through as nobody.",
    ),
)
