"""A real worker in a process of its own, with this test as its keeper: it speaks the real control protocol."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from supervisor_conf.control.codec import Decoder, encode
from supervisor_conf.control.messages import AppRoutes, Hello, Route
from supervisor_conf.settings import Settings, load_settings, to_json

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


def settings_for(folder: Path, app: str = "", front: str = "") -> Settings:
    """Settings of one app, `shop`, whose process is the test's own; `app` and `front` are lines of TOML."""
    file = folder / "portico.toml"
    file.write_text(
        f'[front]\nworkers = 1\nrun_directory = "run"\n{front}\n[apps.shop]\ncommand = "true"\n{app}\n',
        encoding="utf-8",
    )
    settings = load_settings(file, os.environ)
    return replace(settings, front=replace(settings.front, user="root" if os.getuid() == 0 else ""))


class WorkerProcess:
    """`address` is where visitors come in. Until `publish` is called, its app is not running."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        listener: socket.socket,
        *,
        under: Sequence[str] = (),
        patience: float = 20,
        access_log: bool = True,
    ) -> None:
        """`under`: a command that runs the worker, a tool that looks at it; `patience`: seconds for what it says."""
        self.folder = folder
        self._under = under
        self._patience = patience
        self._access_log = access_log
        self.listener = listener
        self.address: tuple[str, int] = "127.0.0.1", listener.getsockname()[1]
        self._control = socket.socket(socket.AF_UNIX)
        self._control.bind(str(folder / "control.sock"))
        self._control.listen(4)
        self._decoder = Decoder()
        self._messages: list[object] = []
        self.process = self._start(settings)
        self.peer = self._greet()

    def _start(self, settings: Settings) -> subprocess.Popen[bytes]:
        memory = os.memfd_create("settings")
        os.write(memory, to_json(settings).encode())
        log = os.open(self.folder / "portico.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        environment = {**os.environ, "LISTEN_FDS": "1", "PORTICO_SETTINGS_FD": "4", "PORTICO_LOG_FD": "5"}
        access = os.open(self.folder / "access.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if self._access_log:
            environment["PORTICO_ACCESS_FD"] = "6"
        sources = (self.listener.fileno(), memory, log, access)

        def place() -> None:
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in sources]
            for target, fd in enumerate(high, start=3):
                os.dup2(fd, target, inheritable=True)

        # Popen reports from the child over a pipe of its own: it must not get one of the numbers we place.
        low = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        process = subprocess.Popen(
            [*self._under, sys.executable, "-P", "-m", "proxy", str(self.folder)],
            cwd=ROOT,
            env=environment,
            preexec_fn=place,
            close_fds=False,  # a number that a blocked accept has reserved could not be passed by name
        )
        for fd in (memory, log, access, *low):
            os.close(fd)
        return process

    def _greet(self) -> socket.socket:
        self._control.settimeout(self._patience)
        peer, _ = self._control.accept()
        peer.settimeout(self._patience)
        self.peer = peer
        assert isinstance(self.hear(), Hello)
        return peer

    def reconnect(self) -> None:
        """As a keeper that died and came back."""
        self.peer.close()
        self._decoder = Decoder()
        self._messages.clear()
        self.peer = self._greet()

    def hear(self) -> object:
        """The worker's next message."""
        while not self._messages:
            data = self.peer.recv(65536)
            assert data, "the worker ended the conversation"
            self._messages += self._decoder.feed(data)
        return self._messages.pop(0)

    def hear_a(self, kind: type[T]) -> T:
        """The worker's next message of this kind; others are forgotten."""
        while True:
            message = self.hear()
            if isinstance(message, kind):
                return message

    def tell(self, message: object) -> None:
        self.peer.sendall(encode(message))

    def publish(self, *ports: int, token: str = "t0ken", first: int = 1, app: str = "shop") -> None:
        """The app answers on these ports, each a generation."""
        routes = tuple(
            Route(generation, 0, "127.0.0.1", port, "", token)
            for generation, port in enumerate(ports, start=first)
        )
        self.tell(AppRoutes(app, "READY" if routes else "STOPPED", routes))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.listener.close()
        self._control.close()
        self.peer.close()


def dual_stack() -> socket.socket:
    """An IPv6 socket to which IPv4 comes too, its addresses mapped, where the machine has IPv6."""
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("127.0.0.1", 0))
    return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)


@contextmanager
def worker_process(
    folder: Path, app: str = "", front: str = "", listener: socket.socket | None = None
) -> Iterator[WorkerProcess]:
    listener = listener or socket.create_server(("127.0.0.1", 0), backlog=512)
    worker = WorkerProcess(folder, settings_for(folder, app, front), listener)
    try:
        yield worker
    finally:
        worker.close()
