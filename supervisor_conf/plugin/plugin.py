"""The plugin itself: one for each Supervisor object. It carries orders out and remembers; it decides nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from supervisor import events

from supervisor_conf import logfiles
from supervisor_conf.certificates import Unusable
from supervisor_conf.control import messages
from supervisor_conf.plugin import commands, sockets
from supervisor_conf.plugin.apps import ManagedApp
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.exits import wrap_get_signal
from supervisor_conf.plugin.front import ManagedWorker, Recycle
from supervisor_conf.plugin.keeper import ManagedKeeper
from supervisor_conf.plugin.reload import NOBODY, Reload
from supervisor_conf.plugin.shutdown import Shutdown
from supervisor_conf.plugin.source import Source
from supervisor_conf.plugin.spawn import ManagedProcess
from supervisor_conf.plugin.twins import Twins
from supervisor_conf.settings import AppSettings
from supervisor_conf.slots import slots_of

KEEPER: Final = "portico-keeper"
FRONT: Final = "portico-front"


class Plugin:
    def __init__(self, context: Context, source: Source | None, *, foreign: bool) -> None:
        """`foreign`: included in somebody's supervisord, where only our groups are touched."""
        self.context = context
        self._foreign = foreign
        self._managed: dict[int, ManagedProcess] = {}  # by id of the Subprocess, which the value keeps alive
        self._apps: dict[str, AppSettings] = {}
        self.settings_changed()
        self._shutdown = Shutdown(context, self.managed)
        self._twins = Twins(context, self._apps_of, self._manage_made, self._forget)
        self._recycle: Recycle | None = None
        self._reload = Reload(context, self, source, foreign=foreign)
        self._announced = False

    def install(self) -> None:
        """Called in the factory: groups exist, nothing was started yet."""
        guard = self.context.guard.wrap
        supervisord = self.context.supervisord
        for name in list(supervisord.process_groups):
            self._adopt_group(name)
        events.subscribe(events.ProcessStateEvent, guard(self._on_state))
        events.subscribe(events.ProcessGroupAddedEvent, guard(self._on_group_added))
        events.subscribe(events.ProcessGroupRemovedEvent, guard(self._on_group_removed))
        events.subscribe(events.SupervisorRunningEvent, guard(self._on_running))
        events.subscribe(events.SupervisorStoppingEvent, guard(self._on_stopping))
        hangup = None if self._foreign else guard(self._hangup)
        taken = wrap_get_signal(self.context.options, self.context.waker, hangup, guard(self._reopen_ours))
        turn = guard(self._turn)

        def get_signal() -> int | None:
            turn()
            signal_number: int | None = taken()
            return signal_number

        self.context.options.get_signal = get_signal

    def managed(self) -> Iterator[ManagedProcess]:
        """Every process of ours that supervisord has, the two of an overlap included."""
        for group in list(self.context.supervisord.process_groups.values()):
            for process in list(group.processes.values()):
                found = self._managed.get(id(process))
                if found is not None:
                    yield found

    def send(self, message: object) -> None:
        for one in self.managed():
            if isinstance(one, ManagedKeeper):
                one.send(message)

    # ----------------------------------------------------------------------------------------------------------
    # Groups

    def _adopt_group(self, name: str) -> None:
        group = self.context.supervisord.process_groups[name]
        for process in group.processes.values():
            made = self._manage(name, process)
            if made is not None:
                self._managed[id(process)] = made

    def _manage(self, group: str, process: Any) -> ManagedProcess | None:
        if group == KEEPER:
            return ManagedKeeper(self.context, process, self._receive, self._memory_message)
        if group == FRONT:
            return ManagedWorker(self.context, process)
        app = self._apps.get(group)
        if app is None:
            return None
        name = process.config.name
        place = int(name) if name.isdigit() and name != group else 0
        made = ManagedApp(self.context, process, app, slots_of(place)[0])
        made.on_end = self._twins.ended
        return made

    def _manage_made(self, process: Any, app: AppSettings, slot: int, seat: str) -> ManagedApp:
        made = ManagedApp(self.context, process, app, slot, seat)
        made.on_end = self._twins.ended
        self._managed[id(process)] = made
        return made

    def _forget(self, app: ManagedApp) -> None:
        self._managed.pop(id(app.process), None)

    def _manage_twin(self, process: Any) -> ManagedWorker:
        made = ManagedWorker(self.context, process)
        self._managed[id(process)] = made
        return made

    def _memory_message(self) -> messages.Memory:
        return self.context.memory.message(self._shutdown.told)

    def _apps_of(self, group: Any) -> list[ManagedApp]:
        found = [self._managed.get(id(process)) for process in group.processes.values()]
        return [one for one in found if isinstance(one, ManagedApp)]

    def _find_app(self, name: str, slot: int) -> ManagedApp | None:
        group = self.context.supervisord.process_groups.get(name)
        if group is None:
            return None
        found = [app for app in self._apps_of(group) if app.slot == slot]
        return max(found, key=lambda app: app.alive, default=None)

    def settings_changed(self) -> None:
        """Which groups are apps, and of what settings, is found in the context."""
        self._apps = {app.name: app for app in self.context.all_settings.apps}

    def apps_called(self, name: str) -> list[ManagedApp]:
        """The processes of this app, running or not."""
        group = self.context.supervisord.process_groups.get(name)
        return [] if group is None else self._apps_of(group)

    def app_changed(self, app: AppSettings) -> None:
        """Its processes have other settings from now on, and are as many as these say."""
        for managed in self.apps_called(app.name):
            managed.change(app)
        group = self.context.supervisord.process_groups.get(app.name)
        if group is not None and not self._foreign:
            self._twins.settle(group, app)

    # ----------------------------------------------------------------------------------------------------------
    # What supervisord tells

    def _on_state(self, event: Any) -> None:
        self.context.waker.poke()

    def tell_failure(self, managed: ManagedProcess) -> None:
        """A process of ours that keeps dying: one sentence for the person at the terminal."""
        said = managed.output.text().strip().rpartition("\n")[2]
        reason = said or managed.process.spawnerr or "it ends at once"
        self._say(f"{managed.name} cannot start: {reason}")

    def _on_group_added(self, event: Any) -> None:
        self._adopt_group(event.group)

    def _on_group_removed(self, event: Any) -> None:
        self._forget_absent()

    def _forget_absent(self) -> None:
        present = {
            id(process)
            for group in self.context.supervisord.process_groups.values()
            for process in group.processes.values()
        }
        for key in [key for key in self._managed if key not in present]:
            self.context.restarts.forget(self._managed.pop(key))

    def _on_running(self, event: Any) -> None:
        for interface in commands.namespaces(self.context.options.httpservers):
            commands.wrap(interface, self._apps_of, refuse_reload=not self._foreign)
        self.context.waker.poke()

    def _on_stopping(self, event: Any) -> None:
        if self._recycle is not None:
            self._recycle.stop()
        self._shutdown.install()
        self.context.waker.poke()

    def _hangup(self) -> None:
        self._reload.ask(NOBODY, "SIGHUP")

    def _turn(self) -> None:
        self.context.restarts.tick(time.monotonic())
        if self._recycle is not None:
            self._recycle.tick(time.monotonic())
        self._reload.tick(time.monotonic(), busy=self._recycle is not None)

    # ----------------------------------------------------------------------------------------------------------
    # What the keeper orders

    def _receive(self, order: Any) -> None:
        memory = self.context.memory
        match order:
            case messages.Start(app=name, slot=slot):
                self._start(name, slot)
            case messages.Promote(app=name, slot=slot, generation=generation):
                app = self._find_app(name, slot)
                if app is not None and app.current is not None and app.current.generation == generation:
                    self._twins.promote(app)
            case messages.Signal(app=name, slot=slot, generation=generation, signal=number):
                if (app := self._find_app(name, slot)) is not None:
                    app.signal(generation, number)
            case messages.AskOutput(generation=generation, app=name, slot=slot):
                app = self._find_app(name, slot)
                unknown = messages.Output(generation=generation, text="")
                output = unknown if app is None else app.newest_output(generation)
                self.send(replace(output, app=name))
            case messages.AdminStop(app=name, on=on):
                (memory.stopped.add if on else memory.stopped.discard)(name)
            case messages.RefuseStart(app=name, sentence=sentence):
                memory.refuse(name, sentence)
            case messages.Keep(key=key, text=text):
                if not memory.keep(key, text):
                    self.context.log.error("keep.refused", key=key, characters=len(text))
            case messages.Say(text=text):
                self._say(text)
            case messages.CertificatesRenewed():
                self._certificates_renewed()
            case messages.FrontReady(pid=pid):
                self._front_ready(pid)
            case messages.RecycleFront():
                if problem := self.replace_workers(all_of_them=True):
                    self.send(messages.FrontRecycled(problem=problem))
            case messages.Reload(asker=asker):
                self._reload.ask(asker, "app reload")
            case messages.AppGone(app=name):
                self._reload.app_gone(name)
            case messages.Reopen():
                self._reopen_all()
            case messages.AppsStopped():
                self._shutdown.apps_stopped()
                self.context.waker.poke()
            case _:
                self.context.log.warning("keeper.unknown-order", kind=type(order).__name__)

    def _start(self, name: str, slot: int) -> None:
        group = self.context.supervisord.process_groups.get(name)
        app = None if group is None else self._twins.for_start(group, slot)
        if app is None:
            sentence = f"supervisord has no process for slot {slot} of {name}."
            self.send(messages.SpawnFailed(app=name, slot=slot, sentence=sentence))
        else:
            app.start()
        self.context.waker.poke()

    def _certificates_renewed(self) -> None:
        try:
            self.context.certificates.refresh(self.context.settings.front.tls)
        except Unusable as problem:  # replaced once more, meanwhile: the keeper will say so
            self.context.log.warning("tls.unusable", problem=problem.sentence)

    def _front_ready(self, pid: int) -> None:
        self.context.log.info("worker.ready", pid=pid)
        if self._recycle is not None:
            self._recycle.ready(pid, time.monotonic())
        if not self._announced:
            self._announced = True
            for listen, bound in sockets.held().items():
                self._say(f"Portico serves {sockets.real_url(listen, bound)}")

    def replace_workers(self, *, all_of_them: bool) -> str:
        """Each new one first, with the settings as they are now; otherwise only more of them, or fewer, as
        supervisord's configuration has it: begun, or the problem in a sentence."""
        group = self.context.supervisord.process_groups.get(FRONT)
        if self._recycle is not None or group is None or self._shutdown.stage.value:
            return (
                "The workers are being replaced already."
                if self._recycle
                else "There are no workers to replace."
            )
        workers = [one for one in self.managed() if isinstance(one, ManagedWorker)]
        self._recycle = Recycle(self.context, group, workers, self._manage_twin, self._recycled)
        self._recycle.begin(time.monotonic(), all_of_them=all_of_them)
        self.context.waker.poke()
        return ""

    def _reopen_all(self) -> None:
        """`app reopen`: what supervisord does for SIGUSR2, and ours."""
        if not self._foreign:
            self.context.options.reopenlogs()
        for one in self.managed():
            one.process.reopenlogs()
        self._reopen_ours()

    def _reopen_ours(self) -> None:
        path = self.context.settings.front.run_directory / logfiles.EVENT_LOG
        problem = ""
        try:
            logfiles.reopen(self.context.log_fd, path)
        except OSError as error:
            problem = f"{path} cannot be opened: {error.strerror}."
        self.context.log.info("logs.reopened", problem=problem)
        self.send(messages.Reopened(problem=problem))

    def _recycled(self, problem: str) -> None:
        self._recycle = None
        self._forget_absent()
        self.context.log.info("front.recycled", problem=problem)
        self.send(messages.FrontRecycled(problem=problem))
        self._reload.workers_replaced(problem)

    def _say(self, text: str) -> None:
        self.context.log.info("said", text=text)
        if self.context.terminal is not None:
            self.context.terminal.say(text)
