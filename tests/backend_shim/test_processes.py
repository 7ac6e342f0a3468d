"""Which process a shutdown message stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from backend_shim.processes import app_pid, lineage


def test_lineage_goes_from_us_to_the_first_process() -> None:
    tree = lineage()
    assert tree[:2] == [os.getpid(), os.getppid()]
    assert tree[-1] in (0, 1)
    assert len(set(tree)) == len(tree)


def test_only_ourselves_or_an_ancestor_is_stopped() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert app_pid(stranger.pid) == os.getpid()
    finally:
        stranger.communicate()
    assert app_pid(os.getpid()) == os.getpid()
    assert app_pid(os.getppid()) == os.getppid()
    assert app_pid(0) in lineage()


def test_the_message_stops_the_process_that_was_started() -> None:
    """A process whose name holds blanks and brackets, with a child that gets the message."""
    child = (
        "from backend_shim.processes import stop_app; import os, time; stop_app(os.getppid()); time.sleep(20)"
    )
    code = f"""
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(15, b"a) S 1 (b", 0, 0, 0)
subprocess.run([sys.executable, "-c", {child!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, start_new_session=True)
    assert done.returncode == -signal.SIGTERM
