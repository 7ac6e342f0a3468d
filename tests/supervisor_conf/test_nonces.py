"""Nonces: each another one, and all of one run directory recognised by their end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from supervisor_conf import nonces
from supervisor_conf.keeper import processes


def test_nonces_of_one_run_directory_end_alike(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    one, other = nonces.mint(tmp_path / "run"), nonces.mint(tmp_path / "link")
    assert one != other
    assert one.endswith(nonces.ending(tmp_path / "run"))
    assert other.endswith(nonces.ending(tmp_path / "run"))
    assert not one.endswith(nonces.ending(tmp_path))


def test_what_carries_the_mark_is_killed_and_nothing_else(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]

    def start(run_directory: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, nonces.VARIABLE: nonces.mint(run_directory)}
        made = subprocess.Popen(sleep, env=environment, stdout=subprocess.PIPE, start_new_session=True)
        assert made.stdout is not None
        with made.stdout:
            made.stdout.readline()
        return made

    ours, others = [start(tmp_path) for _ in range(2)], start(tmp_path / "elsewhere")
    try:
        assert processes.sweep_run(nonces.ending(tmp_path)) == 2
        assert [one.wait(20) for one in ours] == [-9, -9]
        assert others.poll() is None
        assert processes.sweep_run(nonces.ending(tmp_path)) == 0
    finally:
        for one in (*ours, others):
            one.kill()
            one.wait()


def test_the_ancestors_of_a_process() -> None:
    assert {os.getpid(), os.getppid(), 1} <= processes.ancestors(os.getpid())
