"""Passwords that PAM knows, asked for by a helper process that keeps the rights the worker had at its start.

The worker itself is nobody in particular when visitors come, and pam_unix tells such a process about its own user
alone. The helper does nothing but answer «is this the password of that user?», for this worker and this service.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from proxy.modules import pam_helper

AT_ONCE: Final = 4
"""PAM waits two seconds after a wrong password: others need not wait for that."""
PATIENCE: Final = 30.0  # seconds
FOLDERS: Final = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"), Path("/usr/share/pam.d"))


class PamSource:
    at_once = AT_ONCE

    def __init__(self, service: str) -> None:
        """Raises ValueError."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", service) or not any((f / service).is_file() for f in FOLDERS):
            raise ValueError(f"pam = {service!r}: there is no such file in {FOLDERS[0]}")
        self._control, theirs = socket.socketpair()
        with theirs:
            self._helper = subprocess.Popen(
                [sys.executable, "-I", pam_helper.__file__, service],
                stdin=theirs.fileno(),
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                cwd="/",
            )
        if self._control.recv(1) != pam_helper.READY:
            self._helper.wait()
            raise ValueError("PAM needs libpam and the package python-pam: pip install 'portico[pam]'")

    def refresh(self, now: float) -> None:
        """PAM reads what it needs."""

    def proof(self, user: str) -> bytes:
        """It does not tell: a changed password is as good as the new one until the old one is forgotten."""
        return b""

    def check(self, user: str, password: str) -> bool:
        """Raises OSError when the helper is gone or silent."""
        if not password:
            return False  # what PAM says of an account without a password is for consoles
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self._control, [pam_helper.QUESTION], [theirs.fileno()])
            ours.settimeout(PATIENCE)
            ours.sendall(pam_helper.frame(user, password))
            answer = ours.recv(1)
        if answer not in (pam_helper.RIGHT, pam_helper.WRONG):
            raise OSError("the helper that asks PAM gives no answer")
        return answer == pam_helper.RIGHT

    def close(self) -> None:
        self._control.close()
        self._helper.wait()
