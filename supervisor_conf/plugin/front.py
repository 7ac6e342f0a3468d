"""The workers: they alone inherit the listening sockets; replaced one at a time, each new one first.

A group restart of supervisord stops every worker before it starts any, so that with one long request in flight
every visitor waits for it. Here the new worker stands beside the old one until it is ready.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable
from typing import Any, Final

from supervisor.states import RUNNING_STATES, STOPPED_STATES, ProcessStates

from supervisor_conf import logfiles
from supervisor_conf.control import messages
from supervisor_conf.plugin import sockets
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.descriptors import memory_file
from supervisor_conf.plugin.keeper import always_there
from supervisor_conf.plugin.spawn import ManagedProcess
from supervisor_conf.settings import to_json, without_secrets

STOP_MARGIN: Final = 5.0
"""Seconds beyond `drain_limit`, in which the worker itself gives up what still runs."""
READY_LIMIT: Final = 30.0
"""Seconds in which a new worker has to be ready; after that the old one stays."""


class ManagedWorker(ManagedProcess):
    restarts = True

    def __init__(self, context: Context, process: Any) -> None:
        super().__init__(context, process)
        always_there(process.config)
        process.config.stopwaitsecs = context.settings.front.drain_limit + STOP_MARGIN
        self._environment = dict(process.config.environment or {})
        self.on_end: Callable[[ManagedWorker], None] | None = None

    def prepare(self) -> tuple[int, ...]:
        listening = [bound.fileno() for bound in sockets.bind_all(self.context.settings.front.listen)]
        count = len(listening)
        self.process.config.environment = {
            **self._environment,
            "LISTEN_FDS": str(count),
            "PORTICO_SETTINGS_FD": str(3 + count),
            "PORTICO_LOG_FD": str(4 + count),
        }
        access = self._access_log()
        if access:
            self.process.config.environment["PORTICO_ACCESS_FD"] = str(5 + count)
        told = memory_file("portico-settings", to_json(without_secrets(self.context.settings)).encode())
        # Copies: `spawn` closes what it is given.
        return (*(os.dup(fd) for fd in listening), told, os.dup(self.context.log_fd), *access)

    def _access_log(self) -> tuple[int, ...]:
        """One descriptor, or none: what cannot be opened is a warning, and requests are served without it."""
        setting = self.context.settings.front.access_log
        try:
            descriptor = logfiles.access_log(setting)
        except OSError as error:
            sentence = f"the access log {setting} cannot be opened: {error.strerror}."
            self.context.log.warning("front.log-problem", problem=sentence)
            self.context.options.logger.warn(f"portico: {sentence}")
            return ()
        return () if descriptor is None else (descriptor,)

    def started(self, pid: int) -> None:
        self.context.memory.workers[pid] = self.name
        self.context.log.info("worker.spawned", worker=self.name, pid=pid)
        self.context.send(messages.WorkerSpawned(process=self.name, pid=pid))

    def not_started(self, sentence: str) -> None:
        self.context.log.error("worker.not-spawned", worker=self.name, why=sentence)
        if self.on_end is not None:
            self.on_end(self)

    def ended(self, pid: int, status: int) -> None:
        name = self.context.memory.workers.pop(pid, self.name)
        self.context.log.info(
            "worker.exited", worker=name, pid=pid, status=status, last_output=self.output.text()[-2000:]
        )
        self.context.send(messages.WorkerExited(process=name, pid=pid))
        if self.on_end is not None:
            self.on_end(self)


@dataclasses.dataclass(slots=True)
class _Replacement:
    """One worker's turn."""

    name: str  # config name: "0"
    old: ManagedWorker
    new: ManagedWorker
    deadline: float  # monotonic
    promoted: bool = False


