"""What the user who serves visitors may not do with files, in a sentence that names the cure: for `Module.doubts`."""

from __future__ import annotations

import grp
import os
import shlex
import stat
from enum import Enum
from pathlib import Path

from supervisor_conf.accounts import user_name


class Right(Enum):
    """How it is called, and the letter chmod(1) has for it."""

    ENTER = "enter the folder", "x"
    READ = "read the file", "r"

    @property
    def bit(self) -> int:
        return os.X_OK if self is Right.ENTER else os.R_OK

    def use(self, folder: int, name: str) -> None:
        """Raises OSError. Tried, since access(2) asks for the real user and not for whom we act as."""
        if self is Right.ENTER:
            os.stat(f"{name}/.", dir_fd=folder)
        else:
            os.close(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder))


def missing(right: Right, path: Path, folder: int, name: str = ".") -> str:
    """Why we may not, or "". `name` is below `folder`, a descriptor, and called `path` by the sentence."""
    try:
        right.use(folder, name)
        return ""
    except PermissionError:
        found = os.fstat(folder) if name == "." else os.stat(name, dir_fd=folder)
    except OSError:
        return ""  # gone meanwhile
    verb, letter = right.value
    who = user_name(os.geteuid())
    mode = stat.S_IMODE(found.st_mode)
    owner = f"{user_name(found.st_uid)}:{_group_name(found.st_gid)}"
    kind, shift = _class_of(found)
    if mode & (right.bit << shift):
        cure = "an access list (getfacl) or a security module forbids it"
    else:
        cure = f"chmod {kind}+{letter} {shlex.quote(str(path))}"
    return f"the workers ({who}) may not {verb} {path}, whose mode is {mode:04o} and owner {owner}: {cure}"


def _class_of(found: os.stat_result) -> tuple[str, int]:
    """Which three bits of the mode are ours (path_resolution(7))."""
    if found.st_uid == os.geteuid():
        return "u", 6
    if found.st_gid in (os.getegid(), *os.getgroups()):
        return "g", 3
    return "o", 0


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
