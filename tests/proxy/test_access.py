"""The access log on what is no file: a pipe that nobody reads costs lines, and never waits."""

from __future__ import annotations

import os
import re
import socket
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


def test_a_line_says_what_was_asked_and_what_came_of_it(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with memory_front() as front:
        front._access = AccessLog(descriptor := os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        front.publish(3)
        visitor = front.visit(family=socket.AF_INET)
        for target, seconds, length in ((b'/a"b\\c', 0.0625, 63), (b"/", 0.5, 1500), (b"/", 0.0, 0)):
            visitor.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
            front.loop.pass_time(seconds)
            front.apps[0].recv_all()
            front.apps[0].send(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%b" % (length, b"x" * length))
            front.settle()
            visitor.recv_all()
        visitor.send(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        visitor.reset()
        front.settle()
        front._access.flush()
        os.close(descriptor)
    lines = [
        re.sub(r"^[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z | [0-9a-f]{12}-[0-9a-f]+ ", "", line)
        for line in file.read_text().splitlines()
    ]
    assert lines == [
        '192.0.2.7 "GET /a\\x22b\\x5cc HTTP/1.1" 404 63 shop#3 0.0625 0.0625-',
        '192.0.2.7 "GET / HTTP/1.1" 404 1500 shop#3 0.5000 0.5000-',
        '192.0.2.7 "GET / HTTP/1.1" 404 0 shop#3 0.0000 0.0000-',
        '192.0.2.7 "GET /gone HTTP/1.1" 499 0 shop#3 - 0.0000client-gone',
    ]
