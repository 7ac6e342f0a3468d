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
"""Lines that are made together: a line costs half as much when the one before it was just made."""

Said = tuple[float, float, float, bytes, bytes, bytes, bytes, int, int, bytes, bytes, str]
"""What a line says; the exchange itself is over, and its memory is the next one's."""

_QUOTE = re.compile(rb'["\\]')
_QUOTATION_MARK, _BACKSLASH = ord('"'), ord("\\")
# What is written of most requests has been written before: statuses and short lengths, the thousandths of a second, and
# times below a tenth of one in steps of a ten-thousandth.
_NUMBERS = [b"%d" % number for number in range(1000)]
_THOUSANDTHS = [b".%03dZ" % number for number in range(1000)]
SHORT = 0.1
_SHORT_TIMES = [b"%.4f" % (number / 10_000) for number in range(1001)]


class AccessLog:
    """Lines for one descriptor, opened for appending; lines of several workers do not mix. Whoever owns it calls
    `flush` now and then, and at the end. Never waits: lines that the other end of a pipe does not take are lost."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._waiting: list[Said] = []
        self._offset = 0.0  # from their clock to the time of day
        self._lines: list[bytes] = []
        self._size = 0
        self._second = 0
        self._date = b""

    def write(self, exchange: Exchange) -> None:
        """The line of an exchange that has just ended."""
        request, ended = exchange.request, exchange.ended or exchange.client.now()
        waiting = self._waiting
        if not waiting:
            self._offset = time() - ended
        waiting.append(
            (
                ended,
                exchange.started,
                exchange.first_byte,
                exchange.visitor.word,
                request.method,
                request.target,
                request.version,
                exchange.status,
                exchange.body_sent,
                exchange.served_by or _app(exchange),
                exchange.request_id,
                exchange.reason,
            )
        )
        if len(waiting) >= TOGETHER:
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
        waiting, self._waiting = self._waiting, []
        self._add([self._line(said) for said in waiting])

    def _line(self, said: Said) -> bytes:
        ended, started, first_byte, client, method, target, version, status, size, app, number, reason = said
        if _QUOTATION_MARK in target or _BACKSLASH in target:
            target = _QUOTE.sub(_escaped, target)
        first, whole = first_byte - started, ended - started
        return b'%b %b "%b %b HTTP/%b" %b %b %b %b %b %b %b\n' % (
            self._moment(self._offset + ended),
            client,
            method,
            target,
            version,
            _NUMBERS[status or 499],
            _NUMBERS[size] if 0 <= size < 1000 else b"%d" % size,
            app,
            (_SHORT_TIMES[int(first * 10_000 + 0.5)] if first < SHORT else b"%.4f" % first)
            if first_byte
            else b"-",
            _SHORT_TIMES[int(whole * 10_000 + 0.5)] if whole < SHORT else b"%.4f" % whole,
            number,
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
