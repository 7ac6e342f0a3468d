"""`offline`: while a file is there, visitors get it with 503; those who work on it get through.

The file is looked for at most once a second in each worker, in a thread, and never for a request's sake.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from proxy.editable import checked_field
from proxy.modules import Answer, Context, Module, Visit
from proxy.networks import Networks
from proxy.rights import Right, missing

#: Seconds between two looks.
LOOK_EVERY: Final = 1.0

#: As much of the file as is shown.
MOST: Final = 1 << 20

UNREADABLE: Final = b"<!doctype html><title>Offline</title><h1>503 Service Unavailable</h1>\n"


class Offline(Module):
    """See `supervisor_conf/module_table.py` for the options."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        """Raises OSError when the folder of the file cannot be opened."""
        self._path = Path(options["file"])
        # A folder that the workers' user may not enter from above is entered from here.
        self._folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._allowed = Networks(options["allow"])
        checked_field("Content-Type", options["type"])
        self._said = [
            ("Content-Type", options["type"]),
            ("Retry-After", str(round(options["retry_after"]))),
            ("Cache-Control", "no-store"),
        ]
        self._context = context
        self._seen: tuple[int, ...] = ()
        self._page: bytes | None = None
        self._look()
        self._look_at = context.now() + LOOK_EVERY

    def request(self, visit: Visit) -> Answer | None:
        now = self._context.now()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY  # others go on with what is known meanwhile
            before = self._page
            self._context.in_thread(self._look)
            if (before is None) != (self._page is None):
                self._context.log.info("offline.ended" if self._page is None else "offline.began")
        if self._page is None or visit.client in self._allowed:
            return None
        return Answer(503, self._said, self._page)

    def doubts(self) -> Iterator[str]:
        if problem := missing(Right.ENTER, self._path.parent, self._folder):
            yield f"whether {self._path} is there will not be seen: {problem}"
        elif self._is_there() and (problem := missing(Right.READ, self._path, self._folder, self._path.name)):
            yield f"visitors will get a page of Portico's: {problem}"

    def close(self) -> None:
        os.close(self._folder)

    def _is_there(self) -> bool:
        try:
            return stat.S_ISREG(self._stat().st_mode)
        except OSError:
            return False

    def _look(self) -> None:
        """Whether the file is there, and what is in it if it has changed."""
        try:
            found = self._stat()
        except (FileNotFoundError, NotADirectoryError):
            self._page, self._seen = None, ()
            return
        except OSError:
            return  # nobody can tell: as before
        seen = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
        if seen != self._seen or self._page is None:
            self._page, self._seen = self._read(), seen

    def _stat(self) -> os.stat_result:
        try:
            return os.stat(self._path)
        except PermissionError:
            return os.stat(self._path.name, dir_fd=self._folder)

    def _read(self) -> bytes:
        """A file that is there and cannot be read closes the front all the same."""
        for folder, name in ((None, str(self._path)), (self._folder, self._path.name)):
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
            except OSError:
                continue
            try:
                return os.read(descriptor, MOST)
            except OSError:  # a folder, say
                break
            finally:
                os.close(descriptor)
        return UNREADABLE
