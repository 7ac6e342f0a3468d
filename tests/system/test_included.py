"""Included in somebody else's supervisord: `portico render --include` is all it takes, and what was there stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.kit.client import free_port, get
from tests.kit.configs import app, front, with_apps

HOST = """[supervisord]
nodaemon = true
logfile = {here}/host.log
pidfile = {here}/host.pid
[unix_http_server]
file = {here}/host.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:neighbour]
command = sleep 1000
[include]
files = {here}/portico.ini
"""
PATIENCE = 30.0
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def portico(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor_conf", *words]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_app_is_started_guarded_and_stopped_beside_a_neighbour(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with_apps(tmp_path)
    (tmp_path / "portico.toml").write_text(front(listen=[url], workers=1) + app())
    rendered = portico("render", "--include", folder=tmp_path)
    assert rendered.returncode == 0, rendered.stderr
    (tmp_path / "portico.ini").write_text(rendered.stdout)
    (tmp_path / "host.conf").write_text(HOST.format(here=tmp_path))
    host = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(tmp_path / "host.conf")],
        env=ENVIRONMENT,
    )
    try:
        assert first_answer(url) == 200
        status = portico("status", folder=tmp_path)
        assert "shop" in status.stdout, status.stderr
        assert " guarded " in status.stdout
        again = portico("run", folder=tmp_path)
        assert again.returncode == 1
        assert str(host.pid) in again.stderr
        config = front(listen=[url], workers=1) + app(environment={"COLOUR": "red"})
        (tmp_path / "portico.toml").write_text(config)
        reloaded = portico("ctl", "app", "reload", folder=tmp_path)
        assert reloaded.returncode == 0, reloaded.stderr
        assert "changed shop" in reloaded.stdout
        (tmp_path / "portico.toml").write_text(config + app("blog", path="/blog"))
        refused = portico("ctl", "app", "reload", folder=tmp_path)
        assert refused.returncode == 1
        assert "blog: a supervisord that is not Portico's own" in refused.stderr
        (tmp_path / "portico.toml").write_text(config + "processes = 2\n")
        refused = portico("ctl", "app", "reload", folder=tmp_path)
        assert "[apps.shop] processes: a supervisord" in refused.stderr
        assert get(url, "/").status == 200
    finally:
        host.terminate()
        assert host.wait(60) == 0
    assert "neighbour" in (tmp_path / "host.log").read_text()


def first_answer(url: str) -> int:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return get(url, "/pid").status
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nobody listens"
            time.sleep(0.05)
