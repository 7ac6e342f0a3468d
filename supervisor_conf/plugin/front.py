"""The workers: they alone inherit the listening sockets; replaced one after the other, each new one first.

A group restart of supervisord stops every worker before it starts any, so that with one long request in flight
every visitor waits for it. Here the new worker stands beside the old one until it is ready.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections import deque
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
        process.config.stopwaitsecs = context.of_workers.front.drain_limit + STOP_MARGIN
        self._environment = dict(process.config.environment or {})
        self.on_end: Callable[[ManagedWorker], None] | None = None

    def prepare(self) -> tuple[int, ...]:
        listening = [bound.fileno() for bound in sockets.bind_all(self.context.of_workers.front.listen)]
        count = len(listening)
        self.process.config.environment = {
            **self._environment,
            "LISTEN_FDS": str(count),
            "PORTICO_SETTINGS_FD": str(3 + count),
            "PORTICO_LOG_FD": str(4 + count),
        }
        tls = self._certificates()  # the only one that may fail
        access = self._access_log()
        if access:
            self.process.config.environment["PORTICO_ACCESS_FD"] = str(5 + count)
        if tls:
            self.process.config.environment["PORTICO_TLS_FD"] = str(5 + count + len(access))
        told = memory_file("portico-settings", to_json(without_secrets(self.context.of_workers)).encode())
        # Copies: `spawn` closes what it is given.
        return (*(os.dup(fd) for fd in listening), told, os.dup(self.context.log_fd), *access, *tls)

    def _certificates(self) -> tuple[int, ...]:
        """One descriptor, or none. Raises OSError."""
        tls = self.context.of_workers.front.tls
        return () if tls is None else (self.context.certificates.descriptor(tls),)

    def _access_log(self) -> tuple[int, ...]:
        """One descriptor, or none: what cannot be opened is a warning, and requests are served without it."""
        setting = self.context.of_workers.front.access_log
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
    old: ManagedWorker | None  # None: there is one more than before
    new: ManagedWorker
    deadline: float  # monotonic


class Recycle:
    """`app recycle portico-front`, a reload: one attempt, from the order to `done`.

    Workers that are missing are started, then the others replaced one after the other, each new one first; at last
    those go that are more than supervisord's configuration has. None waits for the drain of another: with open
    WebSockets each takes `drain_limit`, and one after the other would take that many times as long. It ends when
    all have ended, so that no worker is left with what was.

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
        self._workers = {one.process.config.name: one for one in workers}
        self._waiting: deque[tuple[str, ManagedWorker | None]] = deque()
        self._surplus: list[ManagedWorker] = []
        self._draining: list[ManagedWorker] = []
        self._manage = manage
        self._done = done
        self._current: _Replacement | None = None
        self.over = False

    def begin(self, now: float, *, all_of_them: bool) -> None:
        """Otherwise only who is missing, or one too many."""
        configured = [config.name for config in self._group.config.process_configs]
        self._waiting.extend((name, None) for name in configured if name not in self._workers)
        if all_of_them:
            present = [(name, self._workers[name]) for name in configured if name in self._workers]
            self._waiting.extend(one for one in present if one[1].state in RUNNING_STATES)
        self._surplus = [
            worker
            for name, worker in self._workers.items()
            if name.isdigit() and name not in configured  # others are draining already
        ]
        self._next(now)

    def ready(self, pid: int, now: float) -> None:
        """The keeper says that this worker accepts and has its routes."""
        if self._current is not None and self._current.new.process.pid == pid:
            self._promote(self._current)
            self._next(now)

    def tick(self, now: float) -> None:
        current = self._current
        if current is not None and now >= current.deadline:
            self._abandon(
                f"The new worker {current.new.name} was not ready within {READY_LIMIT:.0f} seconds."
            )

    def stop(self) -> None:
        """supervisord goes down: its tiers stop all."""
        self._current = None
        self._finish("Portico is shutting down.")

    # ----------------------------------------------------------------------------------------------------------

    def _next(self, now: float) -> None:
        self._current = None
        if not self._waiting:
            while self._surplus:
                self._retire(self._surplus.pop())
            if not self._draining:
                self._finish("")
            return
        name, old = self._waiting.popleft()
        if old is not None and self._group.processes.get(name) is not old.process:
            # `supervisorctl update` has removed the group meanwhile.
            self._finish(f"The worker {name} is gone.")
            return
        new = self._make(name, f"{name}-new")
        self._current = _Replacement(name=name, old=old, new=new, deadline=now + READY_LIMIT)
        new.on_end = self._new_ended
        new.process.spawn()

    def _make(self, stock_name: str, name: str) -> ManagedWorker:
        stock = next(one for one in self._group.config.process_configs if one.name == stock_name)
        config = copy.copy(stock)
        config.name = name
        process = config.make_process(self._group)
        self._group.processes[name] = process
        made = self._manage(process)
        # Until it takes its place, a failure is an answer and no reason to try again.
        made.process.config.autostart = False
        made.restarts = False
        return made

    def _promote(self, current: _Replacement) -> None:
        old, new = current.old, current.new.process
        self._group.processes.pop(new.config.name, None)
        if old is not None:
            self._retire(old)
        new.config.name = current.name
        self._group.processes[current.name] = new
        current.new.restarts = True
        current.new.on_end = None
        self._context.memory.workers[new.pid] = current.new.name
        self._context.send(messages.WorkerSpawned(process=current.new.name, pid=new.pid))
        replaced = None if old is None else old.process.pid
        self._context.log.info("worker.replaced", worker=current.new.name, pid=new.pid, old=replaced)

    def _retire(self, worker: ManagedWorker) -> None:
        """It leaves its name, and goes when its requests are over."""
        process = worker.process
        self._group.processes.pop(process.config.name, None)
        process.config.name = f"{process.config.name}-draining-{process.pid}"
        self._group.processes[process.config.name] = process
        worker.restarts = False
        worker.on_end = self._old_ended
        self._draining.append(worker)
        if worker.state in (ProcessStates.STARTING, ProcessStates.RUNNING):
            process.stop()
        if not worker.alive:
            self._old_ended(worker)

    def _new_ended(self, worker: ManagedWorker) -> None:
        current = self._current
        if current is not None and worker is current.new:
            said = worker.output.text().strip().rpartition("\n")[2]
            self._abandon(
                f"The new worker {worker.name} ended before it was ready" + (f": {said}" if said else ".")
            )

    def _old_ended(self, worker: ManagedWorker) -> None:
        self._drop(worker)
        self._draining = [one for one in self._draining if one is not worker]
        if self._current is None and not (self._waiting or self._surplus or self._draining):
            self._finish("")

    def _abandon(self, problem: str) -> None:
        """Who was there before stays; the new one goes."""
        current, self._current = self._current, None
        assert current is not None
        self._waiting.clear()
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
