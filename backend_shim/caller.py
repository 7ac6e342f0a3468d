"""Who the front says is calling. Believed only after pairing, and for one hop: the last entry, the front's own.

The Host field needs nothing: the front passes it as the visitor sent it.
"""

from __future__ import annotations

import socket

SCHEMES = frozenset({"http", "https"})


class Caller:
    """`host` is an IP address or "" (not told, or unreadable), `port` 0 if not told, `scheme` "" likewise."""

    __slots__ = ("host", "port", "scheme")

    def __init__(self, forwarded_for: str, forwarded_proto: str) -> None:
        self.host, self.port = _address(_last(forwarded_for))
        scheme = _last(forwarded_proto).lower()
        self.scheme = scheme if scheme in SCHEMES else ""


def _last(field: str) -> str:
    return field.rpartition(",")[2].strip()


def _address(entry: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5000`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5000`."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else ""
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    else:
        host, port = entry, ""
    if not _is_address(host):
        return "", 0
    usable = len(port) <= 5 and port.isascii() and port.isdigit() and int(port) < 65536
    return host, int(port) if usable else 0


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):  # ValueError: a NUL, or what has no bytes
            continue
        return True
    return False
