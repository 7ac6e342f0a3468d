"""Settings are values: made once by `load_settings`, frozen, handed on whole. No I/O is done through them.

What the keys are called, mean and allow stands in `setting_table.py`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor_conf import authentication, misplaced, setting_rules, webconfig
from supervisor_conf.listen import Listen as Listen
from supervisor_conf.listen import parse_listen
from supervisor_conf.module_settings import ModuleSettings as ModuleSettings
from supervisor_conf.module_settings import read_modules
from supervisor_conf.setting_errors import InvalidSettings as InvalidSettings
from supervisor_conf.setting_errors import SettingsError as SettingsError
from supervisor_conf.setting_errors import SettingsWarning as SettingsWarning
from supervisor_conf.setting_errors import Unfit, display
from supervisor_conf.setting_kinds import Place, checked_words
from supervisor_conf.setting_reader import Reader
from supervisor_conf.setting_table import APP, FRONT, Key
from supervisor_conf.tls_settings import TlsSettings as TlsSettings
from supervisor_conf.tls_settings import read_tls, tls_from
from supervisor_conf.toml_lines import KeyPath


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """`[front]`. Durations are seconds (float), sizes bytes."""

    listen: tuple[Listen, ...]
    workers: int
    run_directory: Path
    user: str
    drain_limit: float
    trusted_proxies: tuple[str, ...]
    trusted_fields: str
    max_request_body: int
    min_upload_rate: int
    min_download_rate: int
    max_header_bytes: int
    header_timeout: float
    keep_alive_timeout: float
    max_connections: int  # 0: what the limit of open files suffices for
    max_connections_per_client: int
    access_log: str
    quick_lane: bool
    forwarded_for_port: bool
    forwarded: bool
    via: str
    event_log_format: str
    reload_on_change: bool
    modules: tuple[ModuleSettings, ...] = ()
    tls: TlsSettings | None = None


@dataclass(frozen=True, slots=True)
class AppSettings:
    """`[apps.NAME]`. Durations are seconds (float), sizes bytes, paths absolute."""

    name: str
    command: tuple[str, ...]  # {port} {host} {socket} {fd} not yet expanded: only a start knows them
    directory: Path
    path: str
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    user: str
    environment: tuple[tuple[str, str], ...] = field(repr=False)  # may hold secrets
    environment_file: Path | None  # read at every start, by the launcher
    transport: str
    port: int
    processes: int
    start: str
    startup_time_limit: float
    shutdown_time_limit: float
    request_timeout: float
    rapid_fails_per_minute: int
    queue_limit: int
    queue_timeout: float
    idle_stop: float
    ready: str
    warm_up: tuple[str, ...]
    health: str
    health_interval: float
    health_failures: int
    tunnel_idle_timeout: float
    require_pairing: bool
    forward_credentials: bool
    stdout_log: str  # absolute path prefix, "" = none, "-" = the terminal of `portico run -- COMMAND`
    stdout_log_max_bytes: int
    stdout_log_keep: int
    startup_error_page: bool
    startup_error_link: str
    shim: str
    overlap: bool
    recycle_after: tuple[tuple[str, float], ...]
    remote_user_header: str
    environment_with_port: tuple[str, ...] = ()
    """Names of `environment` (of a web.config) whose values are filled in at every start, as `command` is."""
    modules: tuple[ModuleSettings, ...] = ()
    http_auth: str = "anonymous;"
    """As ANCM says it (`authentication.py`), of the front's modules and its own."""
    schemes: str = ""


@dataclass(frozen=True, slots=True)
class PlacedModule:
    """A module's table and where it stands: `app` is "" for the front's, `number` its place in the written order."""

    path: KeyPath
    app: str
    number: int
    table: ModuleSettings


@dataclass(frozen=True, slots=True)
class Settings:
    file: Path | None  # None: `portico run -- COMMAND`
    front: FrontSettings
    apps: tuple[AppSettings, ...]
    warnings: tuple[SettingsWarning, ...] = ()  # what a web.config says and Portico cannot do

    @property
    def modules(self) -> Iterator[PlacedModule]:
        """Of the front and of every app, as they are written."""
        chains: list[tuple[KeyPath, str, tuple[ModuleSettings, ...]]] = [(("front",), "", self.front.modules)]
        chains += [(("apps", app.name), app.name, app.modules) for app in self.apps]
        for path, app, tables in chains:
            for number, table in enumerate(tables):
                yield PlacedModule((*path, "modules", str(number)), app, number, table)


