"""The modules of a worker, run in written order: the front's before an app is chosen, the app's own after that.

Where none is configured there is no pipeline, and a request does not know that there could be one.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar, cast

import structlog
from gevent import get_hub

from proxy.exchange import Exchange
from proxy.failures import Cause, Failure, Side, Stage
from proxy.modules import BadOption, Module
from proxy.modules.answers import Answer, Refuse
from proxy.modules.shipped import EXTRAS, SHIPPED
from proxy.modules.visit import Named, Visit
from proxy.responders import Responder, Responders, broken
from supervisor_conf.accounts import NoSuchUser, workers_user
from supervisor_conf.module_settings import ENTRY_POINTS, ModuleSettings
from supervisor_conf.settings import Settings

Result = TypeVar("Result")


class BadModule(Exception):
    """A module that cannot be loaded, or does not work with its options; the message is a sentence. `mistake`: it would
    not on any machine."""

    mistake = False


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """`proxy.modules.Context` in a real worker."""

    app: str
    number: int
    workers: int
    run_directory: Path
    uid: int
    forwards_credentials: bool
    log: Any
    clock: Callable[[], float]

    def now(self) -> float:
        return self.clock()

    def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        result, error = get_hub().threadpool.apply(_outcome, (function, arguments))
        if error is None:
            return cast(Result, result)
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


def _outcome(function: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[object, Exception | None]:
    """What is raised in a thread is handed over: gevent would print its traceback too, though it is expected."""
    try:
        return function(*arguments), None
    except Exception as error:  # noqa: BLE001  (raised again by whoever waits)
        return None, error


class Chain:
    """The modules of one place, by what they want to be asked. A method that is not overridden is not called."""

    def __init__(self, modules: Sequence[tuple[str, Module]]) -> None:
        self.names = [name for name, _ in modules]
        self.modules = [module for _, module in modules]
        self.requests: list[Named] = [(name, m.request) for name, m in modules if _overrides(m, "request")]
        answering = [
            (name, m) for name, m in reversed(modules) if m.every_answer or _overrides(m, "response")
        ]
        self.responders: list[Responder] = [(name, m.every_answer or m.response) for name, m in answering]
        self.ends: list[Named] = [(name, m.finished) for name, m in modules if _overrides(m, "finished")]


class Pipeline:
    """All chains of a worker."""

    def __init__(self, front: Chain, apps: dict[str, Chain]) -> None:
        self._front = front
        self._apps = apps
        self._responders = Responders.of(front.responders)
        # What an answer passes, and who is told of the end, once an app with modules of its own is chosen
        self._chosen = {
            app: (Responders.of([*chain.responders, *front.responders]), [*chain.ends, *front.ends])
            for app, chain in apps.items()
            if chain.modules
        }

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], float]) -> Pipeline | None:
        """None when no module is configured anywhere. Raises BadModule."""
        if not settings.front.modules and not any(app.modules for app in settings.apps):
            return None
        reach_folder_of(settings)
        _import_threads()
        front = _load(settings.front.modules, "", settings, clock)
        return cls(front, {app.name: _load(app.modules, app.name, settings, clock) for app in settings.apps})

    def before_choice(self, exchange: Exchange, connection: Any) -> Answer | None:
        """The first answer of the front's modules. Raises Failure."""
        exchange.visit = visit = Visit(exchange, connection, self._responders, self._front.ends)
        exchange.phase = "modules"
        return _first_answer(self._front.requests, visit)

    def of_app(self, exchange: Exchange, app: str) -> Answer | None:
        """The same of the modules of the app that was chosen."""
        chosen = self._chosen.get(app)
        if chosen is None:
            return None
        visit = exchange.visit
        assert visit is not None
        visit.responders, visit.ends = chosen
        return _first_answer(self._apps[app].requests, visit)

    def finished(self, exchange: Exchange) -> None:
        """The exchange is over. What a module fails in now, nobody waits for: it is logged."""
        visit = exchange.visit
        if visit is None:
            return
        for name, end in visit.ends:
            try:
                end(visit)
            except BaseException:  # noqa: BLE001  others' code
                broken(name)
        exchange.visit = None  # they hold each other, and with them a stream and all that encrypts it

    def doubts(self) -> Iterator[tuple[str, str]]:
        """What modules know that will not work for who we are: their names and sentences."""
        for chain in (self._front, *self._apps.values()):
            for name, module in zip(chain.names, chain.modules, strict=True):
                for sentence in doubts_of(module):
                    yield name, sentence

    def close(self) -> None:
        for chain in (self._front, *self._apps.values()):
            for module in chain.modules:
                try:
                    module.close()
                except (Exception, SystemExit):  # noqa: BLE001  others' code, and the next one is to be closed too
                    broken(type(module).__name__)


