"""`static`: files of a folder for a path of URLs (RFC 9110), sent by the kernel.

One reading of a path and no other: split at `/`, each segment decoded once. What a file system or an app might read
otherwise (an empty or dot segment, an encoded slash or backslash, a control byte, bytes that are no UTF-8) names no
file. Whatever is left is opened inside the folder by the kernel's own rule (`proxy/folder.py`), as the user that the
worker has become.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any, BinaryIO, Final
from urllib.parse import unquote_to_bytes

from proxy.codings import preferred
from proxy.conditions import CONDITIONS, Verdict, http_date, judge, range_still_holds
from proxy.editable import checked_field
from proxy.folder import Folder
from proxy.media_types import MediaTypes
from proxy.modules import Answer, Context, FilePart, Module, Refuse, Visit
from proxy.ranges import Unsatisfiable, ranges_of

Fields = list[tuple[str, str]]

#: Codings a file may lie beside another one in, best first, and how such a file is called.
CODINGS: Final[Mapping[str, bytes]] = {"br": b".br", "zstd": b".zst", "gzip": b".gz"}

#: RFC 8615: the one dot folder that is meant for visitors.
WELL_KNOWN: Final = b".well-known"

#: Seconds between two looks whether the folder has been switched.
LOOK_EVERY: Final = 1.0

_ALLOW: Final = "GET, HEAD, OPTIONS"
_ASKED = frozenset({*CONDITIONS, b"range", b"if-range", b"accept-encoding"})

# What opening says when there is no such file, or none inside the folder.
_NOT_THERE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG, errno.ENXIO}
)


class _Found:
    """An open file and what is said of it."""

    __slots__ = ("coding", "descriptor", "name", "state")

    def __init__(self, descriptor: int, state: os.stat_result, name: bytes, coding: str = "") -> None:
        self.descriptor = descriptor
        self.state = state
        self.name = name
        self.coding = coding

    @property
    def tag(self) -> str:
        """A strong entity tag: of the nanosecond of the last change, the size, and the coding."""
        coding = f"-{self.coding}" if self.coding else ""
        return f'"{self.state.st_mtime_ns:x}-{self.state.st_size:x}{coding}"'


class Static(Module):
    """See `supervisor_conf/module_table.py` for the options."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self._prefix = options["path"].rstrip("/").encode("ascii")
        self._first = [unquote_to_bytes(segment) for segment in self._prefix.split(b"/")[1:]]
        self._folder = Folder(Path(options["folder"]), context.in_thread, links=options["links"])
        self._index = os.fsencode(options["index"])
        self._falls_through = options["fallthrough"]
        self._dotfiles = options["dotfiles"]
        self._codings = list(CODINGS) if options["precompressed"] else []
        self._types = MediaTypes(options["types"], options["charset"])
        self._said: Fields = [("X-Content-Type-Options", "nosniff"), ("Accept-Ranges", "bytes")]
        self._varies: Fields = [("Vary", "Accept-Encoding")] if self._codings else []
        if options["cache_control"]:
            checked_field("Cache-Control", options["cache_control"])
            self._varies.append(("Cache-Control", options["cache_control"]))
        self._log = context.log
        self._told = False
        self._now = context.now
        self._look_at = context.now() + LOOK_EVERY

    def request(self, visit: Visit) -> Answer | Refuse | None:
        path = visit.raw_path
        if not path.startswith(b"/" if b"%" in path else self._prefix or b"/"):
            return None
        segments = self._segments(path)
        if segments is None:
            return None
        method = visit.exchange.request.method
        if method not in (b"GET", b"HEAD"):
            return None if self._falls_through else _other_method(method)
        self._refresh()
        asked = _asked(visit.exchange.request.fields)
        try:
            return self._answer(visit, segments, asked, method == b"GET")
        except OSError as error:
            if error.errno == errno.EACCES:
                self._tell(visit)
                return Refuse(403, "the file may not be read")
            if error.errno not in _NOT_THERE:
                raise
        return None if self._falls_through else Refuse(404, "there is no such file")

    def doubts(self) -> Iterator[str]:
        return self._folder.doubts(self._dotfiles)

    def close(self) -> None:
        self._folder.close()

    def _tell(self, visit: Visit) -> None:
        """Once: whoever has set this up will want to know."""
        if not self._told:
            self._told = True
            self._log.warning("static.not-readable", path=visit.path, user=os.geteuid())

    def _refresh(self) -> None:
        now = self._now()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._folder.refresh()

    # ----------------------------------------------------------------------------------------------------------
    # Which file

    def _segments(self, path: bytes) -> list[bytes] | None:
        """Below the folder, decoded; None for a path that is not ours. The last one is empty for a folder."""
        segments = path.split(b"/")[1:]
        if b"%" in path:
            segments = [unquote_to_bytes(segment) for segment in segments]
        count = len(self._first)
        return segments[count:] if segments[:count] == self._first else None

    def _answer(
        self, visit: Visit, segments: list[bytes], asked: Mapping[bytes, str], whole: bool
    ) -> Answer | Refuse:
        """Raises OSError."""
        is_folder = not segments or not segments[-1]
        names = segments[:-1] if segments and not segments[-1] else segments
        self._check(names)
        if is_folder and segments:
            if not self._index:
                raise FileNotFoundError(errno.ENOENT, "no index")
            names = [*names, self._index]
        descriptor, state = self._folder.open(names)
        if stat.S_ISDIR(state.st_mode):
            os.close(descriptor)
            return self._redirect(visit, names if not is_folder or not segments else None)
        return self._represent(_Found(descriptor, state, names[-1]), names, asked, whole)

    def _check(self, names: Sequence[bytes]) -> None:
        """Raises FileNotFoundError for what names no file."""
        for name in names:
            if not name or name in (b".", b"..") or not _is_utf8(name):
                raise FileNotFoundError(errno.ENOENT, "no name")
            if name.translate(None, _NEVER) != name:
                raise FileNotFoundError(errno.ENOENT, "no name")
            if name.startswith(b".") and not self._dotfiles and name != WELL_KNOWN:
                raise FileNotFoundError(errno.ENOENT, "hidden")

    def _redirect(self, visit: Visit, names: Sequence[bytes] | None) -> Answer:
        """To the same path with a slash, where there is an index. Raises OSError."""
        if names is None or not self._index:
            raise FileNotFoundError(errno.ENOENT, "no index")
        descriptor, _ = self._folder.open([*names, self._index])
        os.close(descriptor)
        target = visit.raw_path.decode("ascii") + "/" + (f"?{visit.query}" if visit.query else "")
        return Answer(301, [("Location", target), *self._said[:1]])

    # ----------------------------------------------------------------------------------------------------------
    # Which form of it, and which part

    def _represent(
        self, found: _Found, names: list[bytes], asked: Mapping[bytes, str], whole: bool
    ) -> Answer | Refuse:
        for coding in preferred(asked.get(b"accept-encoding"), self._codings):
            try:
                descriptor, state = self._folder.open([*names[:-1], names[-1] + CODINGS[coding]])
            except OSError:
                continue
            if stat.S_ISREG(state.st_mode):
                os.close(found.descriptor)
                found = _Found(descriptor, state, found.name, coding)
                break
            os.close(descriptor)
        file = os.fdopen(found.descriptor, "rb", 0)
        try:
            answer = self._judged(file, found, asked, whole)
        except BaseException:
            file.close()
            raise
        if not (isinstance(answer, Answer) and answer.parts):
            file.close()
        return answer

    def _judged(
        self, file: BinaryIO, found: _Found, asked: Mapping[bytes, str], whole: bool
    ) -> Answer | Refuse:
        tag = found.tag
        # Not later than Date (RFC 9110 8.8.2.1)
        modified = min(int(found.state.st_mtime), int(time()))
        validators = [("ETag", tag), ("Last-Modified", http_date(modified)), *self._varies]
        match judge(asked, tag, modified):
            case Verdict.NOT_MODIFIED:
                return Answer(304, validators)
            case Verdict.FAILED:
                return Refuse(412, "the file is not what the request takes it for")
            case Verdict.PERFORM:
                pass
        kind = self._types.of(os.fsdecode(found.name))
        fields = [("Content-Type", kind), *validators, *self._said]
        if found.coding:
            fields.append(("Content-Encoding", found.coding))
        size = found.state.st_size
        ranges = None
        if (
            whole
            and (value := asked.get(b"range"))
            and range_still_holds(asked.get(b"if-range"), tag, modified)
        ):
            try:
                ranges = ranges_of(value, size)
            except Unsatisfiable:
                return Refuse(416, "no such range", fields=(("Content-Range", f"bytes */{size}"),))
        if not whole:
            return Answer(200, fields, length=size)
        if ranges is None:
            return Answer(200, fields, parts=(FilePart(file, 0, size),))
        return _partial(file, fields, ranges, size)


