"""Files inside one folder, and none outside: opened by the kernel's own rule, not by looking at names.

The folder is opened once, with the rights a worker is started with; its files are opened by whoever the worker has
become. openat2(2) with RESOLVE_BENEATH (Linux 5.6) resolves a path and refuses every step that leaves the folder, by
`..`, by an absolute link or by a link out of it, without a race; RESOLVE_NO_MAGICLINKS refuses those of /proc. Where
there is no openat2 (an old kernel, or a container that forbids it) each component is opened by itself without
following links, so that links are refused there altogether.

Opening may wait for a disk. With RESOLVE_CACHED (Linux 5.12) the kernel opens at once what its caches know and says so
when they do not: only then a thread is asked.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Final

from proxy.rights import Right, missing

_SYS_OPENAT2: Final = 437  # of every architecture
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH, _RESOLVE_CACHED = 0x02, 0x04, 0x08, 0x20

# Neither a terminal nor a FIFO may hold us up; what is no regular file is closed again.
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: openat2 says EAGAIN also when something was renamed meanwhile: so often it is asked again.
_TRIES: Final = 8

#: Names of the folder that `doubts` looks at.
LOOKED_AT: Final = 200

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Opener(Enum):
    """What this machine can do."""

    CACHED = "openat2 with RESOLVE_CACHED"
    BENEATH = "openat2"
    STEPS = "a component at a time"


InThread = Callable[..., Any]


class Folder:
    """`path` is opened as it is now; `refresh` looks whether it has become another folder.

    `links`: follow symbolic links that stay inside. Raises OSError when it cannot be opened.
    """

    def __init__(self, path: Path, in_thread: InThread, *, links: bool, opener: Opener | None = None) -> None:
        self._path = path
        self._in_thread = in_thread
        self._root = _Root(path)
        self.opener = opener or _opener_of(self._root.descriptor)
        resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS)
        self._how = struct.pack("QQQ", _FLAGS, 0, resolve)
        self._how_cached = struct.pack("QQQ", _FLAGS, 0, resolve | _RESOLVE_CACHED)

    def open(self, segments: Sequence[bytes]) -> tuple[int, os.stat_result]:
        """A descriptor of a regular file or a folder, and its state. `segments`: none is empty, `.`, `..` or holds a
        slash or NUL. Raises OSError; ENOENT for what is neither (a FIFO, a device)."""
        root = self._root  # kept while a thread uses its descriptor
        if self.opener is Opener.CACHED:
            try:
                return _looked_at(_openat2(root.descriptor, b"/".join(segments) or b".", self._how_cached))
            except BlockingIOError:
                pass
        opened: tuple[int, os.stat_result] = self._in_thread(self._open_slowly, root, segments)
        return opened

    def _open_slowly(self, root: _Root, segments: Sequence[bytes]) -> tuple[int, os.stat_result]:
        if self.opener is Opener.STEPS:
            return _looked_at(_open_by_steps(root.descriptor, segments))
        path = b"/".join(segments) or b"."
        for _ in range(_TRIES):
            try:
                return _looked_at(_openat2(root.descriptor, path, self._how))
            except BlockingIOError:
                continue
        raise FileNotFoundError(errno.ENOENT, "renamed again and again")

    def refresh(self) -> None:
        """Take the folder that lies at the path now (a release that was switched by a link), if we may open it."""
        try:
            found = self._in_thread(os.stat, self._path)
            if (found.st_dev, found.st_ino) != self._root.identity:
                self._root = self._in_thread(_Root, self._path)
        except OSError:
            return  # not ours to look at, or gone for the moment: what is open stays

    def doubts(self, dotfiles: bool) -> Iterator[str]:
        """What we may not enter or read of the folder and, as far as a look at its first names shows, of what is in it:
        one sentence at most."""
        problem = missing(Right.ENTER, self._path, self._root.descriptor)
        found = [problem] if problem else self._closed_names(dotfiles)
        if found:
            more = f"; and {len(found) - 1} more in the same folder" if found[1:] else ""
            yield found[0] + more

    def _closed_names(self, dotfiles: bool) -> list[str]:
        root = self._root.descriptor
        try:
            listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        except PermissionError:
            return []  # it is entered without being listed
        try:
            with os.scandir(listed) as names:
                first = [one for one in islice(names, LOOKED_AT) if dotfiles or one.name[0] != "."]
                # Where a link leads, and what is no file, is not looked at.
                rights = {one.name: Right.ENTER for one in first if one.is_dir(follow_symlinks=False)}
                rights |= {one.name: Right.READ for one in first if one.is_file(follow_symlinks=False)}
        finally:
            os.close(listed)
        tried = (missing(right, self._path / name, root, name) for name, right in sorted(rights.items()))
        return list(filter(None, tried))

    def close(self) -> None:
        self._root.close()


class _Root:
    """An open folder; closed when the last who uses it lets go."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        found = os.fstat(self.descriptor)
        self.identity = found.st_dev, found.st_ino

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close


def _looked_at(descriptor: int) -> tuple[int, os.stat_result]:
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        return descriptor, found
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "no regular file")


def _openat2(root: int, path: bytes, how: bytes) -> int:
    """Raises OSError."""
    while True:
        descriptor: int = _libc.syscall(_SYS_OPENAT2, root, path, how, len(how))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def _open_by_steps(root: int, segments: Sequence[bytes]) -> int:
    """No step follows a link or goes up, so none leaves. Raises OSError."""
    if not segments:
        return os.open(b".", _FLAGS, dir_fd=root)
    here = os.dup(root)
    try:
        for segment in segments[:-1]:
            there = os.open(segment, _STEP, dir_fd=here)
            os.close(here)
            here = there
        return os.open(segments[-1], _FLAGS | os.O_NOFOLLOW, dir_fd=here)
    finally:
        os.close(here)


def _opener_of(root: int) -> Opener:
    """ENOSYS is an old kernel; EPERM and EINVAL are of containers' filters, and of a flag that is not known yet."""
    for opener, more in ((Opener.CACHED, _RESOLVE_CACHED), (Opener.BENEATH, 0)):
        how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | more)
        try:
            os.close(_openat2(root, b".", how))
        except BlockingIOError:
            return opener
        except OSError:
            continue
        return opener
    return Opener.STEPS
