"""CPU time and memory as the kernel tells them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.processes import Started, cpu_seconds, end_leftovers, parse_rss, resident_kib
from tests.kit import procfs
from tests.kit.until import wait_until

SMAPS_ROLLUP = """55d0c8a5f000-7ffd3b9c8000 ---p 00000000 00:00 0                          [rollup]
Rss:               12345 kB
Pss:                9876 kB
"""


def test_another_process_is_charged_what_it_charges_itself() -> None:
    code = (
        "import sys, time\n"
        "while time.process_time() < 0.05: pass\n"
        "print(time.process_time(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        at_least = float(child.stdout.readline())
        wait_until(lambda: procfs.state(child.pid) == "S", "a child that waits for its input")
        seen = cpu_seconds(child.pid)
        assert at_least <= seen
        assert abs(seen - procfs.cpu_seconds(child.pid)) < 0.1  # the same, which counts hundredths
        child.communicate("")


def test_threads_that_have_ended_still_count() -> None:
    def spin() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    before = cpu_seconds(os.getpid())
    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
    assert cpu_seconds(os.getpid()) - before >= 0.02


def test_no_process_no_figure() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(child.pid)


def test_resident_memory_is_read_from_the_rollup() -> None:
    assert parse_rss(SMAPS_ROLLUP) == 12345
    with pytest.raises(ValueError, match="no Rss"):
        parse_rss("Pss: 1 kB\n")
    assert resident_kib([os.getpid(), os.getpid()]) > resident_kib([os.getpid()]) > 1000


def test_a_command_that_fails_is_quoted(tmp_path: Path) -> None:
    started = Started(
        [sys.executable, "-c", "print('one'); raise SystemExit('an error: no')"], tmp_path, tmp_path / "log"
    )
    wait_until(lambda: not started.running, "its end")
    assert started.complaint() == "an error: no"
    started.stop()


def test_what_a_command_has_started_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    started = Started([sys.executable, "-c", code, str(tmp_path)], tmp_path, tmp_path / "log")
    (child,) = wait_until(lambda: started.descendants_like("time.sleep(600)"), "the child")
    started.stop()
    wait_until(lambda: not procfs.alive(child), "the end of the child")
    assert not started.running


def test_leftovers_are_known_by_the_folder_they_name(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(600)"
    with (
        subprocess.Popen([sys.executable, "-c", sleep, str(tmp_path / "nginx.conf")]) as ours,
        subprocess.Popen([sys.executable, "-c", sleep, "/elsewhere"]) as other,
    ):
        wait_until(lambda: str(tmp_path) in " ".join(procfs.argv(ours.pid)), "its arguments")
        end_leftovers(tmp_path)
        assert ours.wait(10) == -9
        assert other.poll() is None
        other.kill()
