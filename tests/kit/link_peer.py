"""supervisord's side of the plugin link, played by a test: it really forks apps and a real keeper.

Threads, because tests block: one reads what the keeper says, one waits for each process.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from supervisor_conf.control import messages
from supervisor_conf.control.codec import Decoder, encode
from supervisor_conf.control.messages import PLUGIN_LINK_FRAME_LIMIT, Spawned, WorkerSpawned
from supervisor_conf.settings import Settings, to_json
from tests.kit.configs import UNMEASURED
from tests.kit.until import wait_until

PATIENCE = 20.0
Message = TypeVar("Message")


class Mailbox:
    """What was received, in order; `wait_for` takes what matches, and what of its kind was before it is forgotten."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._changed = threading.Condition()

    def put(self, item: object) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def wait_for(self, kind: type[Message], match: Callable[[Message], bool] = lambda _: True) -> Message:
        found: list[Message] = []

        def arrived() -> bool:
            found.extend(one for one in self._items if isinstance(one, kind) and match(one))
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(arrived, PATIENCE), f"no such {kind.__name__} in {self._items}"
            until = self._items.index(found[0])
            self._items = [one for one in self._items[:until] if not isinstance(one, kind)] + self._items[
                until + 1 :
            ]
            return found[0]

    def all(self, kind: type[Message]) -> list[Message]:
        with self._changed:
            return [one for one in self._items if isinstance(one, kind)]


