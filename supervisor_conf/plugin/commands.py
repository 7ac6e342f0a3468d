"""Plain `supervisorctl` words stay truthful: what Portico adds to supervisord's own RPC methods.

Instances are wrapped here too: every HTTP server of supervisord has a namespace object of its own.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

from supervisor.options import split_namespec
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import RUNNING_STATES
from supervisor.xmlrpc import Faults, RPCError

from supervisor_conf.plugin.apps import ManagedApp

RELOAD: Final = (
    "This would restart every process and is not done: `app reload` applies a changed configuration, "
    "`app recycle NAME` restarts one app."
)

WAIT_TURN: Final = 0.05
"""Seconds between two looks at a process that stops. supervisord has 0: it would spin until the process ended."""

AppsOf = Callable[[Any], list[ManagedApp]]
"""The apps among the processes of a process group of supervisord."""


def namespaces(httpservers: Iterable[tuple[Any, Any]]) -> list[SupervisorNamespaceRPCInterface]:
    """The `supervisor` namespaces of all HTTP servers."""
    found = []
    for _, server in httpservers:
        for handler in server.handlers:
            # A server with a password has the handler inside another one.
            root = getattr(getattr(handler, "handler", handler), "rpcinterface", None)
            found += [one for one in vars(root or _NOTHING).values() if _is_main(one)]
    return found


_NOTHING = types.SimpleNamespace()


def _is_main(one: object) -> bool:
    return isinstance(one, SupervisorNamespaceRPCInterface)


def wrap(interface: SupervisorNamespaceRPCInterface, apps_of: AppsOf, *, refuse_reload: bool) -> None:
    """Each method stays one: supervisord calls nothing else (CVE-2017-11610)."""

    def named(name: Any) -> list[ManagedApp]:
        group_name, process_name = split_namespec(str(name))
        group = interface.supervisord.process_groups.get(group_name)
        if group is None:
            return []
        apps = apps_of(group)
        return (
            apps if process_name is None else [app for app in apps if app.process.config.name == process_name]
        )

    def everything() -> list[ManagedApp]:
        return [app for group in interface.supervisord.process_groups.values() for app in apps_of(group)]

    def start(stock: Any, name: Any, wait: Any = True) -> Any:
        _, process_name = split_namespec(str(name))
        if process_name is not None:
            for app in named(name):
                app.refuse_start()
        return stock(name, wait)

    def stop(stock: Any, name: Any, wait: Any = True) -> Any:
        _remember(named(name))
        return _patient(stock(name, wait))

    def stop_group(stock: Any, name: Any, wait: Any = True) -> Any:
        group = interface.supervisord.process_groups.get(name)
        _remember([] if group is None else apps_of(group))
        return stock(name, wait)

    def stop_all(stock: Any, wait: Any = True) -> Any:
        _remember(everything())
        return stock(wait)

    def restart(stock: Any) -> Any:
        raise RPCError(Faults.FAILED, RELOAD)

    _replace(interface, "startProcess", start)
    _replace(interface, "stopProcess", stop)
    _replace(interface, "stopProcessGroup", stop_group)
    _replace(interface, "stopAllProcesses", stop_all)
    if refuse_reload:
        _replace(interface, "restart", restart)


def _remember(apps: list[ManagedApp]) -> None:
    """`stop` on an app that does not run is an answer «not running», and still an administrative stop."""
    for app in apps:
        if app.state not in RUNNING_STATES:
            app.administrative_stop()


def _patient(answer: Any) -> Any:
    if isinstance(answer, types.FunctionType) and getattr(answer, "delay", None) == 0:
        answer.delay = WAIT_TURN  # type: ignore[attr-defined]
    return answer


def _replace(interface: Any, name: str, function: Callable[..., Any]) -> None:
    stock = getattr(interface, name)

    @functools.wraps(stock)  # its docstring answers system.methodHelp
    def method(_: Any, *args: Any, **kwargs: Any) -> Any:
        return function(stock, *args, **kwargs)

    setattr(interface, name, types.MethodType(method, interface))
