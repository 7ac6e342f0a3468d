"""Who a visitor is, once a module has found out, and how the app is told.

The shim believes `MS-ASPNETCORE-IDENTITY`, whose form is in `backend_shim/identity.py`; an app without shim can be told
the bare name, in a field that no client can send either.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import lru_cache

from proxy.headers import IDENTITY_NAME

KEY_LABEL = b"portico identity"

LONGEST = 5000
"""Bytes of name, scheme and groups together: signed, they fit into the 8 KiB that servers allow a field."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`user`: the name as its source spells it (`ann`, `ann@EXAMPLE.ORG`). `scheme`: how it was authenticated, as
    AUTH_TYPE names it (`Basic`, `Negotiate`, `ClientCertificate`). `groups`: what is known of them.

    `credentials`: what was delegated, for an app with `forward_credentials`; never shown.
    Raises ValueError for names that no field could carry, and for groups that are one string.
    """

    user: str
    scheme: str
    groups: tuple[str, ...] = ()
    credentials: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.groups, str):  # each letter would be a group
            raise ValueError(f"groups are several names, not {self.groups!r}")
        if not isinstance(self.groups, tuple):
            object.__setattr__(self, "groups", tuple(self.groups))
        _said(self.user, self.scheme, self.groups)


@lru_cache(maxsize=1024)
def _said(user: str, scheme: str, groups: tuple[str, ...]) -> bytes:
    """The part of the JSON that is the same in all requests of a visitor, without its last brace. Raises ValueError."""
    for name in (user, scheme, *groups):
        if not name or not name.isprintable() or name != name.strip():
            raise ValueError(f"{name!r} is no name of a user, a scheme or a group")
    said = _json({"user": user, "scheme": scheme, "groups": groups})[:-1]
    if len(said) > LONGEST:
        raise ValueError(f"the identity of {user[:100]!r} is longer than {LONGEST} bytes")
    return said


def signed(
    identity: Identity, token: bytes, request_id: bytes, until: int, credential_cache: str = ""
) -> bytes:
    """The value of MS-ASPNETCORE-IDENTITY, for the generation with this token, for this request, and until then (wall
    clock, seconds). `credential_cache`: the name of a Kerberos credential cache that the app may use.

    A request id has no character that JSON would escape (`headers.request_id_of`)."""
    credentials = b',"credentials":' + _json(credential_cache) if credential_cache else b""
    content = _encoded(
        b'%b,"id":"%b","until":%d%b}'
        % (_said(identity.user, identity.scheme, identity.groups), request_id, until, credentials)
    )
    return b"%b.%b" % (content, _encoded(hmac.digest(_key(token), content, "sha256")))


def identity_line(
    identity: Identity, token: bytes, request_id: bytes, until: int, credential_cache: str = ""
) -> bytes:
    return b"%b: %b\r\n" % (IDENTITY_NAME, signed(identity, token, request_id, until, credential_cache))


@lru_cache(maxsize=64)
def _key(token: bytes) -> bytes:
    """A generation's: whoever learns it knows neither the token nor another generation's key."""
    return hmac.digest(token, KEY_LABEL, "sha256")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _encoded(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
