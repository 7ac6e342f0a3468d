"""`[rpcinterface:portico]`: how the plugin gets into supervisord.

    supervisor.rpcinterface_factory = supervisor_conf.plugin.rpc:make

`portico run` calls `prepare` and then becomes supervisord in the same process. In somebody else's supervisord
nothing was prepared: the section has `config=/path/to/portico.toml`, and the plugin loads and binds by itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from backend_shim import autoload
from supervisor_conf import cgroups, eventlog, logfiles, run_directory
from supervisor_conf.conffile import render_supervisorctl_conf
from supervisor_conf.plugin import guard, memory, sockets
from supervisor_conf.plugin.certificates import HeldCertificates
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.descriptors import lift, make_room
from supervisor_conf.plugin.exits import Waker
from supervisor_conf.plugin.plugin import Plugin
from supervisor_conf.plugin.restarts import Restarts
from supervisor_conf.plugin.source import Source
from supervisor_conf.plugin.terminal import Terminal
from supervisor_conf.settings import InvalidSettings, Settings, load_settings

API_VERSION = "1"


@dataclass(frozen=True, slots=True)
class _Prepared:
    settings: Settings
    terminal: Terminal | None
    shim: Path | None
    source: Source | None


class Namespace:
    """What XML-RPC clients may call as `portico.…`: nothing that knows a token, an order or a path."""

    __slots__ = ()

    def getAPIVersion(self) -> str:
        """Return the version of this namespace

        @return string version
        """
        return API_VERSION


_prepared: _Prepared | None = None
_made: tuple[Any, Plugin] | None = None
"""The Supervisor object and its plugin: the factory is called once for each HTTP server of supervisord."""


def prepare(
    settings: Settings, *, terminal: int | None, shim: Path | None, source: Source | None = None
) -> None:
    """What `make` will find. Raises guard.Unsuitable, sockets.AddressUnavailable.

    `terminal`: descriptor for the lines that a person shall read, None for nobody. `shim`: the folder that goes
    first on the apps' PYTHONPATH. `source`: where the settings can be read again; None: nowhere.
    """
    global _prepared
    guard.self_test()
    sockets.bind_all(settings.front.listen)
    _prepared = _Prepared(settings, None if terminal is None else Terminal(terminal), shim, source)


def make(supervisord: Any, **config: str) -> Namespace:
    """The factory. Raises ValueError, whose text supervisord prints before it leaves."""
    global _made
    if _made is None or _made[0] is not supervisord:
        if _made is not None:
            _dismiss(_made[1])
        plugin = _plugin(supervisord, **config)
        plugin.install()
        _made = (supervisord, plugin)
    return Namespace()


def _dismiss(plugin: Plugin) -> None:
    """A reload of somebody else's supervisord has made a new Supervisor: the old pipe leaves the poller."""
    plugin.context.waker.close()
    os.close(plugin.context.log_fd)


def _plugin(supervisord: Any, config: str = "", **unknown: str) -> Plugin:
    options = supervisord.options
    if unknown:
        _leave(options, f"[rpcinterface:portico] has no key {sorted(unknown)[0]}.")
    prepared = _prepared
    if prepared is None:
        prepared = _prepare_by_itself(options, config)
    run = prepared.settings.front.run_directory
    try:
        log_fd = _open_log(run / logfiles.EVENT_LOG)
    except OSError as error:
        _leave(options, f"{run / logfiles.EVENT_LOG} cannot be opened: {error.strerror}.")
    form = eventlog.Form(prepared.settings.front.event_log_format)
    log = eventlog.open_event_log(log_fd, process="plugin", form=form)
    context = Context(
        supervisord=supervisord,
        settings=prepared.settings,
        of_workers=prepared.settings,
        leaving=(),
        memory=memory.of_this_supervisord(),
        log=log,
        log_fd=log_fd,
        guard=guard.Guard(log, options.logger),
        waker=Waker(),
        terminal=prepared.terminal,
        shim=prepared.shim,
        certificates=HeldCertificates(log),
        cgroups=cgroups.find_home(),
        restarts=Restarts(options, lambda managed: plugin.tell_failure(managed)),
        send=lambda message: plugin.send(message),
    )
    log.info("cgroups.home", folder=str(context.cgroups.folder or ""), why=context.cgroups.why)
    plugin = Plugin(context, prepared.source, foreign=_prepared is None)
    return plugin


def _prepare_by_itself(options: Any, config: str) -> _Prepared:
    if not config:
        _leave(options, "[rpcinterface:portico] needs config=/path/to/portico.toml.")
    if not make_room(options.minfds):
        options.logger.warn(
            f"portico: a reload of this supervisord will close its listening sockets: the limit of open files "
            f"(`ulimit -n`) is not above minfds={options.minfds}."
        )
    try:
        guard.self_test()
        settings = load_settings(Path(config), os.environ)
        for warning in settings.warnings:
            options.logger.warn(f"portico: {warning.error.sentence}")
        shim = _take_run_directory(settings)
        sockets.bind_all(settings.front.listen)
    except _REASONS_TO_LEAVE as error:
        _leave(options, str(error))
    return _Prepared(settings, None, shim, Source(Path(config).absolute(), dict(os.environ)))


_REASONS_TO_LEAVE = (
    guard.Unsuitable,
    sockets.AddressUnavailable,
    InvalidSettings,
    run_directory.UnusableRunDirectory,
    OSError,
)


def _take_run_directory(settings: Settings) -> Path:
    """What `portico run` does with its folder: ours alone, with the shim and the file for `portico ctl`."""
    directory = settings.front.run_directory
    if directory not in _locks:  # a reload comes here again, and the lock is ours already
        _locks[directory] = run_directory.prepare(directory, included=True)
    run_directory.write(directory / run_directory.SUPERVISORCTL_CONF, render_supervisorctl_conf(settings))
    return autoload.install(directory / run_directory.SHIM)


_locks: dict[Path, run_directory.Lock] = {}
"""Held until this process ends."""


def _open_log(path: Path) -> int:
    low = logfiles.open_for_appending(path)
    try:
        return lift(low)
    finally:
        os.close(low)


def _leave(options: Any, sentence: str) -> NoReturn:
    options.logger.critical(f"portico: {sentence}")
    raise ValueError(sentence)
