"""The end, in tiers of our own: listeners, workers, apps, keeper.

supervisord stops one group after another, a second for each that has nothing to stop. Here whoever belongs to a
tier is stopped at once, and whoever does not run costs nothing.

    FRONT   listeners closed, Ending("front") to the keeper, workers drain (SIGTERM; SIGKILL after drain_limit)
    APPS    Ending("apps"): the keeper stops every app and answers AppsStopped; without a keeper, or past the
            deadline, SIGTERM and SIGKILL from here
    KEEPER  the last
    OVER    supervisord leaves as soon as nothing runs any more

Stages are entered and left in supervisord's `ordered_stop_groups_phase_1`, which it calls in every turn while it
goes down. Included in somebody's supervisord, its own groups go as they always did.
"""

from __future__ import annotations

import enum
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates

from supervisor_conf.control import messages
from supervisor_conf.plugin import sockets
from supervisor_conf.plugin.apps import ManagedApp
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.front import ManagedWorker
from supervisor_conf.plugin.keeper import ManagedKeeper
from supervisor_conf.plugin.spawn import ManagedProcess

MARGIN: Final = 5.0
"""Seconds beyond the longest shutdown_time_limit in which the keeper has to be done with every app."""


class Stage(enum.Enum):
    UP = ""
    FRONT = "front"
    APPS = "apps"
    KEEPER = "keeper"
    OVER = "over"


class Shutdown:
    def __init__(self, context: Context, managed: Callable[[], Iterable[ManagedProcess]]) -> None:
        self.stage = Stage.UP
        self._context = context
        self._managed = managed
        self._deadline = 0.0
        self._ask_keeper = False
        """An app ran when the stage began: the keeper sweeps after it before it says AppsStopped."""
        self._apps_stopped = False
        self._forced = False

    @property
    def told(self) -> str:
        """The Ending that a keeper which comes only now has to know of."""
        return self.stage.value if self.stage in (Stage.FRONT, Stage.APPS) else ""

    def install(self) -> None:
        """At SupervisorStoppingEvent: our groups leave supervisord's list, our stages take its first phase."""
        supervisord = self._context.supervisord
        ours = {id(one.process.group) for one in self._managed()}
        supervisord.stop_groups = [group for group in supervisord.stop_groups if id(group) not in ours]
        stock = supervisord.ordered_stop_groups_phase_1

        def phase_1() -> None:
            stock()
            step()

        step = self._context.guard.wrap(self.step)
        supervisord.ordered_stop_groups_phase_1 = phase_1
        if self._context.options.mood == SupervisorStates.SHUTDOWN:
            # At once: nobody may wait in a queue from which nobody will accept. A reload (of somebody else's
            # supervisord; ours refuses it) needs them again.
            sockets.close_all()
        self._enter(Stage.FRONT)

    def apps_stopped(self) -> None:
        self._apps_stopped = True

    def step(self) -> None:
        """As many stages as are done already: a shutdown with nothing to stop is one turn."""
        while self._left():
            self._enter(Stage(list(Stage)[list(Stage).index(self.stage) + 1]))

    # ----------------------------------------------------------------------------------------------------------

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self._context.log.info("shutdown.stage", stage=stage.value)
        match stage:
            case Stage.FRONT:
                self._context.send(messages.Ending(stage="front"))
                for worker in self._of(ManagedWorker):
                    _stop(worker)
            case Stage.APPS:
                limits = [app.shutdown_time_limit for app in self._context.settings.apps]
                self._deadline = time.monotonic() + max(limits, default=0.0) + MARGIN
                self._ask_keeper = bool(self._unstopped(ManagedApp))
                if self._ask_keeper:
                    self._context.send(messages.Ending(stage="apps"))
            case Stage.KEEPER:
                for keeper in self._of(ManagedKeeper):
                    _stop(keeper)
            case Stage.OVER:
                if self._context.terminal is not None:
                    self._context.terminal.finish()

    def _left(self) -> bool:
        """The stage is over."""
        match self.stage:
            case Stage.FRONT:
                return not self._unstopped(ManagedWorker)
            case Stage.APPS:
                return self._apps_left()
            case Stage.KEEPER:
                return not self._unstopped(ManagedKeeper)
            case _:
                return False

    def _apps_left(self) -> bool:
        apps = self._unstopped(ManagedApp)
        if not self._keeper_works() and not self._forced and apps:
            self._stop_apps(apps)
        return not apps and (self._apps_stopped or not self._keeper_works() or not self._ask_keeper)

    def _keeper_works(self) -> bool:
        return any(keeper.listens for keeper in self._of(ManagedKeeper)) and time.monotonic() < self._deadline

    def _stop_apps(self, apps: list[ManagedApp]) -> None:
        self._forced = True
        self._context.log.warning("shutdown.without-keeper", apps=[app.name for app in apps])
        for app in apps:
            if app.state == ProcessStates.STOPPING:
                # The keeper has asked it already; its time may be over.
                app.kill(signal.SIGKILL if time.monotonic() >= self._deadline else signal.SIGTERM)
            else:
                _stop(app)

    def _of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self._managed() if isinstance(one, kind)]

    def _unstopped(self, kind: type[Any]) -> list[Any]:
        return [one for one in self._of(kind) if one.state not in STOPPED_STATES]


def _stop(managed: ManagedProcess) -> None:
    process = managed.process
    if managed.state in (ProcessStates.STARTING, ProcessStates.RUNNING):
        process.kill(process.config.stopsignal)
    elif managed.state == ProcessStates.BACKOFF:
        process.give_up()
