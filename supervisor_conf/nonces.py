"""What an app's processes are recognised by, wherever they have gone: a word in their environment.

Each generation has a nonce of its own; all nonces of one run directory end alike, so that the next run there finds
what is left of a run that was killed together with its keeper. A nonce is no secret: it lets nobody do anything.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

VARIABLE: Final = "PORTICO_NONCE"


def mint(run_directory: Path) -> str:
    """A nonce for one generation."""
    return f"{secrets.token_hex(16)}{ending(run_directory)}"


def ending(run_directory: Path) -> str:
    """The end of all nonces of this run directory, under whatever name it is reached."""
    return f"-{hashlib.sha256(os.fsencode(os.path.realpath(run_directory))).hexdigest()[:16]}"


def of_process(pid: int) -> str:
    """The nonce that `pid` was started with; "" if there is none, or it may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    start = f"{VARIABLE}=".encode()
    return next(
        (one[len(start) :].decode("ascii", "replace") for one in variables if one.startswith(start)), ""
    )
