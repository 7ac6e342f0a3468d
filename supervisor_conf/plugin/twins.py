"""What the processes of an app are called: while one follows the other, and when their number changes.

`shop` runs; its successor is started as `shop-new`; when it is ready it becomes `shop`, and the old one
`shop-draining-PID` until it has ended. So plain `supervisorctl status|stop|restart|tail shop` means the one that
serves at any moment, and for `reread` nothing has changed: only `group.processes` is touched, never its config.

`group.processes` is changed from the link's handler, from `finish` and in a reload's turn only: never while supervisord
iterates over it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from supervisor.states import STOPPED_STATES, ProcessStates

from supervisor_conf.plugin.apps import ManagedApp
from supervisor_conf.plugin.context import Context
from supervisor_conf.settings import AppSettings
from supervisor_conf.slots import place_of, slots_of


class Twins:
    def __init__(
        self,
        context: Context,
        apps_of: Callable[[Any], list[ManagedApp]],
        manage: Callable[[Any, AppSettings, int, str], ManagedApp],
        forget: Callable[[ManagedApp], None],
    ) -> None:
        """`manage` wraps a process made here, for a slot and a seat; `forget` takes it out again."""
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
        named = next((app for app in apps if app.place == place_of(slot) and app.has_its_name), None)
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
        for one in (app, named):
            one.tell_name()
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

    def settle(self, group: Any, app: AppSettings) -> None:
        """`app.processes` are other places than before: each has a process of its name, who runs goes on, and who has
        no place any more is draining, for which the keeper cares."""
        apps = self._apps_of(group)
        here = {place: [one for one in apps if one.place == place] for place in range(app.processes)}
        surplus = [one for one in apps if one.place >= app.processes]
        foreign = [
            process for process in group.processes.values() if all(one.process is not process for one in apps)
        ]
        group.processes.clear()
        group.processes.update((process.config.name, process) for process in foreign)
        for place, seated in here.items():
            self._seat(group, app, place, seated)
        for one in surplus:
            one.sit("", f"{one.place}-draining-{one.process.pid}")
            group.processes[one.process.config.name] = one.process
            if not one.alive:
                self._drop(one)

    def _seat(self, group: Any, app: AppSettings, place: int, seated: list[ManagedApp]) -> None:
        name = group.config.name if app.processes == 1 else str(place)
        owners = [one for one in seated if one.has_its_name] or sorted(seated, key=lambda one: one.alive)
        owner = owners[-1] if owners else None
        for one in seated:
            word = f"draining-{one.process.pid}" if "-draining-" in one.process.config.name else "new"
            one.sit(name, name if one is owner else f"{name}-{word}")
            group.processes[one.process.config.name] = one.process
        if owner is None:
            stock = next(one for one in group.config.process_configs if one.name == name)
            process = group.processes[name] = stock.make_process(group)
            self._manage(process, app, slots_of(place)[0], name)

    def _beside(self, named: ManagedApp, slot: int) -> ManagedApp:
        group = named.process.group
        stock = next(one for one in group.config.process_configs if one.name == named.seat)
        config = copy.copy(stock)
        config.name = f"{named.seat}-new"
        process = config.make_process(group)
        group.processes[config.name] = process
        return self._manage(process, named.app, slot, named.seat)

    def _drop(self, app: ManagedApp) -> None:
        """Out of `supervisorctl status`."""
        process = app.process
        if process.get_state() == ProcessStates.BACKOFF:
            process.give_up()
        if process.get_state() in STOPPED_STATES and not app.alive:
            if process.group.processes.get(process.config.name) is process:
                del process.group.processes[process.config.name]
            self._forget(app)
