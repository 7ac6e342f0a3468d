"""One process of ours inside supervisord: how it is forked, what it inherits, what happens when it ends.

Instances of `supervisor.process.Subprocess` are wrapped, never the class: programs of somebody else in the same
supervisord are forked as stock does. Each wrapped process works on its own copy of its ProcessConfig, so that
nothing that is set here for a start is a difference for `supervisorctl reread` (which would stop the process).

The cures, in the order in which they act:

* all signals are blocked around the fork, and the child sets them to their defaults before it lets them in: a
  SIGTERM that arrives between fork and exec is not swallowed by supervisord's inherited handler;
* parent and child both make the process group: a signal to the group never finds none;
* only the descriptors meant for it reach the child, and closing the others is one system call;
* the child dies with supervisord (PDEATHSIG, set after the user was changed, which clears it);
* when the process has ended, the rest of its group is killed.
"""

from __future__ import annotations

import copy
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from supervisor.loggers import Logger
from supervisor.states import ProcessStates

from supervisor_conf import cgroups
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.descriptors import lay_out
from supervisor_conf.plugin.output import Output, OutputHandler, beware_of_empty_pipes, is_readable

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
"""Loaded before any fork: a child between fork and exec must not import."""

NOT_OURS: Final = ("SUPERVISOR_", "LISTEN_", "PORTICO_")
"""Variables of supervisord, of a socket activator, of an outer Portico: no child of ours inherits them."""


class ManagedProcess:
    """Wraps one Subprocess. Subclasses say what it inherits and what its life means to the keeper."""

    dies_with_supervisord = True
    restarts = False
    """Whether it is started again when it ends by itself."""

    def __init__(self, context: Context, process: Any) -> None:
        self.context = context
        self.process = process
        self.forked = time.monotonic()
        self.output = Output(self.forked)
        self._sources: tuple[int, ...] = ()
        self._parent = os.getpid()
        process.config = copy.copy(process.config)
        process.config.redirect_stderr = True
        process.config.killasgroup = True
        self._stock_spawn = process.spawn
        self._stock_set_uid = process.set_uid
        self._stock_finish = process.finish
        guard = context.guard.wrap
        process.spawn = guard(self.spawn)
        process._prepare_child_fds = self._prepare_child_fds
        process.set_uid = self._set_uid
        process.finish = guard(self.finish)
        process.transition = guard(process.transition)

    @property
    def name(self) -> str:
        """supervisord's name for it: "shop", "portico-front:0"."""
        group, name = self.process.group.config.name, self.process.config.name
        return name if name == group else f"{group}:{name}"

    @property
    def state(self) -> int:
        state: int = self.process.get_state()
        return state

    @property
    def alive(self) -> bool:
        return bool(self.process.pid)

    # ----------------------------------------------------------------------------------------------------------
    # What subclasses say

    @property
    def cgroup(self) -> str:
        """The folder of the cgroup that the next start is to be in; "": the one that supervisord is in."""
        return ""

    def prepare(self) -> tuple[int, ...]:
        """Make ready for one start; the descriptors that the child shall find at 3, 4, …; closed by `spawn`."""
        return ()

    @property
    def secret(self) -> str:
        """What its output must not show."""
        return ""

    def started(self, pid: int) -> None:
        """The fork has happened; supervisord's loop has not turned yet."""

    def not_started(self, sentence: str) -> None:
        """There was no fork."""

    def ended(self, pid: int, status: int) -> None:
        """Reaped, group killed. `status`: raw wait status."""

    # ----------------------------------------------------------------------------------------------------------
    # Start

    def spawn(self) -> int | None:
        """In place of Subprocess.spawn: the pid, or None."""
        if self.process.pid:
            self._stock_spawn()  # says so in supervisord's log
            return None
        try:
            self._sources = self.prepare()
        except OSError as error:
            self._fail(f"cannot prepare a start of {self.name}: {error.strerror}")
            return None
        try:
            return self._fork()
        finally:
            for fd in self._sources:
                os.close(fd)
            self._sources = ()

    def _fork(self) -> int | None:
        self._parent = os.getpid()
        self.forked = time.monotonic()
        self.output = Output(self.forked, self.secret)
        with _signals_blocked():
            pid: int | None = self._stock_spawn()
        if pid is None:
            self._note_failure(self.process.spawnerr or "supervisord did not fork")
            return None
        try:
            os.setpgid(pid, pid)
        except (PermissionError, ProcessLookupError):
            # The child has done it itself, has gone on to exec, or is gone.
            pass
        self._listen_to_output()
        self.started(pid)
        return pid

    def _fail(self, sentence: str) -> None:
        """As Subprocess.spawn does when it cannot fork."""
        self.process.laststart = time.time()
        self.process.change_state(ProcessStates.STARTING)
        self.process.record_spawnerr(sentence)
        self.process.change_state(ProcessStates.BACKOFF)
        self._note_failure(sentence)

    def _note_failure(self, sentence: str) -> None:
        self.not_started(sentence)
        if self.restarts:
            self.context.restarts.ended(self, 0.0, time.monotonic())

    def _listen_to_output(self) -> None:
        handler = OutputHandler(self.output, time.monotonic)
        for dispatcher in self.process.dispatchers.values():
            if getattr(dispatcher, "channel", "") != "stdout":
                continue
            beware_of_empty_pipes(dispatcher)
            if dispatcher.normallog is None:
                dispatcher.normallog = Logger(handlers=[])
                dispatcher.childlog = dispatcher.normallog
            dispatcher.normallog.addHandler(handler)

    def read_waiting_output(self) -> None:
        """What stands in the pipe now. Subprocess.drain would take an empty pipe for a closed one."""
        for fd, dispatcher in list(self.process.dispatchers.items()):
            if dispatcher.readable() and is_readable(fd):
                dispatcher.handle_read_event()

    # ----------------------------------------------------------------------------------------------------------
    # In the child, between fork and exec

    def _prepare_child_fds(self) -> None:
        cgroups.enter(self.cgroup)
        pipes = self.process.pipes
        os.dup2(pipes["child_stdin"], 0)
        os.dup2(pipes["child_stdout"], 1)
        os.dup2(pipes["child_stdout"], 2)
        lay_out(self._sources)
        _let_signals_in()

    def _set_uid(self) -> str | None:
        problem: str | None = self._stock_set_uid()
        for name in [name for name in os.environ if name.startswith(NOT_OURS)]:
            del os.environ[name]
        if problem is None and self.dies_with_supervisord:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._parent:
                # supervisord died before the line above: nobody would ever tell.
                os._exit(1)
        return problem

    # ----------------------------------------------------------------------------------------------------------
    # End

    def finish(self, pid: int, status: int) -> None:
        """In place of Subprocess.finish, which is called when the process was reaped."""
        try:
            self._stock_finish(pid, status)
        finally:
            # Whatever supervisord makes of it: there is no such process any more.
            self.process.pid = 0
            kill_group(pid)
            self.ended(pid, status)
            self.output.end()
            if self.restarts:
                now = time.monotonic()
                self.context.restarts.ended(self, now - self.forked, now)


def kill_group(pid: int) -> None:
    """Kill what is left of the group that `pid` led."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Nobody is left, or it is a set-user-ID program that is not ours to kill.
        pass


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_signals_in() -> None:
    """Defaults first, then the mask: whatever waited since the fork does now what it does to any program.

    SIGPIPE and SIGXFSZ too: Python ignores them, and an ignored signal stays ignored across exec.
    """
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
