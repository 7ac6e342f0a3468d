"""What this machine refuses of settings that are right in themselves: `portico check`, and first in `portico run`."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from supervisor_conf import accounts, certificates, launch, run_directory
from supervisor_conf.conffile import minimum_descriptors
from supervisor_conf.module_table import SHIPPED
from supervisor_conf.plugin import sockets
from supervisor_conf.setting_errors import SettingsError, display
from supervisor_conf.setting_kinds import USER
from supervisor_conf.settings import (
    AppSettings,
    FrontSettings,
    Settings,
    to_json,
    without_secrets,
)
from supervisor_conf.toml_lines import KeyPath, line_of, lines_of_keys
from supervisor_conf.webconfig import is_web_config, read_web_config

# What the plugin and supervisord keep open above `minfds`
DESCRIPTORS_ABOVE = 128


#: Seconds in which all modules have to be made.
MODULES_TIMEOUT = 60

# What a .NET app can be published as
_SELF_CONTAINED: Final = "dotnet publish --self-contained -r linux-x64"
_FOR_LINUX: Final = "dotnet publish -r linux-x64, or the command `dotnet NAME.dll`"

# Names of what was typed instead of written in a file
_TYPED: Mapping[KeyPath, str] = {("command",): "COMMAND", ("listen",): "--listen"}


class Severity(Enum):
    """A mistake is in the settings themselves, and only whoever uses them could find it: a module."""

    MISTAKE = "mistake"
    REFUSAL = "refusal"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `error` is the sentence with file and key."""

    severity: Severity
    error: SettingsError

    def __str__(self) -> str:
        prefix = "warning: " if self.severity is Severity.WARNING else ""
        return f"{prefix}{self.error.sentence}"


@dataclass(frozen=True, slots=True)
class _Raw:
    path: KeyPath
    read: str
    expected: str
    example: str = ""
    severity: Severity = Severity.REFUSAL


def check_machine(settings: Settings, environ: Mapping[str, str], *, addresses: bool) -> list[Finding]:
    """All refusals and warnings, in the order of the settings.

    `addresses`: also whether they can be listened on, by listening for a moment; not while Portico runs there.
    """
    place_of = _places(settings.file, environ)
    found = [Finding(Severity.WARNING, warning.error) for warning in settings.warnings]
    for raw in _all(settings, environ, addresses):
        key, line = place_of(raw.path)
        file = str(settings.file or "")
        error = SettingsError(key, raw.read, raw.expected, example=raw.example, file=file, line=line)
        found.append(Finding(raw.severity, error))
    return found


def _places(file: Path | None, environ: Mapping[str, str]) -> Callable[[KeyPath], tuple[str, int]]:
    """What a key is called where it was written, and its line there (0: not known)."""
    if file is None:
        return lambda path: (_TYPED.get(path[-1:], ""), 0)
    if is_web_config(file):
        places = read_web_config(file.read_bytes(), file, environ).places
        written = {key: (place.path, place.line) for key, place in places.items()}
        return lambda path: written.get(path[-1] if path else "", (_TYPED.get(path[-1:], ""), 0))
    lines = lines_of_keys(file.read_text("utf-8-sig"))
    return lambda path: (".".join(path), line_of(lines, path))


def _all(settings: Settings, environ: Mapping[str, str], addresses: bool) -> Iterator[_Raw]:
    if addresses:
        yield from _addresses(settings.front)
    yield from _run_directory(settings.front)
    yield from _descriptors(settings)
    yield from _front_user(settings.front)
    yield from _trusted(settings.front)
    yield from _modules(settings)
    yield from _client_certificates(settings)
    yield from _tls(settings)
    names_users = settings.file is not None and not is_web_config(settings.file)
    if not names_users and os.geteuid() == 0:
        expected = "an ordinary user, since the app runs as whoever starts it"
        yield _Raw((), "root as the user", expected, severity=Severity.WARNING)
    for app in settings.apps:
        yield from _app(app, environ, names_users=names_users)
        yield from _user_of_workers(app, settings.front)
        yield from _socket_path(app, settings.front)
        yield from _credentials(app, settings.front)


def _addresses(front: FrontSettings) -> Iterator[_Raw]:
    for listen in front.listen:
        try:
            sockets.bind_all([listen])
        except sockets.AddressUnavailable as problem:
            reason = problem.sentence.removeprefix(f"{listen.url} cannot be listened on: ").rstrip(".")
            yield _Raw(("front", "listen"), display(listen.url), f"an address to listen on: {reason}")
        finally:
            sockets.close_all()


def _run_directory(front: FrontSettings) -> Iterator[_Raw]:
    path = ("front", "run_directory")
    if problem := run_directory.obstacle(front.run_directory):
        yield _Raw(
            path,
            display(str(front.run_directory)),
            f"a folder Portico can use: {problem}",
            'run_directory = "run"',
        )
    for part in (sys.executable, str(Path(__file__).parent)):
        if " ;" in part or " #" in part:
            yield _Raw((), display(part), "an installation whose path holds neither « ;» nor « #»")


