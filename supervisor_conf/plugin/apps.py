"""Apps: a fresh generation, port, token and log at every start; exits told to the keeper."""

from __future__ import annotations

import dataclasses
import errno
import marshal
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates
from supervisor.xmlrpc import Faults, RPCError

from supervisor_conf import accounts, cgroups, launch, nonces
from supervisor_conf.control import messages
from supervisor_conf.plugin import app_sockets, sockets
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.descriptors import memory_file
from supervisor_conf.plugin.output import Sink
from supervisor_conf.plugin.spawn import ManagedProcess
from supervisor_conf.plugin.terminal import TerminalSink
from supervisor_conf.settings import AppSettings
from supervisor_conf.slots import place_of
from supervisor_conf.stdoutlog import StdoutLog, log_path, prune

HOST: Final = "127.0.0.1"
LOWEST_PORT, HIGHEST_PORT = 10_000, 32_767
"""Below Linux's ephemeral ports (32768..), so that no outgoing connection takes one in between."""
_TRIES: Final = 200

ENDING: Final = "Portico is shutting down."


class ManagedApp(ManagedProcess):
    """One process of one app. `current` is its generation while it runs, else None.

    `place`: which of the app's processes it is, 0 … `processes` - 1; `seat`: the name of that place in supervisord;
    `slot`: which of the two slots of the place it was started in last (`supervisor_conf/slots.py`).
    """

    def __init__(self, context: Context, process: Any, app: AppSettings, slot: int, seat: str = "") -> None:
        super().__init__(context, process)
        self.app = app
        self.slot = slot
        self.place = place_of(slot)
        self.seat = seat or process.config.name
        self.on_end: Callable[[ManagedApp], None] = _nothing
        self.current: messages.Spawned | None = None
        self._asked = False
        self._admin_stop = process.stop
        process.stop = self.stop
        config = process.config
        config.autostart = config.autorestart = False
        config.startsecs = config.startretries = 0
        config.stopsignal = signal.SIGTERM
        config.stopasgroup = True
        config.stopwaitsecs = app.shutdown_time_limit
        config.stdout_logfile = None
        self._minted: messages.Spawned | None = None

    def change(self, app: AppSettings) -> None:
        """New settings: for the next start, for the patience with a stop, and for the log."""
        before, self.app = self.app, app
        self.process.config.stopwaitsecs = app.shutdown_time_limit
        if self.current is not None and _log_settings(before) != _log_settings(app):
            self._change_log(self.current)

    def sit(self, seat: str, name: str) -> None:
        """Its place has another name, or none: "". `name`: its own from now on."""
        self.seat = seat
        self.process.config.name = name
        self.tell_name()

    def tell_name(self) -> None:
        """What is remembered of it has its name of now."""
        if self.current is not None:
            self.current = dataclasses.replace(self.current, process=self.name)
            self.context.memory.running[self.process.pid] = self.current

    @property
    def has_its_name(self) -> bool:
        """Nobody else stands in its place, or goes: it is the one that supervisord calls by the place's name."""
        name: str = self.process.config.name
        return name == self.seat

    # ----------------------------------------------------------------------------------------------------------
    # Orders of the keeper

    def start(self) -> None:
        """`Start`: answered by Spawned or SpawnFailed, whatever happens."""
        if self.context.options.mood < SupervisorStates.RUNNING:
            # RPC starts are refused by supervisord; a start of our own would hang the shutdown.
            return self.not_started(ENDING)
        if self.process.pid:
            return self.not_started(f"{self.name} still runs (pid {self.process.pid}).")
        self._asked = True
        try:
            self.process.spawn()
        finally:
            self._asked = False

    def signal(self, generation: int, number: int) -> None:
        """`Signal`: a stop, to the process group. A generation that has ended is not there to be signalled."""
        if self.current is None or self.current.generation != generation or not self.process.pid:
            return
        if number in signal.valid_signals():
            self.kill(number)

    def kill(self, number: int) -> None:
        """supervisord shows STOPPING, and sends SIGKILL itself when stopwaitsecs have passed."""
        if self.state in (ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.STOPPING):
            self.process.kill(number)

    def newest_output(self, generation: int) -> messages.Output:
        """The output of the generation that runs, or ran last; empty for any other."""
        if self._minted is None or self._minted.generation != generation:
            return messages.Output(generation=generation, text="")
        self.read_waiting_output()
        return messages.Output(
            generation=generation, text=self.output.text(), first_after=self.output.first_after
        )

    # ----------------------------------------------------------------------------------------------------------
    # supervisorctl

    def stop(self) -> Any:
        """In place of Subprocess.stop, which only `supervisorctl stop` and its like call on an app."""
        self.administrative_stop()
        return self._admin_stop()

    def administrative_stop(self) -> None:
        """Remembered also when nothing runs, until `supervisorctl start`."""
        if self.context.options.mood < SupervisorStates.RUNNING:
            return
        self.context.memory.stopped.add(self.app.name)
        self.context.log.info("app.admin-stop", app=self.app.name, slot=self.slot)
        self.context.send(messages.AdminStopped(app=self.app.name, slot=self.slot))

    def refuse_start(self) -> None:
        """Raises RPCError when `supervisorctl start` is refused. Its text reaches every RPC client."""
        sentence = self.context.memory.refusals.get(self.app.name, "")
        if sentence and not self.process.pid:
            self.process.spawnerr = sentence
            self.context.log.warning("app.start-refused", app=self.app.name, why=sentence)
            raise RPCError(Faults.SPAWN_ERROR, sentence)

    # ----------------------------------------------------------------------------------------------------------
    # One start

    def prepare(self) -> tuple[int, ...]:
        if not self._asked:
            self.context.memory.stopped.discard(self.app.name)
        self.process.config.stdout_logfile = None
        self._minted = None
        minted = self._mint()
        order = launch_order(self.app, minted, self.context.shim, sockets.https_port())
        fd = memory_file("portico-launch", marshal.dumps(order))
        self._minted = minted
        if not minted.handed:
            return (fd,)
        try:
            # `spawn` closes our copy after the fork: the kernel then refuses whoever comes when the app is gone.
            return (fd, app_sockets.listen(minted.socket))
        except OSError:
            os.close(fd)
            raise

    @property
    def secret(self) -> str:
        return "" if self._minted is None else self._minted.token

    @property
    def cgroup(self) -> str:
        return "" if self._minted is None else self._minted.cgroup

    def _mint(self) -> messages.Spawned:
        memory = self.context.memory
        name = self.app.name
        nonce = nonces.mint(self.context.settings.front.run_directory)
        generation = memory.next_generation(name)
        by_port = self.app.transport == "port"
        return messages.Spawned(
            app=name,
            process=self.name,
            slot=self.slot,
            generation=generation,
            pid=0,
            host=HOST if by_port else "",
            port=self._fresh_port() if by_port else 0,
            socket="" if by_port else self._fresh_socket(generation),
            token=secrets.token_hex(32),
            nonce=nonce,
            log="",
            at=time.time(),
            asked=self._asked,
            handed=self.app.transport == "fd",
            path=self.app.path,
            user=self.app.user,
            cgroup=self.context.cgroups.make(nonce),
        )

    def _fresh_port(self) -> int:
        memory = self.context.memory
        taken = {one.port for one in memory.running.values()} | {memory.ports.get(self.app.name, 0)}
        port = self.app.port or free_port(HOST, taken)
        memory.ports[self.app.name] = port
        return port

    def _fresh_socket(self, generation: int) -> str:
        front = self.context.settings.front
        group = accounts.workers_group(front.user)
        used = {one.socket for one in self.context.memory.running.values()}
        return app_sockets.fresh_path(
            front.run_directory, self.app.name, generation, self.app.user, group, used
        )

    def started(self, pid: int) -> None:
        assert self._minted is not None
        sink, log = self._open_log(pid, self._minted.at)
        self.output.sink = sink
        self.process.config.stdout_logfile = log or None
        self._minted = self.current = _with_pid(self._minted, pid, log)
        self.context.memory.running[pid] = self.current
        self.context.log.info(
            "app.spawned",
            app=self.app.name,
            generation=self.current.generation,
            pid=pid,
            port=self.current.port,
            socket=self.current.socket,
            log=log,
            asked=self._asked,
        )
        self.context.send(self.current)

    def not_started(self, sentence: str) -> None:
        if self._minted is not None and self._minted.pid == 0:
            _remove_socket(self._minted)
            cgroups.remove(self._minted.cgroup)
        self.context.log.warning("app.not-spawned", app=self.app.name, slot=self.slot, why=sentence)
        if self._asked or self.context.options.mood < SupervisorStates.RUNNING or self.process.pid:
            self.context.send(messages.SpawnFailed(app=self.app.name, slot=self.slot, sentence=sentence))
        if not self.alive:
            self.on_end(self)

    def _open_log(self, pid: int, started: float, *, again: bool = False) -> tuple[Sink | None, str]:
        """Where the output goes, and the path of it. A log that cannot be made is a warning."""
        if self.app.stdout_log == "-":
            terminal = self.context.terminal
            return (None if terminal is None else TerminalSink(terminal)), ""
        if not self.app.stdout_log:
            return None, ""
        path = log_path(self.app.stdout_log, started, pid)
        try:
            limits = self.app.stdout_log_max_bytes, self.app.stdout_log_keep
            sink = StdoutLog(
                path, *limits, self._log_problem, turned_over=lambda: self._prune(str(path)), again=again
            )
        except OSError as error:
            self._log_problem(f"{path} cannot be created: {error.strerror}.")
            return None, ""
        self._prune(str(path))
        return sink, str(path)

    def _change_log(self, current: messages.Spawned) -> None:
        """While it runs: the other end of its pipe is here."""
        sink, prefix = self.output.sink, self.app.stdout_log
        if (
            isinstance(sink, StdoutLog)
            and prefix
            and current.log == str(log_path(prefix, current.at, current.pid))
        ):
            sink.change(self.app.stdout_log_max_bytes, self.app.stdout_log_keep)
            return self._prune(current.log)
        self.output.sink, log = self._open_log(current.pid, current.at, again=True)
        if sink is not None:
            sink.close()
        self.process.config.stdout_logfile = log or None
        self.current = dataclasses.replace(current, log=log)
        self.context.memory.running[current.pid] = self.current

    def _prune(self, newest: str) -> None:
        """The oldest files beyond `stdout_log_keep`; those that are being written stay."""
        in_use = {one.log for one in self.context.memory.running.values() if one.log} | {newest}
        try:
            prune(self.app.stdout_log, self.app.stdout_log_keep, in_use)
        except OSError as error:
            self._log_problem(f"logs {self.app.stdout_log}_… cannot be removed: {error.strerror}.")

    def _log_problem(self, sentence: str) -> None:
        self.context.log.warning("app.log-problem", app=self.app.name, problem=sentence)
        self.context.options.logger.warn(f"{self.app.name}: {sentence}")

    def ended(self, pid: int, status: int) -> None:
        ended, self.current = self.current, None
        self.context.memory.running.pop(pid, None)
        if ended is None:
            return
        _remove_socket(ended)
        administrative = bool(self.process.administrative_stop)
        self.context.log.info(
            "app.exited",
            app=self.app.name,
            generation=ended.generation,
            pid=pid,
            status=_in_words(status),
            administrative=administrative,
        )
        self.context.send(
            messages.Exited(
                app=self.app.name,
                slot=self.slot,
                generation=ended.generation,
                pid=pid,
                status=status,
                last_output=self.output.text(),
                administrative=administrative,
                at=time.time(),
                first_output=self.output.first_after,
            )
        )
        self.on_end(self)

    @property
    def gone(self) -> bool:
        return self.state in STOPPED_STATES


