"""supervisord has one thread, and an exception in a callback ends it. Everything it calls of ours passes here.

Also the self-test: what is touched of supervisord's insides is looked at before anything is started, so that an
unsuitable supervisor is one plain sentence and not a surprise in the middle of the night.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from supervisor import dispatchers, events, http, loggers, options, poller, process, rpcinterface, supervisord
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.xmlrpc import RPCError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

OLDEST: Final = (4, 3)

TOUCHED: Final[tuple[tuple[Any, str, tuple[str, ...]], ...]] = (
    (process.Subprocess, "__init__", ("self", "config")),
    (process.Subprocess, "spawn", ("self",)),
    (process.Subprocess, "_prepare_child_fds", ("self",)),
    (process.Subprocess, "set_uid", ("self",)),
    (process.Subprocess, "finish", ("self", "pid", "sts")),
    (process.Subprocess, "stop", ("self",)),
    (process.Subprocess, "kill", ("self", "sig")),
    (process.Subprocess, "give_up", ("self",)),
    (process.Subprocess, "transition", ("self",)),
    (process.Subprocess, "reopenlogs", ("self",)),
    (process.Subprocess, "change_state", ("self", "new_state", "expected")),
    (process.Subprocess, "get_state", ("self",)),
    (supervisord.Supervisor, "ordered_stop_groups_phase_1", ("self",)),
    (supervisord.Supervisor, "reap", ("self", "once", "recursionguard")),
    (supervisord.Supervisor, "runforever", ("self",)),
    (options.ServerOptions, "get_signal", ("self",)),
    (options.SignalReceiver, "get_signal", ("self",)),
    (options.ServerOptions, "reopenlogs", ("self",)),
    (options.ProcessConfig, "make_process", ("self", "group")),
    (options.ProcessConfig, "make_dispatchers", ("self", "proc")),
    (poller.PollPoller, "unregister_readable", ("self", "fd")),
    (poller.PollPoller, "unregister_writable", ("self", "fd")),
    (dispatchers.POutputDispatcher, "_init_normallog", ("self",)),
    (dispatchers.POutputDispatcher, "handle_read_event", ("self",)),
    (loggers.Logger, "__init__", ("self", "level", "handlers")),
    (loggers.Logger, "addHandler", ("self", "hdlr")),
    (rpcinterface.SupervisorNamespaceRPCInterface, "startProcess", ("self", "name", "wait")),
    (rpcinterface.SupervisorNamespaceRPCInterface, "stopProcess", ("self", "name", "wait")),
    (rpcinterface.SupervisorNamespaceRPCInterface, "stopProcessGroup", ("self", "name", "wait")),
    (rpcinterface.SupervisorNamespaceRPCInterface, "stopAllProcesses", ("self", "wait")),
    (rpcinterface.SupervisorNamespaceRPCInterface, "restart", ("self",)),
    (http, "make_http_servers", ("options", "supervisord")),
    (events, "subscribe", ("type", "callback")),
)
"""Owner, name and parameters of every function that is wrapped, called or relied upon."""

NAMES: Final[tuple[tuple[Any, str], ...]] = (
    (asyncore, "socket_map"),
    (asyncore, "ExitNow"),
    (supervisord.Supervisor, "stop_groups"),
    (events, "ProcessStateEvent"),
    (events, "ProcessGroupAddedEvent"),
    (events, "ProcessGroupRemovedEvent"),
    (events, "SupervisorRunningEvent"),
    (events, "SupervisorStoppingEvent"),
)


class Unsuitable(Exception):
    """This supervisor cannot carry Portico; the text is a sentence for the user."""


def self_test() -> None:
    """Raises Unsuitable."""
    version = options.VERSION
    if _number(version) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise Unsuitable(f"Portico needs supervisor {wanted} or newer, this is {version}.")
    for owner, name, parameters in TOUCHED:
        found = getattr(owner, name, None)
        if found is None or tuple(inspect.signature(found).parameters) != parameters:
            raise Unsuitable(_changed(version, owner, name))
    for owner, name in NAMES:
        if not hasattr(owner, name):
            raise Unsuitable(_changed(version, owner, name))


def _changed(version: str, owner: Any, name: str) -> str:
    where = getattr(owner, "__qualname__", None) or owner.__name__
    return f"Portico does not know supervisor {version}: its {where}.{name} is not what Portico builds on."


def _number(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split(".")[:2]:
        digits = "".join(letter for letter in part if letter.isdigit())
        numbers.append(int(digits or "0"))
    return tuple(numbers)


class Guard:
    """Makes callbacks that supervisord may call: what they raise is logged, never passed on."""

    def __init__(self, log: Any, logger: Any) -> None:
        """`log`: our event log; `logger`: supervisord's, where a person looks first."""
        self._log = log
        self._logger = logger

    def wrap(self, function: Callable[Parameters, Result]) -> Callable[Parameters, Result | None]:
        @functools.wraps(function)
        def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result | None:
            try:
                return function(*args, **kwargs)
            except (asyncore.ExitNow, RPCError):
                # The two that supervisord itself uses to be told something.
                raise
            except Exception as error:  # noqa: BLE001 (the one place whose task this is)
                self.report(getattr(function, "__qualname__", repr(function)), error)
                return None

        return guarded

    def report(self, where: str, error: BaseException) -> None:
        """Log an exception of ours. Called while it is being handled."""
        self._log.error("plugin.bug", where=where, exc_info=error)
        self._logger.critical(f"portico: {type(error).__name__} in {where}: {error} (details in portico.log)")