# ------------------------------------------------------------------------------------------------------------
# Reading


def load_settings(path: Path, environ: Mapping[str, str], listen: Sequence[str] = ()) -> Settings:
    """The settings of a configuration file; `listen` (addresses) takes the place of `[front] listen`.

    Reads the file and nothing else of this machine (but how many cores «auto» means, and whether the program of
    a web.config is in its folder). Raises InvalidSettings with every error of the file.
    """
    if webconfig.is_web_config(path):
        return _load_web_config(path, environ, listen)
    reader = Reader(str(path), environ)
    data = _read(reader, path)
    base = path.absolute().parent
    for name in data.keys() - {"front", "apps"}:
        _refuse_at_the_top(reader, name, data[name])
    values = _read_front(reader, data, base, listen)
    apps = _read_apps(reader, data, base)
    if not reader.errors:
        front = FrontSettings(**values)
        _apply_rules(reader, front, apps)
    if errors := reader.errors:
        raise InvalidSettings(errors)
    return Settings(file=path.absolute(), front=front, apps=tuple(_told(app, front) for app in apps))


def _refuse_at_the_top(reader: Reader, name: str, value: object) -> None:
    is_table = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(one, dict) for one in value)
    )
    meant = misplaced.table_for(name) if is_table else misplaced.tables_with(name)
    expected = "one of the tables [front] and [apps.NAME]"
    if meant:
        expected = meant if is_table else f"it in {meant}"
    reader.refuse((name,), "an unknown table" if is_table else "an unknown key", expected)


def _told(app: AppSettings, front: FrontSettings) -> AppSettings:
    modules = (*front.modules, *app.modules)
    return dataclasses.replace(
        app, http_auth=authentication.http_auth(modules), schemes=authentication.schemes(modules)
    )


def _load_web_config(path: Path, environ: Mapping[str, str], listen: Sequence[str]) -> Settings:
    """A web.config names neither addresses nor a run directory: `[front]` has its defaults, but for `listen`."""
    found = webconfig.read_web_config(_bytes_of(path, webconfig.ENOUGH), path, environ)
    reader = Reader(str(path), environ)
    base = path.absolute().parent
    front = _read_front(reader, {}, base, listen) | dict(found.front)
    defaults = tuple(key for key in APP if key.name not in found.app and key.name != "command")
    values = reader.keys(("apps", found.name), {}, defaults, Place(base, found.name)) | dict(found.app)
    if errors := [*found.errors, *reader.errors]:
        raise InvalidSettings(errors)
    settings = Settings(
        file=path.absolute(),
        front=FrontSettings(**front),
        apps=(AppSettings(name=found.name, **values),),
        warnings=found.warnings,
    )
    conflicts = setting_rules.between_apps(settings.front, settings.apps)
    if errors := [webconfig.error_of(conflict, found, path) for conflict in conflicts]:
        raise InvalidSettings(errors)
    return settings


def find_run_directory(path: Path, environ: Mapping[str, str]) -> Path:
    """Only the run directory of a file, whatever else is wrong with it. Raises InvalidSettings."""
    reader = Reader(str(path), environ)
    if webconfig.is_web_config(path):
        _bytes_of(path, 0)  # only so that a file which is not there is said to be so
        return Path(_read_front(reader, {}, path.absolute().parent, ())["run_directory"])
    front = reader.table(("front",), _read(reader, path).get("front", {}))
    written = {name: value for name, value in front.items() if name == "run_directory"}
    keys = tuple(key for key in FRONT if key.name == "run_directory")
    values = reader.keys(("front",), written, keys, Place(path.absolute().parent))
    if reader.errors:
        raise InvalidSettings(reader.errors)
    return Path(values["run_directory"])


