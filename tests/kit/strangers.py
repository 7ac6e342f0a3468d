"""Somebody whom modes of files keep out, which they do not root."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from supervisor_conf.accounts import ActingAs, account


def as_a_stranger() -> AbstractContextManager[None]:
    """For a moment, root is nobody. Others stay who they are."""
    return ActingAs(account("nobody")) if os.geteuid() == 0 else nullcontext()


def letter() -> str:
    """What chmod(1) calls a stranger, beside a file of whoever runs the tests."""
    return "o" if os.geteuid() == 0 else "u"
