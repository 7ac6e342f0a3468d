"""`portico run` as a user types it: a real process in a process group of its own, nothing of it left."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from supervisor_conf import nonces
from supervisor_conf.cgroups import clear, find_home
from tests.kit import procfs
from tests.kit.client import Headers, Response, free_port, get
from tests.kit.configs import UNMEASURED
from tests.kit.supervisor_status import Seat, status
from tests.kit.until import wait_until

MARK = "TEST_RUN_MARK"  # carried by everything a run starts: how what survives it is recognised
START_LIMIT = 30.0  # seconds until the URL must be announced
STOP_LIMIT = 60.0  # seconds until a stopped run must be gone
URL = re.compile(r"(?<=Portico serves )https?://(?:127\.0\.0\.1|localhost|\[::1\]):\d+")


@dataclass(frozen=True, slots=True)
class Person:
    """Who runs Portico, and with which virtual environment (one this person can read)."""

    name: str
    bin: Path  # the environment's folder of commands

    @property
    def uid(self) -> int:
        return pwd.getpwnam(self.name).pw_uid

    def popen_arguments(self) -> dict[str, Any]:
        """What subprocess needs to become this person."""
        if self.name == getpass.getuser():
            return {}
        entry = pwd.getpwnam(self.name)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def environment(self, **more: str) -> dict[str, str]:
        """The tests' own environment, this person's commands first on the PATH."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
        environment["PATH"] = f"{self.bin}:{environment.get('PATH', '/usr/bin:/bin')}"
        environment.pop("PYTHONWARNINGS", None)  # the tests' strictness is not for users' apps
        return environment | more

    def owns(self, path: Path) -> None:
        """Give a file or folder to this person."""
        if self.popen_arguments():
            os.chown(path, self.uid, -1)