def settings_for_command(
    argv: Sequence[str],
    cwd: Path,
    environ: Mapping[str, str],
    listen: Sequence[str] = (),
    *,
    run_directory: Path | None = None,
    name: str = "",
) -> Settings:
    """Settings of `portico run -- COMMAND`: one app, named after its folder, its output on the terminal, no
    access log: nothing is written into the folder.

    The words of the command are taken as they are (a shell has expanded them), placeholders apart.
    Raises InvalidSettings.
    """
    reader = Reader("", environ)
    place = Place(cwd, name or setting_rules.app_name_from_folder(cwd.name))
    front = _read_front(reader, {}, cwd, listen)
    front |= {"run_directory": run_directory or front["run_directory"], "access_log": ""}
    defaults = tuple(key for key in APP if key.name != "command")
    app = reader.keys(("apps", place.app), {}, defaults, place) | {"stdout_log": "-"}
    try:
        app["command"] = checked_words(list(argv))
    except Unfit as problem:
        reader.refuse(("COMMAND",), problem.read, problem.expected)
    if not argv or not argv[0]:
        reader.refuse(("COMMAND",), "nothing", "a command", "portico run -- uvicorn shop:app")
    if reader.errors:
        raise InvalidSettings(reader.errors)
    settings = Settings(file=None, front=FrontSettings(**front), apps=(AppSettings(name=place.app, **app),))
    for conflict in setting_rules.between_apps(settings.front, settings.apps):
        reader.refuse(("COMMAND",), conflict.read, conflict.expected)
    if reader.errors:
        raise InvalidSettings(reader.errors)
    return settings


def _read(reader: Reader, path: Path) -> dict[str, Any]:
    return reader.parse(_bytes_of(path))


