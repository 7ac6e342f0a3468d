"""Notices at once when a file with a meaning comes, goes or changes in a folder.

inotify(7) tells; a look every LOOK_EVERY seconds sees what it cannot tell: file systems of the network, a machine
without watches left, a folder that was replaced or is made only later. Nothing is decided here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.socket import wait_read
from inotify_simple import INotify, flags

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at everything."""

_MASK: Final = (
    flags.CREATE
    | flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.ATTRIB
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)

Signature = tuple[tuple[str, int, int, int], ...]


class Watch:
    """`folders`: where to look. `names`: lower-case names of the files that matter, in any case."""

    def __init__(self, names: Iterable[str], changed: Callable[[Path], None], log: Any) -> None:
        """`changed` is called with the folder, perhaps once too often."""
        self._names = frozenset(names)
        self._changed = changed
        self._log = log
        self._folders: dict[Path, Signature] = {}
        self._watched: dict[
            int, tuple[Path, tuple[int, int]]
        ] = {}  # watch descriptor -> folder and its identity
        self._inotify = _inotify(log)
        self._greenlets: list[gevent.Greenlet[..., Any]] = []

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._look_for_ever)]
        if self._inotify is not None:
            self._greenlets.append(gevent.spawn(self._read_for_ever, self._inotify))

    def close(self) -> None:
        gevent.killall(self._greenlets)
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def set_folders(self, folders: Iterable[Path]) -> None:
        """From now on these. What is in a new one is its beginning, and no change."""
        wanted = set(folders)
        for folder in self._folders.keys() - wanted:
            del self._folders[folder]
        for descriptor, (folder, _) in list(self._watched.items()):
            if folder not in wanted:
                self._forget(descriptor)
        for folder in wanted - self._folders.keys():
            self._watch(folder)
            self._folders[folder] = self._signature(folder)

    def look(self) -> None:
        """At everything, now."""
        for folder in list(self._folders):
            if self._is_unwatched(folder):
                self._watch(folder)
            signature = self._signature(folder)
            if folder in self._folders and signature != self._folders[folder]:
                self._folders[folder] = signature
                self._changed(folder)

    # ---------------------------------------------------------------------------------------------------

    def _look_for_ever(self) -> None:
        while True:
            gevent.sleep(LOOK_EVERY)
            self.look()

    def _read_for_ever(self, inotify: INotify) -> None:
        while True:
            wait_read(inotify.fileno())
            touched: dict[Path, None] = {}
            for event in inotify.read(timeout=0):
                if event.mask & flags.Q_OVERFLOW:
                    touched.update(dict.fromkeys(self._folders))
                elif event.wd in self._watched and self._matters(event.mask, event.name):
                    touched[self._watched[event.wd][0]] = None
                if event.mask & flags.IGNORED:
                    self._watched.pop(event.wd, None)
            for folder in touched:
                if folder in self._folders:
                    self._folders[folder] = self._signature(folder)
                    self._changed(folder)

    def _matters(self, mask: int, name: str) -> bool:
        return name.lower() in self._names or bool(
            mask & (flags.DELETE_SELF | flags.MOVE_SELF | flags.IGNORED)
        )

    def _watch(self, folder: Path) -> None:
        if self._inotify is None:
            return
        try:
            identity = _identity(folder)
            self._watched[self._inotify.add_watch(folder, _MASK)] = (folder, identity)
        except OSError:
            pass  # not there (yet), or no watch is left: the looks have to do

    def _is_unwatched(self, folder: Path) -> bool:
        """Nothing watches it, or what is watched is no longer what is found under this name."""
        for descriptor, (watched, identity) in list(self._watched.items()):
            if watched == folder:
                try:
                    if _identity(folder) == identity:
                        return False
                except OSError:
                    return False  # gone for the moment
                self._forget(descriptor)
        return True

    def _forget(self, descriptor: int) -> None:
        self._watched.pop(descriptor, None)
        if self._inotify is not None:
            try:
                self._inotify.rm_watch(descriptor)
            except OSError:
                pass  # the kernel was quicker: the folder is gone

    def _signature(self, folder: Path) -> Signature:
        """What can be seen of the files that matter without reading them."""
        found = []
        for name in matching(folder, self._names):
            try:
                status = os.lstat(folder / name)
            except OSError:
                continue  # gone since
            found.append((name, status.st_ino, status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)))
        return tuple(found)


def matching(folder: Path, names: Iterable[str]) -> list[str]:
    """The files of `folder` whose name, in any case, is one of `names`; none if it cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder) if name.lower() in names)
    except OSError:
        return []


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _inotify(log: Any) -> INotify | None:
    try:
        return INotify(nonblocking=True)
    except OSError as error:
        log.warning("watch.without-inotify", why=error.strerror)
        return None
