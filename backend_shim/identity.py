"""Who the front has found the visitor to be: believed after pairing, when the signature fits this app and this request.

The field is `base64url(JSON) "." base64url(HMAC-SHA256 of what stands before the dot)`, without padding, the key made
of the pairing token: what one generation was told means nothing to another. The JSON: `user`, `scheme`, `groups`,
`id` (the request's, as in X-Request-ID), `until` (wall clock, seconds), and `credentials` where there are any.
"""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

KEY_LABEL = b"portico identity"


class Unverified(Exception):
    """Nobody can be believed by this field; why, in a few words."""


class Visitor:
    """Who asks: `user` as its source spells it, `scheme` as AUTH_TYPE names it, `groups` as far as they are known.

    `credentials` is the name of a Kerberos credential cache with which the app may act as this user until it has
    answered, or "". Its shape is that of Starlette's users. Without a name it is nobody in particular.
    """

    __slots__ = ("credentials", "groups", "scheme", "user")

    def __init__(self, user: str = "", scheme: str = "", groups: Sequence[str] = (), credentials: str = ""):
        self.user = user
        self.scheme = scheme
        self.groups = tuple(groups)
        self.credentials = credentials

    def __repr__(self) -> str:
        return f"Visitor({self.user!r}, {self.scheme!r})"

    @property
    def is_authenticated(self) -> bool:
        return bool(self.user)

    @property
    def display_name(self) -> str:
        return self.user

    @property
    def identity(self) -> str:
        return self.user


class Scopes:
    """What Starlette calls the credentials of a request, for its `requires("authenticated", "group:staff")`."""

    __slots__ = ("scopes",)

    def __init__(self, visitor: Visitor) -> None:
        groups = ["group:" + group for group in visitor.groups]
        self.scopes = ["authenticated", *groups] if visitor.user else []


def visitor_of(fields: Sequence[bytes], key: bytes, request_ids: Sequence[bytes]) -> Visitor | None:
    """Who the front says is asking; None: it says nothing. Raises Unverified."""
    if not fields:
        return None
    if len(fields) > 1:
        raise Unverified("there is more than one")
    content, _, signature = fields[0].partition(b".")
    if not hmac.compare_digest(signature, encoded(hmac.digest(key, content, "sha256"))):
        raise Unverified("its signature is not of this app's front")
    try:
        said = json.loads(urlsafe_b64decode(content + b"=" * (-len(content) % 4)))
        if [said["id"].encode("ascii")] != list(request_ids):
            raise Unverified("it belongs to another request")
        if said["until"] < time.time():
            raise Unverified("it has expired")
        return Visitor(said["user"], said["scheme"], said["groups"], said.get("credentials", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unverified("it cannot be read") from None


def encoded(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
