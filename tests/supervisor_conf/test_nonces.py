"""Nonces: each another one, and all of one run directory recognised by their end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from supervisor_conf import nonces, run_directory
from supervisor_conf.keeper import processes
from supervisor_conf.last_will import LastWill


def test_nonces_of_one_run_directory_end_alike(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    one, other = nonces.mint(tmp_path / "run"), nonces.mint(tmp_path / "link")
    assert one != other
    assert one.endswith(nonces.ending(tmp_path / "run"))
    assert other.endswith(nonces.ending(tmp_path / "run"))
    assert not one.endswith(nonces.ending(tmp_path))


SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]


def start(directory: Path) -> subprocess.Popen[bytes]:
    """A process of an app of the run in this directory."""
    environment = {**os.environ, nonces.VARIABLE: nonces.mint(directory)}
    made = subprocess.Popen(SLEEP, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    assert made.stdout is not None
    with made.stdout:
        made.stdout.readline()
    return made


def test_what_carries_the_mark_is_killed_and_nothing_else(tmp_path: Path) -> None:
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


def test_a_will_is_carried_out_when_its_pipe_ends_and_nobody_has_the_run_directory(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    left = start(directory)
    try:
        lock = run_directory.prepare(directory)
        LastWill(directory).revoke()
        end = will_of_a_killed_run(directory)
        assert end.wait(20) == 0  # the next run is here, and has the lock
        assert left.poll() is None
        os.close(lock.descriptor)
        assert will_of_a_killed_run(directory).wait(20) == 0
        assert left.wait(20) == -9
    finally:
        left.kill()
        left.wait()


def will_of_a_killed_run(directory: Path) -> subprocess.Popen[bytes]:
    """Its process, with the end of its pipe."""
    will = LastWill(directory)
    os.close(will._pipe)
    return will._process


def test_the_ancestors_of_a_process() -> None:
    assert {os.getpid(), os.getppid(), 1} <= processes.ancestors(os.getpid())
