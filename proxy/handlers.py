"""Which app answers: by host, path, method. Pure; its cost grows with a path's depth, not with the apps.

*Host*: apps that name it come before apps that name none; letter case, a port and a final dot do not count.
*Path*: the longest application path whose segments begin the request's; `/shop` takes `/shop` and
`/shop/cart`, never `/shopping`. Segments are compared percent-decoded (RFC 3986 6.2.2.2: the same resource)
and without regard to ASCII case, as the shim takes the application path off (ANCM's UsePathBase does so too).
*Method*: among the apps of that path, the first in the settings that takes it; else `MethodNotAllowed`.

A path such as `/shop/../admin` reaches an app raw, and what the app makes of it is its own affair. It must
not be chosen for one app and mean another's path to whoever normalises it, so all readings of it (dot
segments removed, `//` merged, `%2F` and `\\` as separators, `;parameters` dropped) must lead to the same
application path as the raw one does; otherwise it is `Ambiguous`. With a single app at `/` nothing is ever
ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from proxy.readings import needs_more_readings, raw_segments, readings
from supervisor_conf.settings import AppSettings


@dataclass(frozen=True, slots=True)
class NoApp:
    """404."""


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """405; `allowed` is for the Allow field (RFC 9110 10.2.1)."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """400: the path means one app's to us and another's to a reader that normalises it."""


@dataclass(slots=True)
class _Node:
    """One segment of the application paths of a host."""

    apps: list[AppSettings] = field(default_factory=list)
    children: dict[bytes, _Node] = field(default_factory=dict)


class Handlers:
    """Made once from the settings of all apps; never changes. `only`: the app that every request is for, if there is
    such a one."""

    def __init__(self, apps: Sequence[AppSettings]) -> None:
        self._any_host = _Node()
        self._by_host: dict[bytes, _Node] = {}
        self.only = apps[0] if len(apps) == 1 and _takes_everything(apps[0]) else None
        for app in apps:
            for root in self._roots(app):
                _insert(root, app)

    def _roots(self, app: AppSettings) -> Iterable[_Node]:
        if not app.hosts:
            return (self._any_host,)
        names = {_host_name(host.encode("idna" if not host.isascii() else "ascii")) for host in app.hosts}
        return [self._by_host.setdefault(name, _Node()) for name in sorted(names)]

    def choose(
        self, host: bytes, path: bytes, method: bytes
    ) -> AppSettings | NoApp | MethodNotAllowed | Ambiguous:
        """`host`: a Host that the strict reader has passed, or b""; `path`: raw, without query, or b"*"."""
        if self.only is not None:
            return self.only
        raw = self._node(host, raw_segments(path))
        if needs_more_readings(path):
            for segments in readings(path):
                if self._node(host, segments) is not raw:
                    return Ambiguous()
        if raw is None:
            return NoApp()
        return _by_method(raw.apps, method.decode("ascii", "replace"))

    def _node(self, host: bytes, segments: list[bytes]) -> _Node | None:
        root = self._by_host.get(_host_name(host))
        found = _longest(root, segments) if root else None
        return found or _longest(self._any_host, segments)


def _takes_everything(app: AppSettings) -> bool:
    """However a request is read, it is this app's."""
    return app.path == "/" and not app.hosts and not app.methods


def _insert(root: _Node, app: AppSettings) -> None:
    node = root
    for segment in app.path.encode().lower().strip(b"/").split(b"/"):
        if segment:
            node = node.children.setdefault(segment, _Node())
    node.apps.append(app)


def _longest(root: _Node, segments: list[bytes]) -> _Node | None:
    node, found = root, root if root.apps else None
    for segment in segments:
        child = node.children.get(segment)
        if child is None:
            break
        node, found = child, child if child.apps else found
    return found


def _by_method(apps: list[AppSettings], method: str) -> AppSettings | MethodNotAllowed:
    for app in apps:
        if not app.methods or method in app.methods:
            return app
    return MethodNotAllowed(tuple(dict.fromkeys(name for app in apps for name in app.methods)))


def _host_name(host: bytes) -> bytes:
    name = host.lower()
    if name.startswith(b"["):
        return name.partition(b"]")[0] + b"]"
    return name.partition(b":")[0].removesuffix(b".")