def doubts_of(module: Module) -> list[str]:
    """What a module raises over it is one."""
    try:
        return list(module.doubts())
    except Exception as error:  # noqa: BLE001  others' code
        return [f"it cannot say what it doubts: {_reason(error)}"]


def _first_answer(requests: Sequence[Named], visit: Visit) -> Answer | None:
    name = ""
    try:
        for name, request in requests:
            if (answer := request(visit)) is not None:
                visit.answerer = name
                return _checked(answer)
    except Failure:
        raise
    except BaseException as error:  # sys.exit(), gevent.Timeout: the end of a request, never of the worker
        raise broken(name) from error
    return None


def _checked(answer: object) -> Answer:
    """Raises Failure for a refusal, TypeError for what is no answer."""
    if isinstance(answer, Answer):
        return answer
    if not isinstance(answer, Refuse):
        raise TypeError(f"{type(answer).__name__} is no answer")
    raise Failure(
        Cause.REFUSED_BY_MODULE,
        Stage.MODULES,
        Side.FRONT,
        answer.detail,
        status=answer.status,
        retry_after=answer.retry_after,
        fields=answer.fields,
    )


def _overrides(module: Module, method: str) -> bool:
    return getattr(type(module), method) is not getattr(Module, method)


# ------------------------------------------------------------------------------------------------------------
# Loading


def reach_folder_of(settings: Settings) -> None:
    """Modules may lie beside the configuration. At the end of the path: nothing of ours is ever taken from there."""
    if settings.file is not None and str(settings.file.parent) not in sys.path:
        sys.path.append(str(settings.file.parent))


def _import_threads() -> None:
    """gevent imports its pool when it is first asked for, which the user that a worker becomes may not be able to."""
    get_hub().threadpool  # noqa: B018


def _load(
    tables: Sequence[ModuleSettings], app: str, settings: Settings, clock: Callable[[], float]
) -> Chain:
    return Chain([(table.use, made(table, app, n, settings, clock)) for n, table in enumerate(tables)])


def made(
    table: ModuleSettings, app: str, number: int, settings: Settings, clock: Callable[[], float]
) -> Module:
    """One module, ready to be asked. Raises BadModule."""
    context = WorkerContext(
        app=app,
        number=number,
        workers=settings.front.workers,
        run_directory=settings.front.run_directory,
        uid=_uid_of_workers(settings.front.user),
        forwards_credentials=any(one.forward_credentials for one in settings.apps if app in ("", one.name)),
        log=structlog.get_logger().bind(module=table.use),
        clock=clock,
    )
    try:
        return find(table.use)(table.values(), context)
    except BadModule:
        raise
    except BadOption as error:
        problem = BadModule(f"the module {table.use} does not start: {error}")
        problem.mistake = True
        raise problem from error
    except KeyError as error:
        raise BadModule(f"the module {table.use} does not start: the option {error} is missing") from error
    except (Exception, SystemExit) as error:
        raise BadModule(f"the module {table.use} does not start: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


def _uid_of_workers(user: str) -> int:
    """Raises BadModule, since it is for modules alone."""
    try:
        return workers_user(user)
    except NoSuchUser as error:
        raise BadModule(f"{error}, whom the workers could become") from None


def find(use: str) -> type[Module]:
    """The class that `use` names. Raises BadModule."""
    path = SHIPPED.get(use) or _of_entry_point(use) or use
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        install = f"; pip install 'portico[{EXTRAS[use]}]'" if use in EXTRAS else ""
        raise BadModule(f"the module {use} cannot be imported: {error}{install}") from error
    if not (isinstance(found, type) and issubclass(found, Module)):
        raise BadModule(f"{use} is no subclass of proxy.modules.Module")
    return found


def _of_entry_point(use: str) -> str:
    return next((point.value for point in entry_points(group=ENTRY_POINTS, name=use)), "")
