"""Settings are values: made once by `load_settings`, frozen, handed on whole. Nothing performs I/O through them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listen:
    """One address of `[front] listen`. `scheme`: "http", "unix" or "fd" ("https" comes with TLS)."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    @property
    def url(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        if self.scheme == "fd":
            return f"fd:{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """`[front]`. Durations are seconds (float), sizes bytes."""

    listen: tuple[Listen, ...]
    workers: int
    run_directory: Path
    user: str
    drain_limit: float
    trusted_proxies: tuple[str, ...]
    max_request_body: int
    max_header_bytes: int
    header_timeout: float
    keep_alive_timeout: float
    access_log: str
    quick_lane: bool
    forwarded_for_port: bool
    via: str
    reload_on_change: bool


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
    environment: tuple[tuple[str, str], ...]
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
    stdout_log: str  # absolute path prefix, "" = none, "-" = the terminal of `portico run -- COMMAND`
    stdout_log_max_bytes: int
    stdout_log_keep: int
    startup_error_page: bool
    shim: str
    overlap: bool
    recycle_after: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    file: Path | None  # None: `portico run -- COMMAND`
    front: FrontSettings
    apps: tuple[AppSettings, ...]
