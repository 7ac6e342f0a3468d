"""Rules between keys and between apps: names, ports, who answers what. Each gives errors, none raises."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor_conf import placeholders

if TYPE_CHECKING:
    from supervisor_conf.settings import AppSettings, FrontSettings

RESERVED_PREFIX = "portico-"
RESERVED_NAME = "all"  # `supervisorctl start all`
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PLACEHOLDERS = {"port": ("port", "host"), "unix": ("socket",), "fd": ("fd",)}
_TRANSPORTS = {name: transport for transport, names in _PLACEHOLDERS.items() for name in names}
NAME_RULE = "letters, digits, - and _, not beginning with portico-, and not all"


@dataclass(frozen=True, slots=True)
class Conflict:
    """An error of a rule: the app («» for the front), the key, and the parts of the sentence."""

    app: str
    key: str
    read: str
    expected: str
    example: str = ""


def is_app_name(name: str) -> bool:
    lowered = name.lower()
    return (
        bool(_NAME.fullmatch(name)) and lowered != RESERVED_NAME and not lowered.startswith(RESERVED_PREFIX)
    )


def app_name_from_folder(folder: str) -> str:
    """A lawful name: what is not allowed becomes `-`, a reserved name gets `app-` before it."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", folder)[:90] or "app"
    return name if is_app_name(name) else f"app-{name}"


def between_apps(front: FrontSettings, apps: Sequence[AppSettings]) -> Iterator[Conflict]:
    yield from _same_routes(apps)
    yield from _same_ports(front, apps)
    yield from _fixed_ports(apps)
    yield from _transports(apps)


def _same_routes(apps: Sequence[AppSettings]) -> Iterator[Conflict]:
    """No two apps for the same host, path and method; «any host» and «all methods» count as one each."""
    owners: dict[tuple[str, str, str], str] = {}
    for app in apps:
        # As requests are matched: without regard to case, a final slash, or the final dot of a host name.
        path = app.path.lower().rstrip("/") or "/"
        hosts = [host.lower().removesuffix(".") for host in app.hosts] or [""]
        routes = [(host, path, method) for host in hosts for method in app.methods or ("",)]
        taken = next((route for route in routes if route in owners), None)
        if taken is None:
            owners.update(dict.fromkeys(routes, app.name))
            continue
        host, path, method = taken
        what = f"{method or 'all methods'} of {path} on {host or 'any host'}"
        yield Conflict(
            app.name, "path", f"{what}, which {owners[taken]} answers already",
            "another path, other hosts or other methods", f'path = "/{app.name}"',
        )  # fmt: skip


def _same_ports(front: FrontSettings, apps: Sequence[AppSettings]) -> Iterator[Conflict]:
    owners = {listen.port: "[front] listen" for listen in front.listen if listen.port}
    for app in apps:
        if app.port and app.port in owners:
            yield Conflict(
                app.name,
                "port",
                f"{app.port}, which {owners[app.port]} has already",
                "a port of its own",
                "port = 0",
            )
        elif app.port:
            owners[app.port] = app.name


def _fixed_ports(apps: Sequence[AppSettings]) -> Iterator[Conflict]:
    for app in apps:
        if app.port and app.processes > 1:
            yield Conflict(
                app.name,
                "processes",
                str(app.processes),
                f"1, since port = {app.port} is one port",
                "processes = 1",
            )


def _transports(apps: Sequence[AppSettings]) -> Iterator[Conflict]:
    """An address that the transport does not have is no empty word, which an app might take for an answer."""
    for app in apps:
        if app.port and app.transport != "port":
            expected = f'no port, since transport = "{app.transport}"'
            yield Conflict(app.name, "port", str(app.port), expected, "port = 0")
        lawful = _PLACEHOLDERS[app.transport]
        used = {name for word in app.command for name in placeholders.names_in(word)}
        for name in sorted(used.difference(lawful)):
            expected = f'{" or ".join(f"{{{one}}}" for one in lawful)}, since transport = "{app.transport}"'
            yield Conflict(app.name, "command", f"{{{name}}}", expected, f'transport = "{_TRANSPORTS[name]}"')
