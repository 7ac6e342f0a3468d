"""Which modules find out who a visitor is, and what an app is told of that at its start. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from supervisor_conf.module_settings import ModuleSettings
from supervisor_conf.module_table import SHIPPED

OTHER: Final = "Other"


@dataclass(frozen=True, slots=True)
class Authenticating:
    """`scheme`: as AUTH_TYPE names it. `word`: ANCM's, in ASPNETCORE_IIS_HTTPAUTH; "" for one that IIS counts as no
    authentication (a certificate is demanded by its TLS settings)."""

    scheme: str
    word: str


MODULES: Final[Mapping[str, Authenticating]] = {
    "negotiate": Authenticating("Negotiate", "windows"),
    "basic": Authenticating("Basic", "basic"),
    "client_certificate": Authenticating("ClientCertificate", ""),
}
"""In the order in which ANCM names them (`windows;` `basic;` `anonymous;`)."""


def http_auth(modules: Iterable[ModuleSettings]) -> str:
    """ASPNETCORE_IIS_HTTPAUTH: what can find out who asks, and `anonymous;` if somebody unknown may come through."""
    found = [module for module in modules if module.use in MODULES and MODULES[module.use].word]
    anonymous = not any(module.values()["required"] for module in found)
    used = {module.use for module in found}
    words = [MODULES[name].word for name in MODULES if name in used] + ["anonymous"] * anonymous
    return "".join(f"{word};" for word in words)


def schemes(modules: Iterable[ModuleSettings]) -> str:
    """PORTICO_AUTHENTICATION: the schemes of all modules that find out who asks, with commas; "" for none. A module of
    somebody else's may do so too."""
    used = {module.use for module in modules}
    found = [kind.scheme for name, kind in MODULES.items() if name in used]
    return ",".join([*found, OTHER] if used - SHIPPED.keys() else found)
