"""An app whose children get away: a plain one, one in a session of its own, one that nobody is the parent of."""

import os
import signal
import sys
import time


def linger(note):
    """A process that SIGTERM and SIGHUP do not end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with open(f"family.{note}.{os.getpid()}", "w"):
        pass
    time.sleep(3600)


def vanish():
    """Out of group, session, family and environment: only a cgroup still holds it."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    with open(f"vanished.{os.getpid()}", "w"):
        pass
    os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(3600)"], {})


def start(note, *, session=False, twice=False):
    if os.fork():
        return
    if session:
        os.setsid()
    if twice and os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    linger(note)


if __name__ == "__main__":
    start("plain")
    start("session", session=True)
    start("daemon", session=True, twice=True)
    if "vanish" in sys.argv:
        vanish()
    os.execv(sys.executable, [sys.executable, "one_piece.py"])
