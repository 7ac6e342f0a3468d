"""A real app process under the shim: how it is started, asked, and stopped. The test plays the front."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit.until import wait_until

APPS = Path(__file__).parent / "apps"
STOP_LIMIT = 20.0  # seconds


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def facts(self) -> Any:
        assert self.status == 200, self
        return json.loads(self.body)


@dataclass
class Backend:
    """One app; `start()`, then `ask(...)` with the token or without, then `kill()`."""

    command: list[str]
    shim: Path
    output: Path  # its stdout and stderr
    base: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = field(default_factory=free_port)
    socket_path: str = ""
    listener: socket.socket | None = None  # for the descriptor transport
    process: Any = None

    def environ(self) -> dict[str, str]:
        ours = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.shim), "ASPNETCORE_TOKEN": self.token}
        ours.update(ASPNETCORE_APPL_PATH=self.base, PYTHONDONTWRITEBYTECODE="1", HOME=str(self.output.parent))
        if self.socket_path:
            ours["PORTICO_SOCKET"] = self.socket_path
        elif self.listener is None:
            ours["ASPNETCORE_PORT"] = str(self.port)
        return {**ours, **self.environment}

    def start(self) -> None:
        command, files = self.command, {}
        # The pid is known only to the process itself, as for Portico's launcher.
        lines = "export PORTICO_PID=$$; "
        if self.listener is not None:
            lines += f"export LISTEN_FDS=1 LISTEN_PID=$$; exec 3<&{self.listener.fileno()}; "
            files = {"pass_fds": (self.listener.fileno(),)}
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", lines + 'exec "$@"', "bash", *command],
                cwd=APPS,
                env=self.environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **files,  # type: ignore[call-overload]
            )
        wait_until(self._answers, "an answer on the given address")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            self.ask()
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        return self.output.read_text(errors="replace")

    def connect(self) -> socket.socket:
        if self.socket_path:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(self.socket_path)
            except OSError:
                client.close()
                raise
        else:
            where = ("127.0.0.1", self.port) if self.listener is None else self.listener.getsockname()
            client = socket.create_connection(where)
        client.settimeout(STOP_LIMIT)
        return client

    def ask(self, target: str = "/", *fields: str, method: str = "GET", token: str | None = None) -> Answer:
        """One request on a connection of its own; `fields` are raw field lines."""
        lines = [f"{method} {target} HTTP/1.1", "Host: visitors.example", "Connection: close", *fields]
        if token is not None:
            lines.append(f"MS-ASPNETCORE-TOKEN: {token}")
        if method == "POST":
            lines.append("Content-Length: 0")
        return parse(self.exchange(("\r\n".join(lines) + "\r\n\r\n").encode()))

    def paired(self, target: str = "/", *fields: str, method: str = "GET") -> Answer:
        return self.ask(target, *fields, method=method, token=self.token)

    def exchange(self, request: bytes) -> bytes:
        """All bytes until the server closes."""
        with self.connect() as client:
            client.sendall(request)
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        return answer

    def stop(self) -> int:
        """The shutdown message; the exit status of the process that was started."""
        answer = self.paired(
            self.base.rstrip("/") + "/iisintegration", "MS-ASPNETCORE-EVENT: shutdown ", method="POST"
        )
        assert (answer.status, answer.body) == (202, b""), answer
        status: int = self.process.wait(STOP_LIMIT)
        wait_until(lambda: not self.members(), "nothing left of the process group")
        return status

    def members(self) -> set[int]:
        """Pids in the process group of the app (it leads a session of its own), zombies apart."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_bytes().rpartition(b")")[2].split()[:3]
            except OSError:
                continue
            if int(group) == self.process.pid and state != b"Z":
                found.add(int(stat.parent.name))
        return found

    def kill(self) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it is gone, as it should
            self.process.wait()

    def listening(self) -> set[tuple[str, int]]:
        """Every TCP address that a process of the group listens on."""
        inodes = set()
        for pid in self.members():
            for link in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    inodes.add(os.readlink(link))
                except OSError:
                    continue  # closed meanwhile
        return {address for inode, address in _listeners() if f"socket:[{inode}]" in inodes}


def _listeners() -> list[tuple[str, tuple[str, int]]]:
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_rest = line.split()
            if state != "0A":
                continue
            host, _, port = local.partition(":")
            words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
            found.append((line.split()[9], (socket.inet_ntop(family, b"".join(words)), int(port, 16))))
    return found


def parse(raw: bytes) -> Answer:
    """A response that ends with its connection. Raises ConnectionError for an empty one."""
    if not raw:
        raise ConnectionError("closed without an answer")
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _dechunked(body)
    return Answer(int(status.split()[1]), headers, body)


def _dechunked(raw: bytes) -> bytes:
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        count = int(size, 16)
        body, raw = body + raw[:count], raw[count + 2 :]
        if count == 0:
            break
    return body
