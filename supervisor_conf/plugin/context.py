"""What every part of the plugin is given."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor_conf.cgroups import Home
from supervisor_conf.plugin.certificates import HeldCertificates
from supervisor_conf.plugin.exits import Waker
from supervisor_conf.plugin.guard import Guard
from supervisor_conf.plugin.memory import PluginMemory
from supervisor_conf.plugin.restarts import Restarts
from supervisor_conf.plugin.terminal import Terminal
from supervisor_conf.settings import AppSettings, Settings


@dataclass(slots=True)
class Context:
    supervisord: Any
    settings: Settings  # the truth: what the keeper, and every start of an app, is given
    of_workers: Settings  # what every new worker is given: earlier ones, where these brought no worker up
    leaving: tuple[AppSettings, ...]  # apps that are in the settings no more, and still run
    memory: PluginMemory
    log: Any  # our event log
    log_fd: int  # RUN/portico.log, for the keeper and the workers
    guard: Guard
    waker: Waker
    terminal: Terminal | None
    shim: Path | None
    cgroups: Home
    restarts: Restarts
    certificates: HeldCertificates
    send: Callable[[object], None]  # to the keeper; forgotten when there is none: the next one gets Memory

    @staticmethod
    def now() -> float:
        """Monotonic seconds."""
        return time.monotonic()

    @property
    def all_settings(self) -> Settings:
        """For the keeper, who takes care of apps until they are gone."""
        return dataclasses.replace(self.settings, apps=(*self.settings.apps, *self.leaving))

    @property
    def options(self) -> Any:
        return self.supervisord.options
