"""Opens the Unix socket of an app to the workers. Only where we are root: else workers and apps are one user.

The folder is the app's own, so what stands under the name may be anything, a link to anything too. It is looked at
and changed through one descriptor that was opened without following links.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

OPEN_MODE: Final = 0o660


class NotASocket(Exception):
    """Something else has the name of the app's socket; the text says what is wrong with it."""


def open_to_workers(path: str) -> None:
    """Give the socket to the group that its folder has, the workers'. Raises NotASocket, OSError."""
    if os.geteuid() != 0:
        return
    group = Path(path).parent.stat().st_gid
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        if not stat.S_ISSOCK(status.st_mode):
            raise NotASocket(f"{path} is no socket")
        if status.st_nlink != 1:
            # Another name of it may be in a folder that is not the app's.
            raise NotASocket(f"{path} has {status.st_nlink} names")
        # fchmod(2) and fchown(2) refuse O_PATH descriptors; their names in /proc lead to the very inode (proc(5)).
        itself = f"/proc/self/fd/{found}"
        os.chown(itself, -1, group)
        os.chmod(itself, OPEN_MODE)
    finally:
        os.close(found)
