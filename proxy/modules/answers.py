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
    to HEAD, and with 304, `length` stands for a body that is not sent."""

    status: int
    fields: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    parts: Sequence[bytes | FilePart] = ()  # after `body`
    length: int | None = None  # None: of what is there

    def content_length(self) -> int:
        if self.length is not None:
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

    `detail`: one short sentence for page and log; never a secret. `retry_after`: seconds, 0 none.
    """

    status: int
    detail: str
    fields: Sequence[tuple[str, str]] = ()
    retry_after: int = 0
