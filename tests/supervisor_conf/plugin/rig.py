"""A real supervisord in a folder of its own, with the plugin or as it comes, and the test as its keeper."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from supervisor.xmlrpc import SupervisorTransport

from supervisor_conf import cgroups, nonces
from supervisor_conf.control import messages
from supervisor_conf.control.codec import Decoder, encode
from supervisor_conf.settings import Settings, settings_for_command, to_json

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LAUNCHER = ROOT / "supervisor_conf" / "launch_main.py"
TIMEOUT = 20.0
"""Seconds after which a test gives up waiting: never part of what is asserted."""

Message = TypeVar("Message")


def settings_of(run: Path, *commands: list[str], **app_fields: Any) -> Settings:
    """Settings with one app a command, named shop, shop2, …; one listening socket on a free port."""
    one = settings_for_command(["x"], run, {}, ["http://127.0.0.1:0"], run_directory=run, name="shop")
    apps = tuple(
        dataclasses.replace(
            one.apps[0],
            **{
                "name": f"shop{number + 1 if number else ''}",
                "command": tuple(command),
                "directory": run,
                "stdout_log": "",
                "shutdown_time_limit": 5.0,
                **app_fields,
            },
        )
        for number, command in enumerate(commands)
    )
    front = dataclasses.replace(one.front, workers=1, drain_limit=5.0)
    return dataclasses.replace(one, apps=apps, front=front)


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


FOREVER = python("import signal\nprint('up', flush=True)\nwhile True: signal.pause()")


def section(kind: str, **values: object) -> str:
    return f"[{kind}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())


class Rig:
    def __init__(self, run: Path, settings: Settings) -> None:
        self.run = run
        self.settings = settings
        self.supervisord: subprocess.Popen[bytes] | None = None
        self.keeper: Keeper | None = None
        self.extra = ""  # sections of somebody else
        self.python = sys.executable

    # ----------------------------------------------------------------------------------------------------------
    # Files

    def portico_conf(self, *, keeper: bool = True, workers: int = 1, plugin: str = "") -> str:
        parts = [self._base(), section("rpcinterface:portico", **{_FACTORY: plugin or _MAKE})]
        if keeper:
            parts.append(self._program("portico-keeper", HERE / "peer_keeper.py"))
        if workers:
            parts.append(
                self._program(
                    "portico-front",
                    HERE / "peer_worker.py",
                    process_name="%(process_num)d",
                    numprocs=workers,
                    stopwaitsecs=10,
                )
            )
        for app in self.settings.apps:
            command = shlex.join([self.python, "-I", "-S", str(LAUNCHER), app.name])
            parts.append(section(f"program:{app.name}", command=command, **_APP))
        return "\n".join([*parts, self.extra])

    def _base(self) -> str:
        return "\n".join(
            [
                section(
                    "supervisord",
                    nodaemon="true",
                    silent="true",
                    logfile=self.run / "supervisord.log",
                    loglevel="debug",
                    pidfile=self.run / "supervisord.pid",
                    childlogdir=self.run,
                ),
                section("unix_http_server", file=self.run / "supervisor.sock"),
                section("supervisorctl", serverurl=f"unix://{self.run}/supervisor.sock"),
                section(
                    "rpcinterface:supervisor",
                    **{_FACTORY: "supervisor.rpcinterface:make_main_rpcinterface"},
                ),
            ]
        )

    def stock_conf(self, *programs: str) -> str:
        """supervisord as it comes."""
        return "\n".join([self._base(), *programs])

    def _program(self, name: str, script: Path, **more: object) -> str:
        command = shlex.join([self.python, "-P", str(script), str(self.run)])
        log = {"redirect_stderr": "true", "stdout_logfile": self.run / f"{name}.log"}
        return section(f"program:{name}", command=command, serverurl="", **log, **more)

    # ----------------------------------------------------------------------------------------------------------
    # Life

    def start(self, conf: str, *, stock: bool = False, pythonpath: str = "", **popen: Any) -> None:
        (self.run / "shim").mkdir(exist_ok=True)
        (self.run / "supervisord.conf").write_text(conf)
        (self.run / "settings.json").write_text(to_json(self.settings))
        argv = [self.python, str(HERE / "supervisord_with_plugin.py"), str(self.run)]
        if stock:
            argv = [
                sys.executable,
                "-m",
                "supervisor.supervisord",
                "-n",
                "-c",
                str(self.run / "supervisord.conf"),
            ]
        with open(self.run / "terminal", "ab") as terminal:
            self.supervisord = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{pythonpath}", "PYTHONWARNINGS": "ignore"},
                **popen,
            )
        wait_for(lambda: self._up(), self)

    def _up(self) -> bool:
        assert self.supervisord is not None
        assert self.supervisord.poll() is None, self.story()
        try:
            with self.rpc() as rpc:
                return bool(rpc.supervisor.getState()["statename"] == "RUNNING")
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.supervisord is not None
        self.supervisord.terminate()
        return self.supervisord.wait(TIMEOUT)

    def clean(self) -> None:
        if self.keeper is not None:
            self.keeper.close()
        if self.supervisord is not None and self.supervisord.poll() is None:
            children = children_of(self.supervisord.pid)
            self.supervisord.kill()
            self.supervisord.wait()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        for cgroup in cgroups.find_home().left(nonces.ending(self.run)):
            cgroups.clear(cgroup)  # the keeper's work, who is the test here

    def story(self) -> str:
        names = ("terminal", "supervisord.log", "portico.log", "portico-keeper.log", "portico-front.log")
        return "\n".join(
            f"--- {name}\n{(self.run / name).read_text()[-6000:]}"
            for name in names
            if (self.run / name).exists()
        )

    # ----------------------------------------------------------------------------------------------------------
    # Talk

    @contextlib.contextmanager
    def rpc(self) -> Iterator[Any]:
        transport = SupervisorTransport(serverurl=f"unix://{self.run}/supervisor.sock")
        with contextlib.closing(transport):
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "supervisor.supervisorctl",
                "-c",
                str(self.run / "supervisord.conf"),
                *words,
            ],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )

    def info(self, name: str) -> dict[str, Any]:
        with self.rpc() as rpc:
            return dict(rpc.supervisor.getProcessInfo(name))

    def info_pid(self, name: str) -> int:
        """From supervisord's log: it answers no question while it goes down."""
        log = (self.run / "supervisord.log").read_text()
        found = [line for line in log.splitlines() if f"spawned: '{name}' with pid" in line]
        return int(found[-1].split()[-1])

    def events(self, name: str) -> list[dict[str, Any]]:
        import json

        lines = (self.run / "portico.log").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def be_keeper(self, pid: int = 0) -> messages.Memory:
        """Connect to the keeper peer that runs now: what follows is said in its name."""
        pid = pid or wait_for(lambda: self.info("portico-keeper")["pid"], self)
        path = self.run / f"peer-{pid}.sock"
        wait_for(path.exists, self)
        if self.keeper is not None:
            self.keeper.close()
        self.keeper = Keeper(path, self)
        return self.keeper.expect(messages.Memory)

    def keeper_now(self) -> Keeper:
        assert self.keeper is not None
        return self.keeper

    def start_app(self, name: str = "shop") -> messages.Spawned:
        self.keeper_now().say(messages.Start(app=name, slot=0))
        return self.keeper_now().expect(messages.Spawned, app=name)

    def url(self) -> tuple[str, int]:
        """Where the first listening socket really listens."""
        assert self.supervisord is not None
        for fd in Path(f"/proc/{self.supervisord.pid}/fd").iterdir():
            try:
                inode = os.readlink(fd)
            except FileNotFoundError:
                continue
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if inode == f"socket:[{fields[9]}]" and fields[3] == "0A":
                    return "127.0.0.1", int(fields[1].split(":")[1], 16)
        raise AssertionError("nothing listens\n" + self.story())


