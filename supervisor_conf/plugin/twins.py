"""Two processes of an app in one place: what they are called while one follows the other.

`shop` runs; its successor is started as `shop-new`; when it is ready it becomes `shop`, and the old one
`shop-draining-PID` until it has ended. So plain `supervisorctl status|stop|restart|tail shop` means the one that
serves at any moment, and for `reread` nothing has changed: only `group.processes` is touched, never its config.

`group.processes` is changed from the link's handler and from `finish` only: never while supervisord iterates over it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from supervisor.states import STOPPED_STATES, ProcessStates

from supervisor_conf.plugin.apps import ManagedApp
from supervisor_conf.plugin.context import Context


class Twins:
    def __init__(
        self,
        context: Context,
        apps_of: Callable[[Any], list[ManagedApp]],
        manage: Callable[[Any, ManagedApp, int], ManagedApp],
        forget: Callable[[ManagedApp], None],
    ) -> None:
        """`manage` wraps a process made here, beside another one, for a slot; `forget` takes it out again."""
        self._context = context
        self._apps_of = apps_of
        self._manage = manage
        self._forget = forget

    def for_start(self, group: Any, slot: int) -> ManagedApp | None:
        """The process that a start in `slot` is to use: the one of that name if it is free, else a second one."""
        apps = self._apps_of(group)
        running = next((app for app in apps if app.slot == slot and app.alive), None)
        if running is not None:
            return running
        processes = len(group.config.process_configs)
        named = next((app for app in apps if app.place == slot % processes and app.has_its_name), None)
        if named is None:
            return None
        if not named.alive:
            named.slot = slot
            return named
        return self._beside(named, slot)

    def promote(self, app: ManagedApp) -> None:
        """It takes the name of its place; who had it is draining."""
        if app.has_its_name:
            return
        group = app.process.group
        old = group.processes.get(app.seat)
        named = next((one for one in self._apps_of(group) if one.process is old), None)
        if old is None or named is None:
            # `supervisorctl update` has replaced the group meanwhile.
            return
        group.processes.pop(app.process.config.name, None)
        old.config.name, app.process.config.name = f"{app.seat}-draining-{old.pid}", app.seat
        group.processes[app.seat] = app.process
        group.processes[old.config.name] = old
        self._context.log.info("app.promoted", app=app.app.name, pid=app.process.pid, old=old.pid)
        running = self._context.memory.running
        for one in (app, named):
            if one.current is not None:
                one.current = dataclasses.replace(one.current, process=one.name)
                running[one.process.pid] = one.current
        if not named.alive:
            self._drop(named)

    def ended(self, app: ManagedApp) -> None:
        """It runs no more, or was never forked."""
        group = app.process.group
        if not app.has_its_name:
            self._drop(app)
            return
        others = (one for one in self._apps_of(group) if one.place == app.place and one.alive)
        successor = next(others, None)
        if successor is not None:
            self.promote(successor)

    def _beside(self, named: ManagedApp, slot: int) -> ManagedApp:
        group = named.process.group
        stock = next(one for one in group.config.process_configs if one.name == named.seat)
        config = copy.copy(stock)
        config.name = f"{named.seat}-new"
        process = config.make_process(group)
        group.processes[config.name] = process
        return self._manage(process, named, slot)

    def _drop(self, app: ManagedApp) -> None:
        """Out of `supervisorctl status`."""
        process = app.process
        if process.get_state() == ProcessStates.BACKOFF:
            process.give_up()
        if process.get_state() in STOPPED_STATES and not app.alive:
            if process.group.processes.get(process.config.name) is process:
                del process.group.processes[process.config.name]
            self._forget(app)