class Recycle:
    """`app recycle portico-front`: one attempt, from RecycleFront to FrontRecycled.

    `group.processes` is changed from the link's handler, `finish` and the turn only: never while supervisord
    iterates over it in `transition`.
    """

    def __init__(
        self,
        context: Context,
        group: Any,
        workers: list[ManagedWorker],
        manage: Callable[[Any], ManagedWorker],
        done: Callable[[str], None],
    ) -> None:
        """`manage` wraps a process made here; `done` is called once, with a problem or ""."""
        self._context = context
        self._group = group
        self._waiting = [worker for worker in workers if worker.state in RUNNING_STATES]
        self._manage = manage
        self._done = done
        self._current: _Replacement | None = None
        self.over = False

    def begin(self, now: float) -> None:
        self._next(now)

    def ready(self, pid: int, now: float) -> None:
        """The keeper says that this worker accepts and has its routes."""
        current = self._current
        if current is None or current.promoted or current.new.process.pid != pid:
            return
        self._promote(current)
        if not current.old.alive:
            self._drop(current.old)
            self._next(now)

    def tick(self, now: float) -> None:
        current = self._current
        if current is not None and not current.promoted and now >= current.deadline:
            self._abandon(
                f"The new worker {current.new.name} was not ready within {READY_LIMIT:.0f} seconds."
            )

    def stop(self) -> None:
        """supervisord goes down: its tiers stop both."""
        self._current = None
        self._finish("Portico is shutting down.")

    # ----------------------------------------------------------------------------------------------------------

    def _next(self, now: float) -> None:
        self._current = None
        if not self._waiting:
            self._finish("")
            return
        old = self._waiting.pop(0)
        name = old.process.config.name
        if self._group.processes.get(name) is not old.process:
            # `supervisorctl update` has removed the group meanwhile.
            self._finish(f"The worker {name} is gone.")
            return
        new = self._twin(old, f"{name}-new")
        self._current = _Replacement(name=name, old=old, new=new, deadline=now + READY_LIMIT)
        new.on_end = self._new_ended
        new.process.spawn()

    def _twin(self, old: ManagedWorker, name: str) -> ManagedWorker:
        stock = next(one for one in self._group.config.process_configs if one.name == old.process.config.name)
        config = copy.copy(stock)
        config.name = name
        process = config.make_process(self._group)
        self._group.processes[name] = process
        twin = self._manage(process)
        # Until it takes the place of the old one, a failure is an answer and no reason to try again.
        twin.process.config.autostart = False
        twin.restarts = False
        return twin

    def _promote(self, current: _Replacement) -> None:
        current.promoted = True
        processes = self._group.processes
        old, new = current.old.process, current.new.process
        draining = f"{current.name}-draining-{old.pid}"
        processes.pop(new.config.name, None)
        old.config.name, new.config.name = draining, current.name
        processes[draining], processes[current.name] = old, new
        current.new.restarts = True
        current.new.on_end = None
        self._context.memory.workers[new.pid] = current.new.name
        self._context.send(messages.WorkerSpawned(process=current.new.name, pid=new.pid))
        self._context.log.info("worker.replaced", worker=current.new.name, pid=new.pid, old=old.pid)
        current.old.on_end = self._old_ended
        current.old.restarts = False
        if old.get_state() in (ProcessStates.STARTING, ProcessStates.RUNNING):
            old.stop()
        elif old.get_state() == ProcessStates.BACKOFF:
            old.give_up()

    def _new_ended(self, worker: ManagedWorker) -> None:
        current = self._current
        if current is not None and worker is current.new:
            said = worker.output.text().strip().rpartition("\n")[2]
            self._abandon(
                f"The new worker {worker.name} ended before it was ready" + (f": {said}" if said else ".")
            )

    def _old_ended(self, worker: ManagedWorker) -> None:
        self._drop(worker)
        if self._current is not None and worker is self._current.old:
            self._next(self._context.now())

    def _abandon(self, problem: str) -> None:
        """The old one stays; the new one goes."""
        current, self._current = self._current, None
        assert current is not None
        current.new.on_end = self._drop
        if current.new.alive and current.new.state in (ProcessStates.STARTING, ProcessStates.RUNNING):
            current.new.process.stop()
        elif not current.new.alive:
            self._drop(current.new)
        self._finish(problem)

    def _drop(self, worker: ManagedWorker) -> None:
        """Out of `supervisorctl status`."""
        if worker.process.get_state() == ProcessStates.BACKOFF:
            worker.process.give_up()
        if worker.state in STOPPED_STATES:
            self._group.processes.pop(worker.process.config.name, None)
            self._context.restarts.forget(worker)

    def _finish(self, problem: str) -> None:
        if not self.over:
            self.over = True
            self._done(problem)
