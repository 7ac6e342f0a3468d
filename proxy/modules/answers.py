"""What a module can answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class FilePart:
    """`count` bytes of a regular file from `offset` on; sent by the kernel, closed when the answer is over."""

    file: BinaryIO
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A final response. `fields`: without Date, Content-Length, Connection and Transfer-Encoding, which are added;
    to HEAD, and with 304, `length` stands for a body that is not sent. Raises ValueError for what is none."""

    status: int
    fields: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    parts: Sequence[bytes | FilePart] = ()  # after `body`
    length: int | None = None  # None: of what is there

    def __post_init__(self) -> None:
        _check_status(self.status, 200)
        if not isinstance(self.body, bytes):
            raise ValueError(f"a body is bytes, not {type(self.body).__name__}")

    def content_length(self, *, sent: bool) -> int:
        """`sent`: whether the body is, and nothing but its own length frames it."""
        if self.length is not None and not sent:
            return self.length
        counts = (len(part) if isinstance(part, bytes) else part.count for part in self.parts)
        return len(self.body) + sum(counts)

    def close(self) -> None:
        for part in self.parts:
            if isinstance(part, FilePart):
                part.file.close()


@dataclass(frozen=True, slots=True)
class Refuse:
    """An error page in the form the visitor asks for (HTML, problem+json, plain text) with this status.

    `detail`: one short sentence for page and log; never a secret. `retry_after`: whole seconds, 0 none. Raises
    ValueError for a status that refuses nothing.
    """

    status: int
    detail: str
    fields: Sequence[tuple[str, str]] = ()
    retry_after: int = 0

    def __post_init__(self) -> None:
        _check_status(self.status, 400)
        if self.retry_after < 0:
            raise ValueError(f"nobody can come back {-self.retry_after} seconds ago")


def _check_status(status: object, least: int) -> None:
    """RFC 9110 15: three digits, and a client takes one above 599 for a 500."""
    if not isinstance(status, int) or not least <= status <= 599:
        raise ValueError(f"{status!r} is no status from {least} to 599")
