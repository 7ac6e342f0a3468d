"""A whole worker on memory: its connections, exchanges, desks and pools are the production ones; visitors, the app's
connections, the keeper's messages and the clock are the test's."""

from __future__ import annotations

import functools
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from gevent import get_hub

from proxy.backend import Backend, ConnectRefused
from proxy.streams import Deadlines, Stream
from proxy.worker import Worker
from supervisor_conf.control.messages import AppRoutes, Route
from supervisor_conf.settings import Listen, Settings, load_settings
from tests.kit.memory import MemoryLoop, MemorySocket
from tests.kit.memory_tls import TlsMemorySocket, client_context, material

TOKEN = "t0ken-of-the-app"
TICK = 1.0


@functools.cache
def settings_of_memory() -> Settings:
    """One app, `shop`, with every key at its default except what a test would wait for."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "portico.toml"
        file.write_text('[front]\nworkers = 1\n[apps.shop]\ncommand = "true"\n', encoding="utf-8")
        return load_settings(file, os.environ)


class MemoryFront(Worker):
    """`apps`: the app's ends of the connections the front made, in order; `told`: what the keeper heard."""

    def __init__(
        self,
        app_capacity: int = 1 << 20,
        *,
        quick_lane: bool = True,
        front: dict[str, Any] | None = None,
        tls: bool = False,
        **app: object,
    ) -> None:
        """`front` and `app`: keys of the settings."""
        settings = settings_of_memory()
        settings = replace(settings, front=replace(settings.front, quick_lane=quick_lane, **(front or {})))
        if tls:
            listen = (Listen("https", "127.0.0.1", 443),)
            settings = replace(
                settings, front=replace(settings.front, listen=listen, tls=material().settings)
            )
        if app:
            settings = replace(settings, apps=(replace(settings.apps[0], **app),))  # type: ignore[arg-type]
        super().__init__(settings, Path("/nowhere"), "memory")
        self.pipes = None  # no kernel that could splice between these sockets
        self.deadlines.close()
        self.loop = MemoryLoop()
        self.deadlines = Deadlines(TICK, self.loop.clock, self.loop, self.loop.poller)
        self._door = self._new_door()
        self.told: list[object] = []
        self._handshakes = self._handshakes_with(material().bundle if tls else None)
        self.backend = Backend(settings.apps, self._tell, self.deadlines, self._connect)
        self.desk = self.backend.desks["shop"]
        self.app_capacity = app_capacity
        self.app_refuses = False
        self.apps: list[MemorySocket] = []
        self.app_generations: list[int] = []
        self.front_ends: list[MemorySocket] = []
        self.defects: list[str] = []

    def _tell(self, message: object) -> bool:
        self.told.append(message)
        return True

    def _connect(self, route: Route, deadlines: Deadlines) -> Stream:
        if self.app_refuses:
            raise ConnectRefused("nobody listens")
        ours, theirs = self.loop.pair(self.app_capacity)
        self.apps.append(theirs)
        self.app_generations.append(route.generation)
        self.front_ends.append(ours)
        return Stream(ours, deadlines)  # type: ignore[arg-type]

    def publish(self, *generations: int) -> None:
        """These generations of the app are ready."""
        routes = tuple(Route(number, 0, "127.0.0.1", 1, "", TOKEN) for number in generations)
        self.backend.handle(AppRoutes("shop", "READY" if routes else "STOPPED", routes))

    def visit(
        self, capacity: int = 1 << 20, family: int = socket.AF_UNIX, listen: Listen | None = None
    ) -> MemorySocket:
        """A visitor's connection, accepted; one of TCP has an address. `listen`: where it came to, if not to the
        first address."""
        ours, theirs = self.loop.pair(capacity)
        ours.family = family
        self.front_ends.append(ours)
        self._accepted(listen or self.settings.front.listen[0], ours, ("192.0.2.7", 40000))  # type: ignore[arg-type]
        return theirs

    def visit_encrypted(self, capacity: int = 1 << 20, **more: Any) -> TlsMemorySocket:
        """The same over TLS, after the handshake."""
        far = TlsMemorySocket(self.visit(capacity), client_context(), **more)
        while not far.shake():
            self.settle()
        self.settle()
        return far

    def settle(self) -> None:
        self.loop.settle()

    def ask(self, visitor: MemorySocket, data: bytes) -> bytes:
        """Send, let everything happen, and return what came back."""
        visitor.send(data)
        self.settle()
        return visitor.recv_all()

    @property
    def generations(self) -> list[Any]:
        return [*self.desk._generations, *self.desk._draining]

    def check_at_rest(self) -> None:
        """Nobody is connected any more: nothing may be left of the exchanges that were."""
        assert not self.defects, self.defects
        assert not self._connections
        assert all(generation.in_flight == 0 for generation in self.generations)
        assert not self.desk._waiting
        pooled = {stream.fileno() for generation in self.generations for stream in generation._idle}
        assert {end.descriptor for end in self.front_ends if not end.closed} == pooled

    def close_idle(self) -> None:
        for generation in self.generations:
            generation.close_idle()

    def close(self) -> None:
        self.close_idle()
        self.deadlines.close()


@contextmanager
def memory_front(**options: Any) -> Iterator[MemoryFront]:
    """A worker whose defects (an exception that nobody expected, a greenlet that died of one) fail the test."""
    front = MemoryFront(**options)
    hub = get_hub()
    handle_error = hub.handle_error

    def remember(context: object, kind: Any, value: Any, trace: Any) -> None:
        front.defects.append(f"{context!r}: {value!r}")
        handle_error(context, kind, value, trace)

    def collect(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] == "connection.defect":
            front.defects.append("".join(traceback.format_exception(sys.exc_info()[1])))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[collect], cache_logger_on_first_use=False)
    hub.handle_error = remember  # type: ignore[method-assign, assignment]
    try:
        yield front
        assert not front.defects, front.defects
    finally:
        hub.handle_error = handle_error  # type: ignore[method-assign]
        structlog.configure(**before)
        front.close()
