"""Folders in which root makes files while their owners look on.

Who owns a folder can put a link in the place of anything in it, at any moment. A log of an app that root opens in the
app's own folder would be made, with bytes of the app's choice, wherever such a link leads: in /etc/logrotate.d, say.
So every step of the way is taken by itself, and root goes through no link that is not root's.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

LONGEST_WAY: Final = 40
"""Links on the way, as the kernel counts them (path_resolution(7))."""

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_in_folder(path: str | os.PathLike[str], flags: int, mode: int) -> int:
    """As `os.open`, for a file whose name is no link; its folder is made where it is missing. Raises OSError."""
    folder, name = os.path.split(os.path.abspath(path))
    descriptor = open_folder(folder)
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def open_folder(folder: str) -> int:
    """A descriptor (O_PATH) of the absolute path `folder`, made where it is missing. Raises OSError."""
    steps = _steps(folder)
    links = 0
    at = os.open("/", _STEP | os.O_DIRECTORY)
    try:
        while steps:
            following = _step(at, steps.pop())
            found = os.fstat(following)
            if not stat.S_ISLNK(found.st_mode):
                os.close(at)
                at = following
                continue
            try:
                links += 1
                if links > LONGEST_WAY or _is_a_strangers(found):
                    raise OSError(errno.ELOOP, "a link of another user is on its way", folder)
                target = os.readlink("", dir_fd=following)
            finally:
                os.close(following)
            steps += _steps(target)
            if target.startswith("/"):
                os.close(at)
                at = os.open("/", _STEP | os.O_DIRECTORY)
        if not stat.S_ISDIR(os.fstat(at).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
    except BaseException:
        os.close(at)
        raise
    return at


def _steps(path: str) -> list[str]:
    """The next one last."""
    return [step for step in reversed(path.split("/")) if step not in ("", ".")]


def _step(at: int, name: str) -> int:
    try:
        return os.open(name, _STEP, dir_fd=at)
    except FileNotFoundError:
        try:
            os.mkdir(name, dir_fd=at)
        except FileExistsError:
            pass  # made by somebody else in the meantime
        return os.open(name, _STEP, dir_fd=at)


def _is_a_strangers(link: os.stat_result) -> bool:
    """Whoever is no root gains nothing by a link that he could not have by himself."""
    return os.geteuid() == 0 and link.st_uid != 0
