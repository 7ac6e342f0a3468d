"""Giving up root: last, after imports and descriptors, as nginx does; a private interpreter under root's home could
not be executed by the user itself."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal

_PR_SET_PDEATHSIG = 1


def become(account: pwd.struct_passwd) -> None:
    """Become this user for good, with its groups. Raises OSError."""
    parent = os.getppid()
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    _die_with(parent)


def _die_with(parent: int) -> None:
    """The kernel forgets PDEATHSIG when the user changes (prctl(2)): set it again, then look who is there."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
