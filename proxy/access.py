"""The access log: one line a request, gathered and written together, never one write a request.

    2026-11-23T01:02:03.456Z 127.0.0.1 "GET /cart?id=7 HTTP/1.1" 200 512 shop#3 0.0031 0.0034 4f1c9a70d2be-1a -

Time, client, request, status, body bytes sent, app and generation, seconds to the first byte and to the last,
request id, and what went wrong in a word. `-` stands for nothing. A request whose client went away has status
499, as nginx has it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from time import time

from proxy.exchange import Exchange
from proxy.headers import Caller
from proxy.trust import client_word

FLUSH_AT = 64 * 1024
PIECE = 4096
"""Bytes written at once to what is no file: a pipe takes so many whole or not at all (pipe(7), PIPE_BUF)."""
TOGETHER = 64
"""Exchanges whose lines are made together: a line costs half as much when the one before it was just made."""

_QUOTE = re.compile(rb'["\\]')
# What is written of most requests has been written before: the thousandths of a second, and times below a tenth of one
# in steps of a ten-thousandth.
_THOUSANDTHS = [b".%03dZ" % number for number in range(1000)]
SHORT = 0.1
_SHORT_TIMES = [b"%.4f" % (number / 10_000) for number in range(1001)]


class AccessLog:
    """Lines for one descriptor, opened for appending; lines of several workers do not mix. Whoever owns it calls
    `flush` now and then, and at the end. Never waits: lines that the other end of a pipe does not take are lost."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._ended: list[Exchange] = []
        self._lines: list[bytes] = []
        self._size = 0
        self._second = 0
        self._date = b""

    def write(self, exchange: Exchange) -> None:
        """The line of an exchange that has just ended."""
        exchange.ended = exchange.ended or exchange.client.now()
        ended = self._ended
        ended.append(exchange)
        if len(ended) >= TOGETHER:
            self._make_lines()

    def write_refused(self, caller: Caller, status: int, request_id: bytes, reason: str) -> None:
        """The line of a head that was refused: nothing of it is repeated, since nobody knows what it means."""
        self._make_lines()
        self._add(
            [
                b'%b %b "-" %d 0 - - - %b %b\n'
                % (self._moment(time()), client_word(caller), status, request_id, reason.encode("ascii"))
            ]
        )

    def _make_lines(self) -> None:
        ended, self._ended = self._ended, []
        if ended:
            offset = time() - ended[0].client.now()
            self._add([self._line(offset, exchange) for exchange in ended])

    def _line(self, offset: float, exchange: Exchange) -> bytes:
        request, started, ended = exchange.request, exchange.started, exchange.ended
        target, reason = request.target, exchange.reason
        if b'"' in target or b"\\" in target:
            target = _QUOTE.sub(_escaped, target)
        first_byte = exchange.first_byte - started if exchange.first_byte else 0.0
        whole = ended - started
        return b'%b %b "%b %b HTTP/%b" %d %d %b %b %b %b %b\n' % (
            self._moment(offset + ended),
            exchange.visitor.word,
            request.method,
            target,
            request.version,
            exchange.status or 499,
            exchange.body_sent,
            exchange.served_by or _app(exchange),
            (_SHORT_TIMES[int(first_byte * 10_000 + 0.5)] if first_byte < SHORT else b"%.4f" % first_byte)
            if exchange.first_byte
            else b"-",
            _SHORT_TIMES[int(whole * 10_000 + 0.5)] if whole < SHORT else b"%.4f" % whole,
            exchange.request_id,
            reason.encode("ascii") if reason else b"-",
        )

    def _moment(self, when: float) -> bytes:
        second = int(when)
        if second != self._second:
            self._second = second
            self._date = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode("ascii")
        return self._date + _THOUSANDTHS[int((when - second) * 1000)]

    def _add(self, lines: list[bytes]) -> None:
        self._lines += lines
        self._size += sum(map(len, lines))
        if self._size >= FLUSH_AT:
            self._write()

    def flush(self) -> None:
        self._make_lines()
        self._write()

    def _write(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        try:
            for piece in [b"".join(lines)] if self._is_file and lines else _pieces(lines):
                os.write(self._descriptor, piece)
        except OSError:
            # A full disk, or a reader that does not read, costs lines, not requests.
            pass

    def reopen(self, descriptor: int) -> None:
        """Go on in another file (logrotate)."""
        self.flush()
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines together as far as they fit."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > PIECE:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece


def _app(exchange: Exchange) -> bytes:
    """Of a request that no generation has got."""
    desk = getattr(exchange, "desk", None)
    return b"%b#0" % desk.settings.name.encode() if desk is not None else b"-"


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % match[0][0]
