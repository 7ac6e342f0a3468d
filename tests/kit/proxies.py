"""Real proxies in front of Portico: HAProxy and nginx, each in the foreground, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.kit.until import wait_until


@contextmanager
def haproxy(folder: Path, sections: str, *ports: int) -> Iterator[None]:
    """With these `frontend`, `backend` and `listen` sections; `ports` are what it listens on."""
    file = folder / "haproxy.cfg"
    file.write_text(
        "global\n  maxconn 100\ndefaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
        + sections
    )
    with _running([_program("haproxy"), "-db", "-f", str(file)], ports):
        yield


@contextmanager
def nginx(folder: Path, servers: str, *ports: int) -> Iterator[None]:
    """With these `server` blocks."""
    own = folder / "nginx"
    own.mkdir(exist_ok=True)
    temporary = "".join(
        f"{kind}_temp_path {own}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = own / "nginx.conf"
    file.write_text(
        f"daemon off; worker_processes 1; pid {own}/pid; error_log {own}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{servers}\n}}\n"
    )
    with _running([_program("nginx"), "-e", f"{own}/error.log", "-p", str(own), "-c", str(file)], ports):
        yield


@contextmanager
def _running(command: list[str], ports: tuple[int, ...]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until(
            lambda: process.poll() is not None or all(map(_listens, ports)), f"{command[0]} on its ports"
        )
        assert process.poll() is None, process.stderr.read() if process.stderr else b""
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found is not None, f"{name} is not installed (see .ci/run)"
    return found
