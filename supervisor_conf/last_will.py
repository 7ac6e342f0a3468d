"""The last will of `portico run`: if supervisord is killed, and its keeper with it, what apps have left is killed too.

The keeper does that when supervisord alone is killed (architecture.md). This process, `python -m
supervisor_conf.last_will RUN_DIRECTORY`, does nothing but wait for the end of a pipe, whose other end supervisord
alone has: a byte that comes first says that it ends in order, and all is done.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from supervisor_conf import nonces
from supervisor_conf.keeper import processes
from supervisor_conf.plugin.descriptors import lift
from supervisor_conf.run_directory import LOCK

_IN_ORDER: Final = b"."
_PATIENCE: Final = 1.0
"""Seconds until the lock of who was killed is free: the kernel closes descriptors one after the other."""
_PAUSE: Final = 0.01


class LastWill:
    """Held by who becomes supervisord. Raises OSError when it cannot be made."""

    def __init__(self, directory: Path) -> None:
        reading, writing = os.pipe()
        try:
            self._pipe = lift(writing)  # supervisord closes low ones
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "supervisor_conf.last_will", str(directory)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not meant for it
            )
        finally:
            os.close(reading)
            os.close(writing)

    def revoke(self) -> None:
        """The end is in order. Returns when the process has gone."""
        with suppress(BrokenPipeError):
            os.write(self._pipe, _IN_ORDER)
        os.close(self._pipe)
        self._process.wait()


def main(directory: Path) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        _carry_out(directory)


def _carry_out(directory: Path) -> None:
    """The next run waits for the lock, so that nothing of its own is met. If it was quicker, it does this itself."""
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # somebody has removed the run directory
    try:
        if _locked(lock):
            processes.sweep_run(nonces.ending(directory))
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_PAUSE)
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