def _descriptors(settings: Settings) -> Iterator[_Raw]:
    needed = minimum_descriptors(settings) + DESCRIPTORS_ABOVE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield _Raw((), f"a limit of {hard} open files", f"at least {needed}", f"ulimit -Hn {needed}")


def _front_user(front: FrontSettings) -> Iterator[_Raw]:
    path = ("front", "user")
    if os.geteuid() != 0:
        if front.user and _uid(front.user) != os.geteuid():
            yield _Raw(
                path,
                display(front.user),
                "Portico to be started by root; the workers run as the user who starts it",
                severity=Severity.WARNING,
            )
        return
    name = front.user or accounts.DEFAULT_WORKERS
    uid = _uid(name)
    if uid is None:
        yield _Raw(path, display(name), USER.expected, 'user = "www-data"')
    elif uid == 0:
        yield _Raw(
            path, display(name), "another user than root, which faces visitors never", 'user = "nobody"'
        )


def _trusted(front: FrontSettings) -> Iterator[_Raw]:
    for written in front.trusted_proxies:
        if written != "unix" and ip_network(written, strict=False).prefixlen == 0:
            expected = "the networks of your proxies, since this lets everybody say who is calling"
            yield _Raw(("front", "trusted_proxies"), display(written), expected, severity=Severity.WARNING)


