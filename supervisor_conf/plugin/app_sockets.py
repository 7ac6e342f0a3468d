"""Unix sockets of apps: their folder, a path for each generation, the socket that `transport = "fd"` hands down.

The folder belongs to the app's user, who makes sockets in it, and to the workers' group, which may pass through
it and not list it. Whoever is root here follows no link of that user's: names are made and removed, never opened.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Final

from supervisor_conf import run_directory
from supervisor_conf.accounts import NoSuchUser, account
from supervisor_conf.plugin.sockets import BACKLOG

FOLDER_MODE: Final = 0o710
"""For root, with the set-group-ID bit: what is made in the folder belongs to the workers' group."""


def fresh_path(
    run: Path, app: str, generation: int, user: str, group: int | None, used: Collection[str]
) -> str:
    """The path of a generation's socket, its folder made ready; what nobody of `used` has is removed from there.

    `user`: the app's; `group`: the workers', None unless we are root. Raises OSError.
    """
    if run_directory.longest_app_socket(run, app) > run_directory.LONGEST_SOCKET_PATH:
        raise OSError(errno.ENAMETOOLONG, "its path is too long for a Unix socket")
    folder = run_directory.app_folder(run, app)
    _make_folder(folder, user, group)
    for stale in folder.glob("*.sock"):
        if str(stale) not in used:
            remove(str(stale))
    return str(run_directory.app_socket(run, app, generation))


def _make_folder(folder: Path, user: str, group: int | None) -> None:
    folder.parent.mkdir(run_directory.mode_for(os.geteuid()), exist_ok=True)
    folder.parent.chmod(run_directory.mode_for(os.geteuid()))
    folder.mkdir(0o700, exist_ok=True)
    if group is None:
        folder.chmod(0o700)
        return
    # Its parent is root's: nobody else can have put a link in its place.
    os.chown(folder, _uid(user), group)
    folder.chmod(FOLDER_MODE | 0o2000)


def listen(path: str) -> int:
    """A socket that listens at `path`, closed on exec; the workers' group cannot connect yet. Raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)  # supervisord has one thread
    try:
        made.bind(path)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(umask)
    return made.detach()


def remove(path: str) -> None:
    """The name of a socket that nobody needs any more. Most servers have removed theirs."""
    try:
        os.unlink(path)
    except (FileNotFoundError, IsADirectoryError):
        pass  # gone, or a folder of the app's own making


def _uid(user: str) -> int:
    """Of the app; without `user` it runs as we do."""
    if not user:
        return os.geteuid()
    try:
        return account(user).pw_uid
    except NoSuchUser as error:
        raise OSError(errno.EINVAL, str(error)) from None
