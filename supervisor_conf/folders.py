"""Folders in which root makes and reads files while their owners look on.

Who owns a folder can put a link in the place of anything in it, at any moment. A log of an app that root opens in the
app's own folder would be made, with bytes of the app's choice, wherever such a link leads: in /etc/logrotate.d, say.
So every step of the way is taken by itself, and root goes through no link that is not root's. The launcher imports
this at the start of an app: nothing heavy here.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
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


class StrangersLink(OSError):
    """A link that is not root's is on the way."""


def open_folder(folder: str) -> int:
    """A descriptor (O_PATH) of the absolute path `folder`, made where it is missing. Raises OSError."""
    at = _go(folder, make=True)
    if not stat.S_ISDIR(os.fstat(at).st_mode):
        os.close(at)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
    return at


def open_to_read(path: str) -> int:
    """A descriptor of the file at this absolute path, whose name may be a link of root's as well. Raises OSError,
    StrangersLink."""
    found = _go(path, make=False)
    try:
        # What was found, whatever has the name by now; a pipe is not waited for.
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(found)


def _go(path: str, *, make: bool) -> int:
    """A descriptor (O_PATH) of what is at the end of the way, its missing folders made if `make`. Raises OSError."""
    steps = _steps(path)
    links = 0
    at = os.open("/", _STEP | os.O_DIRECTORY)
    try:
        while steps:
            following = _step(at, steps.pop(), make)
            found = os.fstat(following)
            if not stat.S_ISLNK(found.st_mode):
                os.close(at)
                at = following
                continue
            try:
                links += 1
                if _is_a_strangers(found):
                    raise StrangersLink(errno.ELOOP, "a link of another user is on its way", path)
                if links > LONGEST_WAY:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink("", dir_fd=following)
            finally:
                os.close(following)
            steps += _steps(target)
            if target.startswith("/"):
                os.close(at)
                at = os.open("/", _STEP | os.O_DIRECTORY)
    except BaseException:
        os.close(at)
        raise
    return at


def _steps(path: str) -> list[str]:
    """The next one last."""
    return [step for step in reversed(path.split("/")) if step not in ("", ".")]


def _step(at: int, name: str, make: bool) -> int:
    try:
        return os.open(name, _STEP, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
        try:
            os.mkdir(name, dir_fd=at)
        except FileExistsError:
            pass  # made by somebody else in the meantime
        return os.open(name, _STEP, dir_fd=at)


def _is_a_strangers(link: os.stat_result) -> bool:
    """Whoever is no root gains nothing by a link that he could not have by himself."""
    return os.geteuid() == 0 and link.st_uid != 0
