"""The word `app`, typed at a real supervisorctl, answered by a real keeper."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf.settings import load_settings
from tests.kit.link_peer import LinkPeer
from tests.supervisor_conf.keeper.apps import python, server

CONFIG = """
[front]
drain_limit = 1  # the worker that is told of here never comes
[apps.shop]
command = "unused"
[apps.broken]
command = "unused"
path = "/broken"
"""
WORDS = (
    *("status", "start", "stop", "offline", "online", "reset", "why", "requests", "log", "reload", "reopen"),
    *("recycle NAME", "recycle portico-front"),
)


@pytest.fixture(scope="module")
def peer() -> Iterator[LinkPeer]:
    with tempfile.TemporaryDirectory(prefix="portico-ctl-") as folder:
        file = Path(folder) / "portico.toml"
        file.write_text(CONFIG)
        commands = {
            "shop": server(),
            "broken": python("import sys; print('line one\\nline \\x1b[31mtwo'); sys.exit(3)"),
        }
        with LinkPeer(load_settings(file, {}), Path(folder), commands) as peer:
            peer.start_keeper()
            peer.wait_for_socket()
            yield peer


def supervisorctl(folder: Path, *words: str, keys: str = "") -> subprocess.CompletedProcess[str]:
    conf = folder / "supervisorctl.conf"
    conf.write_text(
        f"[supervisorctl]\nserverurl = unix://{folder}/supervisor.sock\n"
        f"[ctlplugin:portico]\nsupervisor.ctl_factory = supervisor_conf.ctl:make\n{keys}\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(conf), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_start_status_and_stop(peer: LinkPeer) -> None:
    started = supervisorctl(peer.run_directory, "app", "start", "shop")
    assert started.returncode == 0, started.stderr
    assert started.stdout.splitlines()[0] == "shop: starting"
    (spawned,) = peer.running.values()
    assert f"pid {spawned.pid}, port {spawned.port}" in started.stdout

    shown = supervisorctl(peer.run_directory, "app", "status").stdout.splitlines()
    columns = "NAME STATE PID PORT GUARDED UPTIME GENERATION STARTS CRASHES START-TIME QUEUE"
    assert shown[0].split() == columns.split()
    assert shown[1].split()[:4] == ["shop", "READY", str(spawned.pid), str(spawned.port)]
    assert shown[2].split()[:2] == ["broken", "STOPPED"]

    data = json.loads(supervisorctl(peer.run_directory, "app", "status", "shop", "--json").stdout)
    assert [(one["name"], one["pid"], one["port"]) for one in data["apps"]] == [
        ("shop", spawned.pid, spawned.port)
    ]

    stopped = supervisorctl(peer.run_directory, "app", "stop", "shop")
    assert (stopped.returncode, stopped.stdout.splitlines()[-1]) == (0, "shop: stopped")
    assert "stopped by an administrator" in supervisorctl(peer.run_directory, "app", "status", "shop").stdout


def test_a_start_that_fails_says_why_on_stderr(peer: LinkPeer) -> None:
    failed = supervisorctl(peer.run_directory, "app", "start", "broken")
    assert failed.returncode == 1
    assert "exit status 3" in failed.stderr
    why = supervisorctl(peer.run_directory, "app", "why", "broken")
    assert why.returncode == 0
    assert "line one" in why.stdout
    assert "\x1b" not in why.stdout
    report = json.loads(supervisorctl(peer.run_directory, "app", "why", "broken", "--json").stdout)
    assert (report["app"], report["exit"], report["failed_step"]) == ("broken", "exit status 3", "listening")
    assert [step["name"] for step in report["steps"] if step["name"] != "exec"] == ["asked", "spawned"]
    assert report["last_start"] is None


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["app"], 2, "app status"),
        (["app", "nonsense"], 2, "nonsense"),
        (["app", "status", "nobody"], 1, "no app 'nobody'"),
        (["app", "start", "'"], 2, "Cannot read"),
        (["app", "log", "nobody"], 1, "no app 'nobody'"),
        (["app", "log"], 2, "app log NAME"),
        (["app", "reload", "shop"], 2, "Usage: app reload"),
    ],
)
def test_what_is_refused_is_said_on_stderr(peer: LinkPeer, words: list[str], status: int, said: str) -> None:
    refused = supervisorctl(peer.run_directory, *words)
    assert refused.returncode == status
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_nobody_at_home(tmp_path: Path) -> None:
    refused = supervisorctl(tmp_path, "app", "status")
    assert refused.returncode == 1
    assert "does not run here" in refused.stderr


@pytest.mark.parametrize("key", ["control", "run_directory"])
def test_where_the_keeper_is_can_be_configured(peer: LinkPeer, tmp_path: Path, key: str) -> None:
    where = peer.run_directory / ("control.sock" if key == "control" else "")
    shown = supervisorctl(tmp_path, "app", "status", keys=f"{key} = {where}")
    assert shown.returncode == 0
    assert "shop" in shown.stdout


def test_help(peer: LinkPeer) -> None:
    for asked in (["help", "app"], ["app", "help"], ["app", "--help"]):
        helped = supervisorctl(peer.run_directory, *asked)
        assert helped.returncode == 0
        assert all(f"app {word}" in helped.stdout for word in WORDS)