def _modules(settings: Settings) -> Iterator[_Raw]:
    """Asked of a process of its own, which does as a worker will: `proxy` is not ours to import."""
    if not (settings.front.modules or any(app.modules for app in settings.apps)):
        return
    try:
        asked = subprocess.run(
            [sys.executable, "-P", "-m", "proxy.module_check"],
            input=to_json(without_secrets(settings)),
            capture_output=True,
            text=True,
            timeout=MODULES_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        expected = f"modules that are made within {MODULES_TIMEOUT} seconds, since a worker waits for them"
        yield _Raw(("front", "modules"), "modules that do not come to an end", expected)
        return
    if asked.returncode:
        last = asked.stderr.strip().rpartition("\n")[2] or f"it ended with status {asked.returncode}"
        yield _Raw(
            ("front", "modules"), "modules that end the process that makes them", f"modules that work: {last}"
        )
        return
    for path, use, sentence, severity in json.loads(asked.stdout):
        yield _Raw(tuple(path), display(use), f"a module that works: {sentence}", "", Severity(severity))


def _client_certificates(settings: Settings) -> Iterator[_Raw]:
    """The module that looks at certificates, where no visitor is asked for one."""
    tls = settings.front.tls
    if tls is not None and tls.client_certificate != "off":
        return
    for module in settings.modules:
        if module.table.use == "client_certificate":
            yield _Raw(
                module.path,
                display(module.table.use),
                "visitors to be asked for a certificate: in [front.tls]",
                'client_certificate = "optional"',
                Severity.WARNING,
            )


def _tls(settings: Settings) -> Iterator[_Raw]:
    path, tls = ("front", "tls"), settings.front.tls
    if tls is None:
        return
    encrypted = any(listen.scheme == "https" for listen in settings.front.listen)
    if not encrypted:
        expected = "an https:// address in listen, since nothing else is encrypted"
        yield _Raw(path, "[front.tls]", expected, 'listen = ["https://0.0.0.0:443"]', Severity.WARNING)
    try:
        bundle = certificates.load(tls)
    except certificates.Unusable as problem:
        yield _Raw((*path, *problem.place), problem.read, problem.expected, problem.example)
        return
    for doubt in certificates.doubts(tls, bundle, time.time()):
        yield _Raw((*path, *doubt.place), doubt.read, doubt.expected, doubt.example, Severity.WARNING)
    for app in settings.apps if encrypted else ():
        for host in app.hosts:
            if not certificates.is_named(bundle, host):
                expected = "names that a certificate of [front.tls] has, as browsers want with https://"
                yield _Raw(("apps", app.name, "hosts"), display(host), expected, severity=Severity.WARNING)


def _app(app: AppSettings, environ: Mapping[str, str], *, names_users: bool) -> Iterator[_Raw]:
    path = ("apps", app.name)
    if names_users:
        yield from _app_user(app, path)
    if not app.directory.is_dir():
        yield _Raw(
            (*path, "directory"), display(str(app.directory)), "a folder that exists", 'directory = "."'
        )
    try:
        search = _search_path(app, environ)
    except launch.Refused as problem:
        read = display(str(app.environment_file))
        yield _Raw(
            (*path, "environment_file"), read, f"a file of NAME=value lines: {problem.sentence.rstrip('.')}"
        )
        return
    yield from _command(app, path, search)
    yield from _log_folder(app, path)


def _app_user(app: AppSettings, path: KeyPath) -> Iterator[_Raw]:
    key = (*path, "user")
    mine = accounts.user_name(os.geteuid())
    if app.user and _uid(app.user) is None:
        yield _Raw(key, display(app.user), USER.expected, 'user = "www-data"')
    elif app.user and os.geteuid() != 0 and _uid(app.user) != os.geteuid():
        yield _Raw(key, display(app.user), f"{mine}, since only root may run an app as another user")
    elif not app.user and os.geteuid() == 0:
        expected = "a user of its own, since this app runs as root"
        yield _Raw(key, "nothing", expected, 'user = "www-data"', Severity.WARNING)


def _user_of_workers(app: AppSettings, front: FrontSettings) -> Iterator[_Raw]:
    """Who is the workers' user may end them; who is in its group alone reaches the sockets that are for workers."""
    name = front.user or accounts.DEFAULT_WORKERS
    workers, own = _uid(name), _uid(app.user) if app.user else None
    if os.geteuid() != 0 or not workers or own is None:  # workers of root are refused anyway
        return
    if own == workers or accounts.account(app.user).pw_gid == accounts.workers_group(front.user):
        expected = f"a user of its own, who shares neither account nor group with the workers ({name})"
        key = ("apps", app.name, "user")
        yield _Raw(key, display(app.user), expected, 'user = "www-data"', Severity.WARNING)


def _credentials(app: AppSettings, front: FrontSettings) -> Iterator[_Raw]:
    used = {module.use for module in (*front.modules, *app.modules)}
    # A module of somebody else's may take tickets too.
    if app.forward_credentials and "negotiate" not in used and not used - SHIPPED.keys():
        expected = "a module that takes tickets, since nothing is forwarded without one"
        key = ("apps", app.name, "forward_credentials")
        yield _Raw(key, "true", expected, 'use = "negotiate"', Severity.WARNING)


def _search_path(app: AppSettings, environ: Mapping[str, str]) -> str:
    """PATH as the app will have it. Raises launch.Refused for an environment file that cannot be read."""
    found = environ.get("PATH", os.defpath)
    if app.environment_file is not None:
        found = launch.read_environment_file(str(app.environment_file), app.user).get("PATH", found)
    return dict(app.environment).get("PATH", found)


def _command(app: AppSettings, path: KeyPath, search: str) -> Iterator[_Raw]:
    name = app.command[0]
    if "{" in name or not app.directory.is_dir():
        return
    if "/" in name:
        file = app.directory / name
        if not file.is_file():
            yield _Raw((*path, "command"), display(name), f"a program: {file} does not exist")
        elif _is_of_windows(file):
            expected = f"a program of this machine: {file} is one of Windows"
            yield _Raw((*path, "command"), display(name), expected, _FOR_LINUX)
        elif not os.access(file, os.X_OK):
            yield _Raw(
                (*path, "command"), display(name), f"a program: {file} is not executable", f"chmod +x {file}"
            )
        return
    folders = [str(app.directory / (folder or ".")) for folder in search.split(os.pathsep)]
    if shutil.which(name, path=os.pathsep.join(folders)) is None:
        where = "a program on the PATH of the app, or a path"
        if name == "dotnet":
            where += ": install the ASP.NET Core runtime, or let the app bring its own"
        example = _SELF_CONTAINED if name == "dotnet" else ".venv/bin/uvicorn or /usr/bin/node"
        yield _Raw((*path, "command"), display(name), where, example)


def _is_of_windows(file: Path) -> bool:
    """Whether it is a Portable Executable, which begins with the two letters of DOS."""
    try:
        with file.open("rb") as opened:
            return opened.read(2) == b"MZ"
    except OSError:
        return False


def _log_folder(app: AppSettings, path: KeyPath) -> Iterator[_Raw]:
    if app.stdout_log in ("", "-"):
        return
    folder = Path(app.stdout_log).parent
    there = folder if folder.exists() else next(parent for parent in folder.parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        expected = f"a folder that can be written, else the app runs without a log: {there} cannot"
        yield _Raw((*path, "stdout_log"), display(app.stdout_log), expected, severity=Severity.WARNING)


def _socket_path(app: AppSettings, front: FrontSettings) -> Iterator[_Raw]:
    longest = run_directory.longest_app_socket(front.run_directory, app.name)
    if app.transport == "port" or longest <= run_directory.LONGEST_SOCKET_PATH:
        return
    folder = run_directory.app_folder(front.run_directory, app.name)
    expected = (
        f'transport = "port", a shorter name or a shorter run_directory: a Unix socket in {folder} would have a '
        f"path of {longest} bytes, and {run_directory.LONGEST_SOCKET_PATH} is the most"
    )
    yield _Raw(("apps", app.name, "transport"), display(app.transport), expected)


def _uid(name: str) -> int | None:
    try:
        return accounts.account(name).pw_uid
    except accounts.NoSuchUser:
        return None
