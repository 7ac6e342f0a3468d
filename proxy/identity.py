"""Who a visitor is, once a module has found out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Identity:
    """`user`: the name as its source spells it (`ann`, `ann@EXAMPLE.ORG`). `scheme`: how it was authenticated, as
    AUTH_TYPE names it (`Basic`, `Negotiate`, `ClientCertificate`). `groups`: what is known of them.

    `credentials`: what was delegated, for an app with `forward_credentials`; never shown.
    """

    user: str
    scheme: str
    groups: tuple[str, ...] = ()
    credentials: bytes = field(default=b"", repr=False)