class Keeper:
    """The test's end of the plugin link."""

    def __init__(self, path: Path, rig: Rig) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect(str(path))
        self._decoder = Decoder(messages.PLUGIN_LINK_FRAME_LIMIT)
        self._rig = rig
        self.heard: list[Any] = []

    def say(self, *spoken: object) -> None:
        self._socket.sendall(b"".join(encode(message) for message in spoken))

    def say_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def expect(self, kind: type[Message], **fields: object) -> Message:
        """The next message of a kind (with those fields); what comes before it stays in `heard`."""
        while True:
            for index, message in enumerate(self.heard):
                if isinstance(message, kind) and all(getattr(message, k) == v for k, v in fields.items()):
                    return self.heard.pop(index)  # type: ignore[no-any-return]
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                data = b""
            assert data, f"no {kind.__name__} {fields}; heard {self.heard}\n{self._rig.story()}"
            self.heard += self._decoder.feed(data)

    def close(self) -> None:
        self._socket.close()


def wait_for(condition: Any, rig: Rig | None = None) -> Any:
    """Look again and again: for what nobody announces."""
    until = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain\n" + (rig.story() if rig else "")
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


_FACTORY = "supervisor.rpcinterface_factory"
_MAKE = "supervisor_conf.plugin.rpc:make"
_APP = {
    "autostart": "false",
    "autorestart": "false",
    "startsecs": 0,
    "startretries": 0,
    "stopasgroup": "true",
    "killasgroup": "true",
    "redirect_stderr": "true",
    "stdout_logfile": "NONE",
    "serverurl": "",
}
