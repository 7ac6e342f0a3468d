"""Included in somebody's supervisord: the plugin loads and binds by itself, and touches its own groups only."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor_conf.control import messages
from supervisor_conf.settings import load_settings
from tests.supervisor_conf.plugin.rig import ROOT, TIMEOUT, Rig, alive, section, wait_for

TOML = """
[front]
listen = ["http://127.0.0.1:{port}"]
workers = 1
run_directory = "."

[apps.shop]
command = ["{python}", "-c", "import signal; print('up', flush=True); signal.pause()"]
stdout_log = ""
"""


def _rig(tmp_path: Path, port: int = 0) -> Rig:
    (tmp_path / "portico.lock").touch()  # a run directory is a folder that is empty, or has been one before
    file = tmp_path / "portico.toml"
    file.write_text(TOML.format(port=port, python=sys.executable))
    return Rig(tmp_path, load_settings(file, {}))


def _limit_open_files(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _conf(rig: Rig, **more: object) -> str:
    own = section("rpcinterface:portico", config=rig.run / "portico.toml", **_FACTORY, **more)
    conf = rig.portico_conf()
    start = conf.index("[rpcinterface:portico]")
    end = conf.index("[program:portico-keeper]")
    return conf[:start] + own + conf[end:]


_FACTORY = {"supervisor.rpcinterface_factory": "supervisor_conf.plugin.rpc:make"}


@pytest.mark.parametrize(
    ("limit", "minfds"),
    [
        pytest.param(0, 5000, id="minfds was raised in the file"),
        pytest.param(1024, 1024, id="the limit of open files is minfds"),
    ],
)
def test_reload_of_somebody_elses_supervisord_keeps_the_sockets_and_counts_on(
    tmp_path: Path, limit: int, minfds: int
) -> None:
    rig = _rig(tmp_path)
    rig.extra = section("program:theirs", command="/bin/cat")
    try:
        rig.start(_conf(rig), stock=True, preexec_fn=lambda: _limit_open_files(limit))
        rig.be_keeper()
        address = rig.url()
        first = rig.start_app()
        theirs = wait_for(lambda: rig.info("theirs")["pid"], rig)
        more = (
            (rig.run / "supervisord.conf")
            .read_text()
            .replace("[supervisord]", f"[supervisord]\nminfds = {minfds}")
        )
        (rig.run / "supervisord.conf").write_text(more)
        assert rig.ctl("reload").stdout == "Restarted supervisord\n"
        rig.keeper_now().expect(messages.Ending, stage="front")
        rig.keeper_now().expect(messages.Ending, stage="apps")
        rig.keeper_now().say(messages.Signal(app="shop", slot=0, generation=1, signal=15))
        rig.keeper_now().expect(messages.Exited)
        rig.keeper_now().say(messages.AppsStopped())
        wait_for(lambda: len(rig.events("keeper.spawned")) == 2, rig)
        rig.be_keeper(rig.events("keeper.spawned")[1]["pid"])
        assert rig.url() == address
        second = rig.start_app()
        assert second.generation == first.generation + 1
        assert not alive(theirs)
        assert wait_for(lambda: rig.info("theirs")["pid"], rig) != theirs
        os.kill(second.pid, signal.SIGKILL)
        rig.keeper_now().expect(messages.Exited)
        rig.ctl("shutdown")
        rig.keeper_now().expect(messages.Ending, stage="front")
        assert rig.supervisord is not None
        assert rig.supervisord.wait(TIMEOUT) == 0
    finally:
        rig.clean()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("run_directory", "no_such_key"), "no_such_key"),
        (
            ("127.0.0.1:0", "192.0.2.1:80"),
            "http://192.0.2.1:80 cannot be listened on: this machine has no such",
        ),
    ],
)
def test_what_is_wrong_is_said_and_supervisord_does_not_start(
    tmp_path: Path, change: tuple[str, str], sentence: str
) -> None:
    rig = _rig(tmp_path)
    (tmp_path / "portico.lock").touch()  # a run directory is a folder that is empty, or has been one before
    file = tmp_path / "portico.toml"
    file.write_text(file.read_text().replace(*change))
    done = _run(rig, _conf(rig))
    assert done.returncode == 2
    assert sentence in (tmp_path / "supervisord.log").read_text()


def test_a_section_without_config_or_with_an_unknown_key(tmp_path: Path) -> None:
    rig = _rig(tmp_path)
    assert _run(rig, rig.portico_conf()).returncode == 2
    assert "needs config=/path/to/portico.toml" in (tmp_path / "supervisord.log").read_text()
    assert _run(rig, _conf(rig, colour="red")).returncode == 2
    assert "has no key colour" in (tmp_path / "supervisord.log").read_text()


def _run(rig: Rig, conf: str) -> subprocess.CompletedProcess[str]:
    (rig.run / "supervisord.conf").write_text(conf)
    return subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(rig.run / "supervisord.conf")],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
    )
