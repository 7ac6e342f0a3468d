"""`app log`: the end of an app's output, and what comes after it, from one start to the next.

Reads the files themselves, with the rights of whoever asks: nothing passes through the keeper or supervisord.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from supervisor_conf.stdoutlog import of_starts, parts_of

LAST_BYTES: Final = 16 * 1024
"""Shown of what was written before."""

_PIECE: Final = 64 * 1024


@dataclass(slots=True)
class _Open:
    file: BinaryIO
    inode: int


class LogTail:
    """`prefix`: the setting `stdout_log` of the app. Several processes of an app are followed side by side."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._files: dict[Path, _Open] = {}

    def last(self) -> bytes:
        """The end of what the newest start has written, whole lines; b"" if none has. What was there before is not
        told again."""
        found = b""
        for path in of_starts(self._prefix):
            opened = self._opened(path)
            if opened is not None:
                found = self._end_of(path, opened) or found
        return found

    def _end_of(self, path: Path, opened: _Open) -> bytes:
        end = _end(opened.file, LAST_BYTES)
        for part in reversed(parts_of(self._prefix, path)):
            if len(end) > LAST_BYTES:
                break
            with suppress(OSError), _open(part) as file:
                end = _end(file, LAST_BYTES - len(end)) + end
        return end if len(end) <= LAST_BYTES else end.partition(b"\n")[2]

    def more(self) -> bytes:
        """What was written since the last call, in the order of the starts."""
        written = b""
        for path in of_starts(self._prefix):
            opened = self._files.get(path)
            if opened is not None and self._was_replaced(path, opened):
                written += opened.file.read()  # the end of what was turned over
                written += b"".join(self._between(path, os.fstat(opened.file.fileno())))
                opened.file.close()
                del self._files[path]
                opened = None
            opened = opened or self._opened(path)
            if opened is not None:
                if os.fstat(opened.file.fileno()).st_size < opened.file.tell():
                    opened.file.seek(0)  # cleared
                written += opened.file.read(_PIECE)
        self._forget_old()
        return written

    def _between(self, path: Path, known: os.stat_result) -> list[bytes]:
        """Of parts that were begun and turned over between two looks, after the one that is known."""
        between: list[bytes] = []
        for part in reversed(parts_of(self._prefix, path)):
            with suppress(OSError), _open(part) as file:
                status = os.fstat(file.fileno())
                if status.st_ino == known.st_ino or status.st_mtime_ns < known.st_mtime_ns:
                    break
                between.insert(0, file.read())
        return between

    def close(self) -> None:
        for opened in self._files.values():
            opened.file.close()
        self._files.clear()

    def _opened(self, path: Path) -> _Open | None:
        try:
            file = _open(path)
        except OSError:
            return None  # pruned, or not ours to read
        self._files[path] = _Open(file, os.fstat(file.fileno()).st_ino)
        return self._files[path]

    @staticmethod
    def _was_replaced(path: Path, opened: _Open) -> bool:
        try:
            return path.stat().st_ino != opened.inode
        except FileNotFoundError:
            return False

    def _forget_old(self) -> None:
        for path in [path for path in self._files if not path.exists()]:
            self._files.pop(path).file.close()


def _end(file: BinaryIO, count: int) -> bytes:
    """The last `count` bytes, and the one before them if there is one: more were written."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - count - 1, 0))
    return file.read(size)


def _open(path: Path) -> BinaryIO:
    """Raises OSError. The folder may belong to the app's user, and root may ask: no link to somebody's secret, and no
    pipe that never says anything."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a file", str(path))
    return file
