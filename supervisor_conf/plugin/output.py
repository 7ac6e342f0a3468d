"""What a process of ours writes: the newest bytes stay in memory; a file or the terminal gets all of them.

`Output` has the shape of supervisor's log handlers (`supervisor/loggers.py`: Handler), so that it can be the one
handler of a process's stdout logger: `supervisorctl clear` and log reopening arrive here as well.
"""

from __future__ import annotations

import json
import select
from collections import deque
from typing import Any, Final, Protocol

from supervisor_conf.plugin.redaction import Redaction

REMEMBERED: Final = 16 * 1024
"""Bytes of output kept for reports."""
_JSON_ROOM: Final = 40 * 1024
"""The text inside a message may take so many bytes of JSON: control characters take six each."""


class Sink(Protocol):
    """Where the bytes go besides memory."""

    def write(self, data: bytes) -> None: ...
    def reopen(self) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


class Output:
    """The output of one generation."""

    level = 0  # below every level: supervisor's Logger asks `record level >= handler level`

    def __init__(self, forked: float, secret: str = "") -> None:
        """`forked`: monotonic time of the fork. `secret` is masked wherever the output goes."""
        self._redaction = Redaction(secret.encode())
        self.sink: Sink | None = None
        self.first_after = -1.0
        self._forked = forked
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def take(self, data: bytes, now: float) -> None:
        if self.first_after < 0:
            self.first_after = max(0.0, now - self._forked)
        self._pass_on(self._redaction.passed(data))

    def end(self) -> None:
        """Nothing more comes."""
        self._pass_on(self._redaction.end())
        if self.sink is not None:
            self.sink.close()
            self.sink = None

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        self._chunks.append(data[-REMEMBERED:])
        self._size += len(self._chunks[-1])
        while self._size - len(self._chunks[0]) >= REMEMBERED:
            self._size -= len(self._chunks.popleft())
        if self.sink is not None:
            self.sink.write(data)

    def text(self) -> str:
        """The newest output, undecodable bytes replaced, cut so that it fits into any message."""
        text = b"".join([*self._chunks, self._redaction.rest()])[-REMEMBERED:].decode("utf-8", "replace")
        while len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) > _JSON_ROOM:
            text = text[len(text) // 4 + 1 :]
        return text


def beware_of_empty_pipes(dispatcher: Any) -> None:
    """supervisord's dispatcher takes a read that finds nothing (EAGAIN) for the end of the output and never looks
    again: the app would stand still when its pipe is full. Reads that were announced find nothing when an answer to
    the keeper, in the same turn, has read before. A pipe without writers is readable (poll(2), POLLHUP).
    """
    stock = dispatcher.handle_read_event

    def handle_read_event() -> None:
        if is_readable(dispatcher.fd):
            stock()

    dispatcher.handle_read_event = handle_read_event


def is_readable(fd: int) -> bool:
    """Now: there are bytes, or the end."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(0))


class OutputHandler:
    """`Output` as supervisor's loggers see it."""

    level = 0

    def __init__(self, output: Output, now: Any) -> None:
        """`now`: a callable, the monotonic clock."""
        self._output = output
        self._now = now

    def emit(self, record: Any) -> None:
        data = record.msg if isinstance(record.msg, bytes) else str(record.msg).encode("utf-8", "replace")
        self._output.take(data, self._now())

    def flush(self) -> None:
        """What is held back waits for more."""

    def remove(self) -> None:
        if self._output.sink is not None:
            self._output.sink.clear()

    def reopen(self) -> None:
        """Called after `remove` (clear) and for a log reopening; the file is still open in the first case."""
        if self._output.sink is not None:
            self._output.sink.reopen()

    def close(self) -> None:
        self._output.end()
