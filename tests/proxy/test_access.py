"""The access log on what is no file: a pipe that nobody reads costs lines, and never waits."""

from __future__ import annotations

import os
from pathlib import Path

from proxy.access import PIECE, AccessLog
from proxy.headers import Caller
from tests.kit.memory_front import memory_front

CALLER = Caller("192.0.2.7", 5000, "http")


def test_a_pipe_gets_whole_lines_and_is_not_waited_for() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    os.set_blocking(read, False)
    log = AccessLog(write)
    for number in range(3000):  # far more than a pipe holds
        log.write_refused(CALLER, 400, b"%06d" % number, "bad-request")
    log.flush()
    lines = b""
    while True:
        try:
            lines += os.read(read, 65536)
        except BlockingIOError:
            break
    assert lines.endswith(b" bad-request\n")
    numbers = [int(line.split(b" ")[-2]) for line in lines.splitlines()]
    assert numbers == list(range(len(numbers)))
    assert PIECE < len(lines) < 3000 * len(lines.splitlines()[0])
    os.close(read)
    os.close(write)


def test_it_goes_on_in_another_file(tmp_path: Path) -> None:
    def opened(name: str) -> int:
        return os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    log = AccessLog(opened("first"))
    log.write_refused(CALLER, 400, b"1", "bad-request")
    log.reopen(second := opened("second"))
    log.write_refused(CALLER, 431, b"2", "too-large")
    log.flush()
    log.flush()
    os.close(second)
    assert (tmp_path / "first").read_text().endswith(' "-" 400 0 - - - 1 bad-request\n')
    assert (tmp_path / "second").read_text().endswith(' "-" 431 0 - - - 2 too-large\n')


def test_who_went_away_was_not_served_and_what_it_wrote_ends_no_quotes(tmp_path: Path) -> None:
    with memory_front() as front:
        descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        front._access = AccessLog(descriptor)
        front.publish(1)
        visitor = front.visit()
        visitor.send(b'GET /" HTTP/1.1\r\nHost: a\r\n\r\n')
        front.settle()
        visitor.close()
        front.settle()
        front._access.flush()
        os.close(descriptor)
    line = (tmp_path / "log").read_text()
    assert r' "GET /\x22 HTTP/1.1" 499 0 shop#1 - ' in line
    assert line.endswith(" client-gone\n")