class LinkPeer:
    """`commands`: argv of each app. `environment`: added to each app's."""

    def __init__(self, settings: Settings, run_directory: Path, commands: dict[str, list[str]]) -> None:
        self.settings = settings
        self.run_directory = run_directory
        self.commands = commands
        self.said = Mailbox()
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.running: dict[int, Spawned] = {}  # pid ->
        self.stopped: tuple[str, ...] = ()
        self.workers: tuple[WorkerSpawned, ...] = (WorkerSpawned("portico-front:0", os.getpid()),)
        self.kept: dict[str, str] = {}
        self.refuse_spawn = ""
        self.keeper: subprocess.Popen[bytes] | None = None
        self.nonces: list[str] = []
        self._generation = 0
        self._link: socket.socket | None = None
        self._lock = threading.RLock()
        self._log = run_directory / "portico.log"

    def __enter__(self) -> LinkPeer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.wait()
        for child in list(self.children.values()):
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended before
            child.wait()
        if self._link is not None:
            self._link.close()

    # ---- the keeper

    def start_keeper(self) -> None:
        ours, theirs = socket.socketpair()
        settings_fd = os.memfd_create("settings")
        os.write(settings_fd, to_json(self.settings).encode())
        log_fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500) for fd in (theirs.fileno(), settings_fd, log_fd)]

        def place() -> None:
            for number, fd in enumerate(high, start=3):
                os.dup2(fd, number)

        self.keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor_conf.keeper", str(self.run_directory)],
            env={**os.environ, "PORTICO_SETTINGS_FD": "4", "PORTICO_LOG_FD": "5"},
            pass_fds=(3, 4, 5),
            preexec_fn=place,
        )
        for fd in (*high, settings_fd, log_fd):
            os.close(fd)
        theirs.close()
        self._link = ours
        memory = messages.Memory(
            "instance", tuple(self.running.values()), self.stopped, self.workers, tuple(self.kept.items())
        )
        self.send(memory)
        threading.Thread(target=self._read, args=(ours,), daemon=True).start()

    def kill_keeper(self) -> None:
        assert self.keeper is not None
        assert self._link is not None
        self.keeper.kill()
        self.keeper.wait()
        self._link.close()

    def hang_up(self) -> int:
        """As if supervisord had been killed. Returns the keeper's exit status."""
        assert self.keeper is not None
        assert self._link is not None
        self._link.shutdown(socket.SHUT_RDWR)
        return self.keeper.wait(PATIENCE)

    def send(self, message: object) -> None:
        assert self._link is not None
        with self._lock:
            self._link.sendall(encode(message, PLUGIN_LINK_FRAME_LIMIT))

    def _read(self, link: socket.socket) -> None:
        decoder = Decoder(PLUGIN_LINK_FRAME_LIMIT)
        try:
            while data := link.recv(65536):
                for message in decoder.feed(data):
                    self._obey(message)
                    self.said.put(message)
        except OSError:
            pass  # the keeper was killed

    def _obey(self, message: object) -> None:
        match message:
            case messages.Start(app=app, slot=slot):
                self.spawn(app, slot)
            case messages.Signal(generation=generation, signal=number, app=app):
                for pid, one in list(self.running.items()):
                    if (one.app, one.generation) == (app, generation):
                        os.killpg(pid, number)
            case messages.Keep(key=key, text=text):
                self.kept[key] = text
                if not text:
                    del self.kept[key]
            case messages.AdminStop(app=app, on=on):
                self.stopped = (app,) if on else ()

    # ---- what can be seen from outside

    def wait_for_socket(self) -> None:
        wait_until(lambda: self._accepts(), "the control socket")

    def event(self, name: str) -> None:
        """Until the keeper has logged this event."""
        wait_until(lambda: f'"event":"{name}"' in self._log.read_text(), name)

    def output(self) -> str:
        return "".join(path.read_text() for path in self.run_directory.glob("*.out"))

    def survivors(self) -> list[int]:
        """Processes that carry a nonce of one of the generations."""
        return [pid for generation in range(len(self.nonces)) for pid in self.survivors_of(generation + 1)]

    def survivors_of(self, generation: int) -> list[int]:
        nonce = f"PORTICO_NONCE={self.nonces[generation - 1]}".encode()
        return [pid for pid in _pids() if nonce in _environment(pid)]

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as tried:
            return tried.connect_ex(str(self.run_directory / "control.sock")) == 0

    # ---- the apps

    def spawn(self, app: str, slot: int = 0, *, asked: bool = True) -> None:
        if self.refuse_spawn:
            self.send(messages.SpawnFailed(app, slot, self.refuse_spawn))
            return
        settings = next(one for one in self.settings.apps if one.name == app)
        token, nonce = secrets.token_hex(16), secrets.token_hex(16)
        by_port = settings.transport == "port"
        port = (settings.port or _free_port()) if by_port else 0
        path = "" if by_port else str(self.run_directory / f"{self._generation + 1}.sock")
        handed = _listening(path) if settings.transport == "fd" else None
        environment = os.environ | {
            "PORT" if by_port else "PORTICO_SOCKET": str(port) if by_port else path,
            "ASPNETCORE_TOKEN": token,
            "PORTICO_NONCE": nonce,
            "PYTHONUNBUFFERED": "1",
        }
        output = open(self.run_directory / f"{app}.out", "w+b")  # noqa: SIM115 (read when the process ends)
        child = subprocess.Popen(
            self.commands[app],
            env=environment | UNMEASURED,
            process_group=0,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL if handed is None else handed,
        )
        if handed is not None:
            handed.close()
        with self._lock:
            self._generation += 1
            self.nonces.append(nonce)
            spawned = Spawned(
                app,
                app,
                slot,
                self._generation,
                child.pid,
                "127.0.0.1" if by_port else "",
                port,
                path,
                token,
                nonce,
                "",
                time.time(),
                asked,
                handed is not None,
                user=next(one.user for one in self.settings.apps if one.name == app),
            )
            self.children[child.pid] = child
            self.running[child.pid] = spawned
            self.send(spawned)
        threading.Thread(target=self._reap, args=(child, spawned, output), daemon=True).start()

    def _reap(self, child: subprocess.Popen[bytes], spawned: Spawned, output: Any) -> None:
        code = child.wait()
        status = code << 8 if code >= 0 else -code
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
        output.close()
        with self._lock:
            del self.running[child.pid]
            try:
                self.send(
                    messages.Exited(
                        spawned.app,
                        spawned.slot,
                        spawned.generation,
                        child.pid,
                        status,
                        text,
                        administrative=False,
                        at=time.time(),
                    )
                )
            except OSError:
                pass  # no keeper at the moment; the next one is told what runs
        self.said.put(child.pid)


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _listening(path: str) -> socket.socket:
    """What an app is given with `transport = "fd"`; here it finds it as its standard input."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen()
    return made


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class WorkerPeer:
    """A worker's end of the control socket; its pid is the test's own."""

    def __init__(self, path: Path, role: str = "worker") -> None:
        self.heard = Mailbox()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.say(messages.Hello(role, "test"))
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> WorkerPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the keeper was quicker
        self.ended.wait(PATIENCE)
        self.socket.close()

    def say(self, message: object) -> None:
        self.socket.sendall(encode(message))

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := self.socket.recv(65536):
                for message in decoder.feed(data):
                    self.heard.put(message)
        except OSError:
            pass  # closed by the test or by a killed keeper
        self.ended.set()