def myself() -> Person:
    """Whoever runs the tests, with the environment they run in."""
    return Person(getpass.getuser(), Path(sys.executable).parent)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class PorticoRun:
    """One `portico run` in `directory`.

    with PorticoRun(directory, CONFIG) as run: …  starts it, waits for the URL it announces, stops it with
    SIGTERM if it still runs, and asserts that nothing of it is left. `@PORT@` in CONFIG becomes a free port.
    """

    def __init__(
        self,
        directory: Path,
        config: str | None = None,
        *,
        arguments: Sequence[str] | None = None,
        person: Person | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.person = person or myself()
        self.mark = uuid.uuid4().hex
        self.run_directory = directory / "run"
        self.port = free_port()
        if config is not None:
            (directory / "portico.toml").write_text(config.replace("@PORT@", str(self.port)))
        self.arguments = list(arguments) if arguments is not None else ["run"]
        temporary = directory / "tmp"
        temporary.mkdir(exist_ok=True)
        for path in (directory, temporary):
            self.person.owns(path)
        self.environment = self.person.environment(TMPDIR=str(temporary), **{MARK: self.mark})
        self.environment.update(environment or {})
        self.url = ""
        self._lines: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    # ------------------------------------------------------------------------------------- start and stop

    def __enter__(self) -> PorticoRun:
        self.launch()
        try:
            self.wait_for_url()
        except BaseException:
            self.kill_everything()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.show()
        try:
            if self.running:
                self.process.send_signal(signal.SIGTERM)
                self.wait_for_exit()
            if error is None:
                self.assert_nothing_left()
        finally:
            self.kill_everything()

    def launch(self) -> None:
        """Start the command; return at once."""
        self._process = subprocess.Popen(
            [str(self.person.bin / "portico"), *self.arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **self.person.popen_arguments(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not launched"
        return self._process

    @property
    def pid(self) -> int:
        """The pid of `portico run`, which is supervisord's."""
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def wait_for_url(self) -> str:
        def announced() -> str:
            found = URL.search(self.output)
            if not found and not self.running:
                raise AssertionError(f"portico ended with {self.process.returncode}:\n{self.output}")
            return found[0] if found else ""

        self.url = wait_until(announced, "the URL on the terminal", START_LIMIT)
        return self.url

    def wait_for_exit(self, limit: float = STOP_LIMIT) -> int:
        """The exit status; negative for a signal."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.show()
            raise AssertionError(f"portico run still there {limit:g} s after it was told to end") from None
        return status

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends SIGINT to the whole foreground process group."""
        os.killpg(self.pid, signal.SIGINT)

    # ------------------------------------------------------------------------------------- what is to be seen

    @property
    def output(self) -> str:
        """What the terminal shows so far."""
        return "".join(self._lines)

    def wait_for_output(self, text: str) -> None:
        wait_until(lambda: text in self.output, f"{text!r} on the terminal")

    def get(self, target: str, headers: Headers | None = None) -> Response:
        return get(self.url, target, headers)

    def command(self, *arguments: str, limit: float = 30.0) -> Ended:
        """A `portico` command beside the run, in the same folder, by the same person."""
        return self.call(str(self.person.bin / "portico"), *arguments, limit=limit)

    def call(self, *argv: str, limit: float = 30.0) -> Ended:
        environment = {name: value for name, value in self.environment.items() if name != MARK}
        if (
            Path(argv[0]).name == "supervisorctl"
        ):  # stock, but for words that tests/supervisor_conf/test_ctl.py measures
            environment |= UNMEASURED
        done = subprocess.run(
            argv,
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            **self.person.popen_arguments(),
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return Ended(done.returncode, out, err)

    def supervisorctl(self, *arguments: str, limit: float = 60.0) -> Ended:
        """Plain supervisorctl on the file that any supervisorctl can use."""
        config = str(self.run_directory / "supervisord.conf")
        return self.call(str(self.person.bin / "supervisorctl"), "-c", config, *arguments, limit=limit)

    def app(self, *words: str, limit: float = 60.0) -> Ended:
        """An `app` word through supervisorctl."""
        config = str(self.run_directory / "supervisorctl.conf")
        argv = [str(self.person.bin / "supervisorctl"), "-c", config, "app", *words]
        return self.call(*argv, limit=limit)

    def rewrite(self, config: str) -> None:
        """Another configuration, in one step, as a careful editor does."""
        file = self.directory / "portico.toml"
        new = file.with_suffix(".new")
        new.write_text(config.replace("@PORT@", str(self.port)))
        self.person.owns(new)
        new.rename(file)

    def reload(self, config: str) -> str:
        """The configuration is another one from now on; what `app reload` says."""
        self.rewrite(config)
        done = self.app("reload")
        assert done.status == 0, done.said
        return done.out

    def status(self) -> dict[str, Seat]:
        """What `supervisorctl status` shows, by the names it shows."""
        return status(self.run_directory / "supervisor.sock")

    def pid_of(self, process: str) -> int:
        """The pid that `supervisorctl status` shows for a process, 0 when it is not RUNNING."""
        seat = self.status().get(process)
        return seat.pid if seat and seat.state == "RUNNING" else 0

    def keeper(self) -> int:
        """The keeper's pid, once supervisord calls it RUNNING (for a second after each start it does not)."""
        return wait_until(lambda: self.pid_of("portico-keeper"), "a keeper that runs")

    def workers(self) -> dict[str, int]:
        """Name and pid of every worker, those that drain aside, once supervisord calls all of them RUNNING."""

        def running() -> dict[str, int]:
            workers = {
                name: seat for name, seat in self.status().items() if re.fullmatch(r"portico-front:\d+", name)
            }
            if any(seat.state != "RUNNING" for seat in workers.values()):
                return {}
            return {name: seat.pid for name, seat in workers.items()}

        return wait_until(running, "workers that run")

    def events(self, name: str = "", **fields: object) -> list[dict[str, Any]]:
        """Lines of portico.log, by their event and fields."""
        lines = (self.run_directory / "portico.log").read_text().splitlines()
        wanted = fields | ({"event": name} if name else {})
        told = (json.loads(line) for line in lines)
        return [one for one in told if all(one.get(key) == value for key, value in wanted.items())]

    def log_of(self, app: str) -> str:
        """Everything an app has printed, all its starts together."""
        folder = self.run_directory.parent / "logs" / app
        return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))

    def wait_for_sleepers(self, count: int = 1, app: str = "shop") -> None:
        """Wait until so many requests for /sleep have reached the fixture app."""
        wait_until(lambda: self.log_of(app).count("a request sleeps") >= count, f"{count} requests in flight")

    def token_of(self, pid: int) -> str:
        """The pairing token in a process's environment."""
        return procfs.environ(pid).get("ASPNETCORE_TOKEN", "")

    # ------------------------------------------------------------------------------------- what is left

    def survivors(self) -> list[procfs.Process]:
        """Every process that this run started, directly or not, and that still runs."""
        mark, directory = f"{MARK}={self.mark}".encode(), str(self.directory)
        traces = (mark, directory.encode())
        return [
            process
            for process in procfs.processes()
            if process.pid != os.getpid()
            and (directory in process.command or any(trace in process.environ for trace in traces))
        ]

    def sockets(self) -> list[Path]:
        return [path for path in self.directory.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]

    def files(self) -> list[Path]:
        """Every plain file below the folder: configuration, rendered files, logs, whatever was written."""
        return [path for path in self.directory.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]

    def assert_nothing_left(self) -> None:
        survivors = [f"{process.pid} {process.command}" for process in self.survivors()]
        assert not survivors, "still running: " + "; ".join(survivors)
        assert not self.sockets(), f"socket files left: {self.sockets()}"

    def cgroups(self) -> list[str]:
        """Those of generations that are still there."""
        return find_home().left(nonces.ending(self.run_directory))

    def kill_everything(self) -> None:
        """The test's own last will, whatever happened."""
        for cgroup in self.cgroups():
            clear(cgroup)
        deadline = time.monotonic() + 10
        while survivors := self.survivors():
            for process in survivors:
                try:
                    procfs.kill(process.pid)
                except ProcessLookupError:
                    continue
            if time.monotonic() > deadline:
                raise AssertionError(f"cannot be killed: {survivors}")
            self.process.poll()
        if self._process is not None:
            self._process.wait(10)
        if self._reader is not None:
            self._reader.join(10)
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def show(self) -> None:
        """Print what a person would look at: pytest shows it when the test fails."""
        print(f"--- terminal of portico {' '.join(self.arguments)} (pid {self.pid})\n{self.output}")
        for path in sorted(self.files()):
            if path.suffix == ".log":
                print(f"--- {path}\n{path.read_text(errors='replace')[-6000:]}")
        for process in self.survivors():
            print(f"--- running: {process.pid} {process.command}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line.decode(errors="replace"))