def _bytes_of(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as problem:
        error = SettingsError("", f"nothing ({problem.strerror})", "a configuration file", file=str(path))
        raise InvalidSettings([error]) from problem


def _read_front(reader: Reader, data: Mapping[str, Any], base: Path, listen: Sequence[str]) -> dict[str, Any]:
    table = dict(reader.table(("front",), data.get("front", {})))
    keys: tuple[Key, ...] = FRONT
    modules = table.pop("modules", [])
    values: dict[str, Any] = {"modules": read_modules(reader, ("front", "modules"), modules, Place(base))}
    if listen:
        table = {name: value for name, value in table.items() if name != "listen"}
        values["listen"] = _listen_options(reader, listen)
        keys = tuple(key for key in FRONT if key.name != "listen")
    written = {name: value for name, value in table.items() if name != "tls"}
    values |= reader.keys(("front",), written, keys, Place(base))
    if "tls" in table:
        values["tls"] = read_tls(reader, table["tls"], base)
    listen_path = ("--listen",) if listen else ("front", "listen")
    _apply_tls_rules(reader, values, listen_path, "tls" in table)
    _apply_listen_rules(reader, values, listen_path)
    return values


def _apply_tls_rules(reader: Reader, values: Mapping[str, Any], listen: KeyPath, written: bool) -> None:
    encrypted = [one.url for one in values.get("listen", ()) if one.scheme == "https"]
    tls: TlsSettings | None = values.get("tls")
    if encrypted and not written:
        expected = "a table [front.tls] beside an https:// address"
        reader.refuse(listen, display(encrypted[0]), expected, '[front.tls] certificate = "shop.pem"')
    if tls is not None and tls.redirect and not (encrypted or tls.redirect_port):
        expected = "an https:// address to send visitors to, or redirect_port"
        reader.refuse(
            ("front", "tls", "redirect"), str(tls.redirect), expected, 'listen = ["https://0.0.0.0:443"]'
        )


def _apply_listen_rules(reader: Reader, values: Mapping[str, Any], path: KeyPath) -> None:
    listens: tuple[Listen, ...] = values.get("listen", ())
    plain = {listen.url for listen in listens if not listen.proxy_protocol}
    for listen in listens:
        if not listen.proxy_protocol:
            continue
        read = display(f"{listen.url} proxy_protocol")
        if values.get("trusted_proxies") == ():
            expected = "trusted_proxies beside it: whoever may speak this protocol says who is calling"
            reader.refuse(path, read, expected, 'trusted_proxies = ["10.0.0.0/8"]')
        if listen.url in plain and not (listen.scheme in ("http", "https") and listen.port == 0):
            reader.refuse(path, read, "an address with proxy_protocol or without it, not both")


def _listen_options(reader: Reader, listen: Sequence[str]) -> tuple[Listen, ...]:
    found = []
    for text in listen:
        try:
            found.append(parse_listen(text, Path.cwd()))
        except Unfit as problem:
            reader.refuse(("--listen",), display(text), problem.expected, problem.example.strip('"'))
    return tuple(found)


def _read_apps(reader: Reader, data: Mapping[str, Any], base: Path) -> tuple[AppSettings, ...]:
    """The apps whose keys are all right; the others left errors."""
    tables = reader.table(("apps",), data.get("apps", {}))
    if not tables and not data.get("apps"):
        reader.refuse(("apps",), "no app", "at least one table [apps.NAME]", "[apps.shop]")
    apps = []
    for name, table in tables.items():
        if not setting_rules.is_app_name(name):
            reader.refuse(("apps", name), f"the name {display(name)}", setting_rules.NAME_RULE, "[apps.shop]")
        if isinstance(table, dict):
            values = _read_app(reader, name, table, base)
            if len(values) == len(APP):
                modules = read_modules(
                    reader, ("apps", name, "modules"), table.get("modules", []), Place(base, name)
                )
                apps.append(AppSettings(name=name, **values, modules=modules))
        else:
            reader.table(("apps", name), table)
    return tuple(apps)


def _read_app(reader: Reader, name: str, table: Mapping[str, Any], base: Path) -> dict[str, Any]:
    path, place = ("apps", name), Place(base, name)
    others = {key: value for key, value in table.items() if key not in ("overlap", "modules")}
    values = reader.keys(path, others, APP, place)
    port = values.get("port", 0)
    overlap = next(key for key in APP if key.name == "overlap")
    if port:  # one port cannot be listened on by two generations: the default is another one
        overlap = dataclasses.replace(overlap, default=False)
    del values["overlap"]
    values |= reader.keys(path, {key: table[key] for key in table if key == "overlap"}, (overlap,), place)
    if port and values.get("overlap"):
        reader.refuse(
            (*path, "overlap"), "true", f"false, since port = {port} is one port", "overlap = false"
        )
    return values


def _apply_rules(reader: Reader, front: FrontSettings, apps: Sequence[AppSettings]) -> None:
    for conflict in setting_rules.between_apps(front, apps):
        path = ("apps", conflict.app, conflict.key)
        reader.refuse(path, conflict.read, conflict.expected, conflict.example)


# ------------------------------------------------------------------------------------------------------------
# Between our processes


def to_json(settings: Settings) -> str:
    """One line of ASCII from which `from_json` makes equal Settings. It holds the apps' secrets."""
    return json.dumps(dataclasses.asdict(settings), default=str)


def from_json(text: str) -> Settings:
    """Settings from `to_json` of the same release; other text raises KeyError, TypeError or ValueError."""
    data = json.loads(text)
    front = {name: _frozen(value) for name, value in data["front"].items()}
    front["listen"] = tuple(Listen(**listen) for listen in data["front"]["listen"])
    front["run_directory"] = Path(front["run_directory"])
    front["modules"] = _modules(data["front"])
    front["tls"] = tls_from(data["front"]["tls"])
    return Settings(
        file=_path(data["file"]),
        front=FrontSettings(**front),
        apps=tuple(_app(app) for app in data["apps"]),
        warnings=tuple(SettingsWarning(**warning) for warning in data["warnings"]),
    )


def without_secrets(settings: Settings) -> Settings:
    """The same without what workers need not know: commands and environments of the apps."""
    apps = (
        dataclasses.replace(app, command=(), environment=(), environment_with_port=(), environment_file=None)
        for app in settings.apps
    )
    return dataclasses.replace(settings, apps=tuple(apps))


def _app(data: Mapping[str, Any]) -> AppSettings:
    values = {name: _frozen(value) for name, value in data.items()}
    values["directory"] = Path(data["directory"])
    values["environment_file"] = _path(data["environment_file"])
    values["modules"] = _modules(data)
    return AppSettings(**values)


def _modules(data: Mapping[str, Any]) -> tuple[ModuleSettings, ...]:
    return tuple(ModuleSettings(**(module | {"files": tuple(module["files"])})) for module in data["modules"])


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