def _log_settings(app: AppSettings) -> tuple[str, int, int]:
    return app.stdout_log, app.stdout_log_max_bytes, app.stdout_log_keep


def _nothing(app: ManagedApp) -> None:
    """Nobody has to be told."""


def launch_order(
    app: AppSettings, minted: messages.Spawned, shim: Path | None, https_port: int = 0
) -> launch.Order:
    """What `launch.py` reads: the shape of the contract between the two.

    `fd`: where the launcher puts the listening socket, which it finds behind the order; -1 if there is none.
    `https_port`: of the front, 0 if there is none or more than one.
    """
    return {
        "https_port": https_port,
        "argv": list(app.command),
        "directory": str(app.directory),
        "environment": dict(app.environment),
        "filled": list(app.environment_with_port),
        "environment_file": str(app.environment_file) if app.environment_file else "",
        "user": app.user,
        "umask": None,
        "parent": os.getpid(),
        "path": app.path,
        "http_auth": app.http_auth,
        "schemes": app.schemes,
        "host": minted.host,
        "port": minted.port,
        "socket": "" if minted.handed else minted.socket,
        "fd": launch.ORDER_FD if minted.handed else -1,
        "token": minted.token,
        "nonce": minted.nonce,
        "shim": str(shim) if shim is not None and app.shim == "auto" else "",
    }


def free_port(host: str, taken: Collection[int]) -> int:
    """A random port on which nobody listens now. Not reserved: an app without SO_REUSEADDR could not bind then.

    Raises OSError (EADDRINUSE) when so many tries all met a listener.
    """
    for _ in range(_TRIES):
        port = LOWEST_PORT + secrets.randbelow(HIGHEST_PORT - LOWEST_PORT + 1)
        if port not in taken and nobody_listens(host, port):
            return port
    raise OSError(errno.EADDRINUSE, "no free port was found")


def nobody_listens(host: str, port: int) -> bool:
    """By listening there for a moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return False
    return True


def _remove_socket(generation: messages.Spawned) -> None:
    if generation.socket:
        app_sockets.remove(generation.socket)


def _with_pid(minted: messages.Spawned, pid: int, log: str) -> messages.Spawned:
    return dataclasses.replace(minted, pid=pid, log=log)


def _in_words(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        named = {one.value: one.name for one in signal.Signals}  # real-time signals have no name
        return f"killed by {named.get(number, f'signal {number}')}"
    return f"exit status {os.WEXITSTATUS(status)}"
