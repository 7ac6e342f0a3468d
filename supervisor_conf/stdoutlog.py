"""The output of one start of an app: its own file, bytes as they come, turned over at a size.

    logs/shop/stdout_20261122053759_949.log       UTC time of the start and pid, as the ASP.NET Core Module names it
    logs/shop/stdout_20261122053759_949.log.1     the part before the last turn-over

A disk that is full, or a folder that is gone, costs output, never the app.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path

from supervisor_conf.folders import open_in_folder

_STAMP = "%Y%m%d%H%M%S"


def log_path(prefix: str, started: float, pid: int) -> Path:
    """`started` is wall clock seconds."""
    return Path(f"{prefix}_{time.strftime(_STAMP, time.gmtime(started))}_{pid}.log")


def of_starts(prefix: str) -> list[Path]:
    """The files of all starts that are there, oldest first; turned-over parts are not among them."""
    return [path for path in _files(prefix) if path.suffix == ".log"]


def parts_of(prefix: str, path: Path) -> list[Path]:
    """The turned-over parts of one start that are there, oldest first."""
    return [part for part in _files(prefix) if part.name.startswith(f"{path.name}.")]


def prune(prefix: str, keep: int, in_use: Collection[str]) -> list[Path]:
    """Remove the oldest files, parts included, beyond `keep`; those `in_use` stay. Raises OSError."""
    removed = []
    files = [path for path in _files(prefix) if str(path) not in in_use]
    kept = len(_files(prefix)) - len(files)
    for path in files[: max(len(files) - max(keep - kept, 0), 0)]:
        path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def _files(prefix: str) -> list[Path]:
    """Oldest first: by the time in the name, then the parts of one start, the higher number first."""
    folder, stem = os.path.split(prefix)
    pattern = re.compile(re.escape(stem) + r"_(\d{14})_(\d+)\.log(?:\.(\d+))?", re.ASCII)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = []
    for name in names:
        match = pattern.fullmatch(name)
        if match is not None:
            found.append((match[1], int(match[2]), -int(match[3] or 0), name))
    return [Path(folder) / name for *_, name in sorted(found)]


class StdoutLog:
    """One file. Raises OSError only when it is made; after that `problem` is told, once, and writing goes on."""

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        keep: int,
        problem: Callable[[str], None],
        *,
        turned_over: Callable[[], object] = lambda: None,
        again: bool = False,
    ) -> None:
        """`max_bytes` 0: never turned over. `keep`: files of this start that stay, the one that is written among
        them. `turned_over` is told that there is one more. `again`: the start may have written there before;
        otherwise a file that is there is somebody else's."""
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._problem = problem
        self._turned_over = turned_over
        self._told = False
        self._fd = open_in_folder(path, _FLAGS, 0o640) if again else _create(path)
        self._size = os.fstat(self._fd).st_size

    def change(self, max_bytes: int, keep: int) -> None:
        """Other limits from now on."""
        self._max_bytes = max_bytes
        self._keep = keep

    def write(self, data: bytes) -> None:
        if self._fd < 0:
            return
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._fd, view)
                self._size += written
                view = view[written:]
        except OSError as error:
            self._tell(error)
        if self._max_bytes and self._size >= self._max_bytes:
            self._turn_over()

    def reopen(self) -> None:
        """After somebody moved the file away: go on in a new one of the same name."""
        self.close()
        try:
            self._fd = open_in_folder(self.path, _FLAGS, 0o640)
            self._size = os.fstat(self._fd).st_size
        except OSError as error:
            self._tell(error)

    def clear(self) -> None:
        """Forget what was written so far."""
        try:
            os.ftruncate(self._fd, 0)
            self._size = 0
        except OSError as error:
            self._tell(error)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _turn_over(self) -> None:
        try:
            for number in range(self._keep - 2, 0, -1):
                _rename_if_there(self._part(number), self._part(number + 1))
            if self._keep > 1:
                os.rename(self.path, self._part(1))
            else:
                os.unlink(self.path)
            fresh = _create(self.path)
        except OSError as error:
            self._tell(error)
            # Try again after as many bytes again, not at every line.
            self._size = 0
            return
        os.close(self._fd)
        self._fd = fresh
        self._size = 0
        self._turned_over()

    def _part(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            self._problem(f"{self.path} cannot be written: {error.strerror}.")


# O_NOFOLLOW: the folder may belong to the app's user, and supervisord may be root.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def _create(path: Path) -> int:
    return open_in_folder(path, _FLAGS | os.O_EXCL, 0o640)


def _rename_if_there(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        pass