#: In a name: no file that is meant for visitors has them, and other readers stop at them or part there.
_NEVER: Final = bytes(range(32)) + b"\x7f/\\"


def _is_utf8(name: bytes) -> bool:
    if name.isascii():
        return True
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _asked(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """What of a request matters here: names in lower case, several values joined (RFC 9110 5.3)."""
    asked: dict[bytes, str] = {}
    for name, value in fields:
        key = name.lower()
        if key in _ASKED:
            text = value.decode("latin-1")
            asked[key] = f"{asked[key]}, {text}" if key in asked else text
    return asked


def _other_method(method: bytes) -> Answer | Refuse:
    if method == b"OPTIONS":
        return Answer(204, [("Allow", _ALLOW)])
    return Refuse(405, "files are read and nothing else", fields=(("Allow", _ALLOW),))


def _partial(file: BinaryIO, fields: Fields, ranges: Sequence[tuple[int, int]], size: int) -> Answer:
    """206: one range as it is, several as multipart/byteranges (RFC 9110 14.6)."""
    if len(ranges) == 1:
        ((begin, count),) = ranges
        return Answer(
            206, [*fields, _content_range(begin, count, size)], parts=(FilePart(file, begin, count),)
        )
    boundary = secrets.token_hex(16)  # nobody can have put it into a file
    (_, kind), *others = fields
    parts: list[bytes | FilePart] = []
    for begin, count in ranges:
        _, value = _content_range(begin, count, size)
        head = f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {value}\r\n\r\n"
        parts += [head.encode("latin-1"), FilePart(file, begin, count)]
    parts.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    return Answer(
        206, [("Content-Type", f"multipart/byteranges; boundary={boundary}"), *others], parts=tuple(parts)
    )


def _content_range(begin: int, count: int, size: int) -> tuple[str, str]:
    return "Content-Range", f"bytes {begin}-{begin + count - 1}/{size}"
