"""Files of users: htpasswd (who may sign in, with which hash) and htgroup (which groups they have).

Read with the rights the worker starts with, then kept open: `htpasswd` writes a changed file where it is.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from proxy.modules.password_hashes import Unsupported, check_supported

LARGEST: Final = 16 * 1024 * 1024
LOOK_EVERY: Final = 1.0
"""Seconds. A change is taken over when the file was the same at two looks: it may be half written."""

Stamp = tuple[int, int, int, int]
Parsed = TypeVar("Parsed", bound=Sized)


class BadFile(ValueError):
    """With file, line and a sentence; never what stands where a hash should be."""


def parse(text: str, file: str) -> dict[str, str]:
    """Users and their hashes. Blank lines, `#` lines and what follows a second colon are skipped. Raises BadFile."""
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{file}, line {number}"
        user, colon, rest = line.partition(":")
        if not colon or not user or not user.isprintable() or user != user.strip():
            raise BadFile(f"{where}: no line of the form name:hash")
        if user in found:
            raise BadFile(f"{where}: {user} stands in line {lines[user]} already")
        try:
            check_supported(stored := rest.partition(":")[0].strip())
        except Unsupported as problem:
            raise BadFile(f"{where}: {user} has {problem}") from problem
        found[user], lines[user] = stored, number
    return found


def parse_groups(text: str, file: str) -> dict[str, tuple[str, ...]]:
    """Users and their groups, of lines `group: user user` as Apache has them. Raises BadFile."""
    found: dict[str, dict[str, None]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        group, colon, users = line.partition(":")
        if not colon or not group or not group.isprintable() or group != group.strip():
            raise BadFile(f"{file}, line {number}: no line of the form group: name name")
        for user in users.split():
            found.setdefault(user, {})[group] = None
    return {user: tuple(names) for user, names in found.items()}


# A FIFO is opened at once, and then is no file that can be read: no worker waits for whoever might write into it.
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class WatchedFile(Generic[Parsed]):
    """`value` is the file as it is now, parsed. Raises BadFile, OSError when it cannot be read at the start."""

    def __init__(self, path: Path, parse: Callable[[str, str], Parsed], now: float, log: Any) -> None:
        self._path = path
        self._parse = parse
        self._log = log
        self._descriptor = os.open(path, _FLAGS)
        self._stamp = self._seen = self._look()
        self._refused: Stamp | None = None
        self._told = False
        self._looked = now
        self.value = self._read()

    def refresh(self, now: float) -> None:
        """Take over a change: at once one that was made a while ago, before which nobody came; else when two looks have
        seen the same. A file that is wrong changes nothing and is told once."""
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        seen, before = self._look(), self._seen
        self._seen = seen
        if seen == self._stamp or seen == self._refused:
            return
        if seen != before and not _is_at_rest(seen):
            return
        try:
            self.value = self._read()
        except (BadFile, OSError) as problem:
            self._refused = seen
            self._log.warning("htpasswd.refused", reason=str(problem))
            return
        self._stamp = seen
        self._log.info("htpasswd.changed", file=str(self._path), entries=len(self.value))

    def close(self) -> None:
        os.close(self._descriptor)

    def _look(self) -> Stamp:
        """Of the file that has the name now, if we may open it; else of the one that is open."""
        try:
            named, opened = os.stat(self._path), os.fstat(self._descriptor)
            if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
                other = os.open(self._path, _FLAGS)
                os.dup2(other, self._descriptor, inheritable=False)
                os.close(other)
        except PermissionError:
            self._tell_if_replaced()
        except OSError:
            pass  # gone for the moment
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _tell_if_replaced(self) -> None:
        """Once. Ours has no name any more where another file took it."""
        if self._told or os.fstat(self._descriptor).st_nlink:
            return
        self._told = True
        reason = f"{self._path} is another file now, which only `app reload` can have read"
        self._log.warning("htpasswd.refused", reason=f"{reason}: the workers may not")

    def _read(self) -> Parsed:
        raw = os.pread(self._descriptor, LARGEST + 1, 0)
        if len(raw) > LARGEST:
            raise BadFile(f"{self._path} is larger than {LARGEST} bytes")
        try:
            return self._parse(raw.decode("utf-8-sig"), str(self._path))
        except UnicodeDecodeError:
            raise BadFile(f"{self._path} is not UTF-8") from None


def _is_at_rest(stamp: Stamp) -> bool:
    return time.time_ns() - stamp[3] > LOOK_EVERY * 1e9


class Htpasswd:
    """Users and their hashes, as the file has them now."""

    def __init__(self, path: Path, now: float, log: Any) -> None:
        """Raises BadFile, OSError."""
        self._file = WatchedFile(path, parse, now, log)
        self.refresh = self._file.refresh
        self.close = self._file.close

        self._listed: tuple[Mapping[str, str], list[str]] = {}, []

    @property
    def users(self) -> Mapping[str, str]:
        return self._file.value

    def hash_to_check(self, user: str) -> tuple[str, bool]:
        """The user's hash; for one who does not exist somebody's, and False: an answer takes as long for a name that is
        not there as for one that is, and for the same name always."""
        stored = self.users.get(user)
        if stored is not None:
            return stored, True
        if not self.users:
            return "", False
        hashes = self._hashes()
        choice = hashlib.blake2b(user.encode("utf-8", "surrogatepass"), key=hashes[0].encode()[:64]).digest()
        return hashes[int.from_bytes(choice[:8], "big") % len(hashes)], False

    def _hashes(self) -> list[str]:
        """Listed once: a file may have many users, and anybody can ask for names that it has not."""
        users, hashes = self._listed
        if users is not self.users:
            users = self.users
            hashes = list(users.values())
            self._listed = users, hashes
        return hashes
