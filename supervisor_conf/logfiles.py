"""Log files that several processes append to, and what happens to them when logrotate has moved them away."""

from __future__ import annotations

import os
from typing import Final

from supervisor_conf.folders import open_in_folder

EVENT_LOG: Final = "portico.log"
STANDARD_OUTPUT: Final = "-"

# O_NOFOLLOW: the folder may belong to another user, and we may be root. O_NONBLOCK: a FIFO that nobody reads is an
# error and no wait.
_FLAGS: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
)
_MODE: Final = 0o640


def open_for_appending(path: str | os.PathLike[str]) -> int:
    """A descriptor on `path`, its folder made where it is missing. Raises OSError."""
    return open_in_folder(path, _FLAGS, _MODE)


def reopen(descriptor: int, path: str | os.PathLike[str]) -> None:
    """`descriptor` goes on in a new file at `path`, in one step for whoever writes to it. Raises OSError, and then
    nothing has changed."""
    take_over(descriptor, open_for_appending(path))


def take_over(descriptor: int, fresh: int) -> None:
    """`descriptor` becomes another name of what `fresh` was; `fresh` is closed."""
    try:
        os.dup2(fresh, descriptor, inheritable=False)
    finally:
        os.close(fresh)


def access_log(setting: str) -> int | None:
    """The descriptor for `[front] access_log`; None for none. Raises OSError."""
    if not setting:
        return None
    if setting == STANDARD_OUTPUT:
        return standard_output()
    return open_for_appending(setting)


def standard_output() -> int:
    """Of this process, not blocking: lines that nobody reads cost lines. A plain copy where that cannot be had
    (a socket, a terminal of another user)."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_APPEND | os.O_CLOEXEC
    try:
        # What is shared with others (a shell!) must not become non-blocking: so a description of its own.
        return os.open("/proc/self/fd/1", flags)
    except OSError:
        return os.dup(1)
