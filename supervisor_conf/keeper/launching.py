"""When a process has become the app: the launcher execs the command, and the pid stays.

Read from /proc/PID/cmdline by whoever probes the start, at the probe's own interval. A descriptor that closes on exec
would tell the very moment, but it would have to be laid out in every app and watched by supervisord, for a step that
nobody waits for. The name of the program (comm, exe) would not do: launcher and app are often the same Python.
"""

from __future__ import annotations

import os
from typing import Final

_LAUNCHER: Final = b"/supervisor_conf/launch_main.py"


def is_over(pid: int) -> bool:
    """`pid`, a child of our parent (supervisord), runs the app's command. False also where that cannot be read."""
    argv = _argv(pid)
    if not argv or any(argument.endswith(_LAUNCHER) for argument in argv[:5]):
        return False
    return argv != _argv(os.getppid())  # between fork and exec it is a copy of supervisord


def _argv(pid: int) -> list[bytes]:
    """Empty for one that has ended (proc_pid_cmdline(5))."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")[:-1]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
