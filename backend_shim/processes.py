"""The process tree that the front started: are we in it, and how to stop it."""

from __future__ import annotations

import os
import signal
import threading

GOODBYE = 0.2  # seconds in which the 202 leaves before the process that would send it is told to stop


def lineage() -> list[int]:
    """Our pid, our parent's, and so on up to the first process; only the first two where there is no /proc."""
    pids = [os.getpid(), os.getppid()]
    while pids[-1] > 1:
        try:
            with open(f"/proc/{pids[-1]}/stat", "rb") as file:
                after_name = file.read().rpartition(b")")[2].split()  # the name may hold anything: proc(5)
        except OSError:
            break
        pids.append(int(after_name[1]))
    return pids


def app_pid(started: int) -> int:
    """The process to stop: what the front started, if that is us or an ancestor of ours; else ourselves."""
    return started if started in lineage() else os.getpid()


def stop_app(started: int) -> None:
    """SIGTERM to the whole app (a gunicorn master, a reloader's parent), once the answer has left."""
    timer = threading.Timer(GOODBYE, os.kill, (app_pid(started), signal.SIGTERM))
    timer.daemon = True
    timer.start()
