"""Addresses the front listens on, as `[front] listen` and `--listen` write them."""

from __future__ import annotations

import ipaddress
import os.path
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from supervisor_conf.setting_errors import Unfit

EXPECTED = "an address such as http://HOST:PORT, https://HOST:PORT, unix:/path or fd:N"
EXAMPLE = '"http://127.0.0.1:8080"'

DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True, slots=True)
class Listen:
    """One address of `[front] listen`. `scheme`: "http", "https", "unix" or "fd"."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1
    proxy_protocol: bool = False  # its connections begin with the PROXY protocol

    @property
    def url(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        if self.scheme == "fd":
            return f"fd:{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_listen(text: str, base: Path) -> Listen:
    """An address, and behind it, after a blank, `proxy_protocol`: nginx's word and place for it. Raises Unfit."""
    address, blank, word = text.rstrip(" ").rpartition(" ")
    if blank and word == "proxy_protocol":
        return replace(_address(address.rstrip(" "), base), proxy_protocol=True)
    return _address(text, base)


def _address(text: str, base: Path) -> Listen:
    """`http://HOST[:PORT]` (IPv4, [IPv6] or a name; port 80 if none, 0 = any free one), `https://` likewise (443),
    `unix:PATH` (relative to `base`), `fd:N`. Raises Unfit."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        return _unix(rest, base)
    if scheme == "fd":
        if not re.fullmatch(r"[0-9]{1,6}", rest) or int(rest) in (1, 2):
            raise Unfit("fd:N with the number of an inherited listening socket", example='"fd:3"')
        return Listen("fd", fd=int(rest))
    if scheme in DEFAULT_PORTS and rest.startswith("//"):
        return _http(scheme, text)
    raise Unfit(EXPECTED, example=EXAMPLE)


def host_name(text: str) -> str:
    """A host as requests name it: lower case, IDNA, IPv6 without brackets. Raises ValueError."""
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass  # not an address: a name
    if not text.isascii():
        text = text.encode("idna").decode("ascii")
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError(f"not a host name: {text}")
    return name


def _unix(rest: str, base: Path) -> Listen:
    path = rest.removeprefix("//") if rest.startswith("///") else rest
    if not path or "\0" in path or path.endswith("/"):
        raise Unfit("unix: and the path of a socket", example='"unix:/run/shop.sock"')
    return Listen("unix", path=str(absolute(base, path)))


def _http(scheme: str, text: str) -> Listen:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        named = host_name(f"[{host}]" if ":" in host else host)
    except ValueError as problem:
        raise Unfit(EXPECTED, example=EXAMPLE) from problem
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise Unfit(f"{EXPECTED}, without a path", example=EXAMPLE)
    return Listen(scheme, host=named, port=DEFAULT_PORTS[scheme] if port is None else port)


def absolute(base: Path, text: str) -> Path:
    """A path of the configuration: relative to `base`, `..` folded, symbolic links left as they are."""
    return Path(os.path.normpath(base / text))
