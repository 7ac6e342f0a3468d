"""Instructions that the worker executes for one request: a figure that other work on the machine does not move.

`python -m benchmarks.instructions [--method get|post] [--no-log]`: the worker runs under callgrind (apt-get install
valgrind) between a visitor and an app that are this process; what it executes while nobody asks anything is taken off
for the time that the requests took. One visitor asks, so that every request takes the same turns of the loop. The
kernel's share is not seen, nor what the processor waits for: CPU time (`python -m benchmarks`) has the last word, this
tells small steps apart.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.request import end_of_answer, filled, read_answer, templates
from tests.kit.worker_process import WorkerProcess, settings_for

WARM_UP = 400
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 63\r\nConnection: keep-alive\r\n\r\n" + b"x" * 63
)
PATHS = {"GET": "/api/cart?step=%d", "POST": "/api/cart/%d"}
BODY = b"x" * 1024
SETTLE, IDLE = 2.0, 3.0
"""Seconds until a connection rests that nobody uses, and of rest that are counted."""
SLOW = 300.0
"""Seconds for what takes fifty times as long under callgrind."""


@dataclass(frozen=True, slots=True)
class Count:
    """Of one stretch: instructions in all, and by function of C."""

    total: int
    by_function: dict[str, int]


def main() -> int:
    arguments = _parser().parse_args()
    if shutil.which("valgrind") is None:
        print("not installed: apt-get install valgrind")
        return 1
    each = count(arguments.method.upper(), arguments.requests, log=not arguments.no_log)
    print(f"{each.total:,} instructions for one {arguments.method.upper()}")
    for name, number in sorted(each.by_function.items(), key=lambda one: -one[1])[: arguments.rows]:
        print(f"{number:8,} {number / each.total:6.1%}  {name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--method", choices=("get", "post"), default="get")
    parser.add_argument("--requests", type=int, default=640, help="how many are counted (%(default)s)")
    parser.add_argument("--rows", type=int, default=15, help="functions of C to show (%(default)s)")
    parser.add_argument("--no-log", action="store_true", help="without an access log")
    return parser


def count(method: str, requests: int, *, log: bool = True) -> Count:
    """What one request costs, the background taken out."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-count-")))
        port = stack.enter_context(_app())
        tool = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/counts")
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        worker = WorkerProcess(
            folder, settings_for(folder), listener, under=tool, patience=SLOW, access_log=log
        )
        stack.callback(worker.close)
        worker.publish(port)
        visitor = _Visitor(worker, method, stack)
        visitor.ask(WARM_UP)
        _control(worker, "--instr=on")
        visitor.ask(WARM_UP)
        time.sleep(SETTLE)
        idle, idle_seconds = _stretch(worker, folder, lambda: time.sleep(IDLE))
        busy, busy_seconds = _stretch(worker, folder, lambda: visitor.ask(requests))
    return less(busy, idle, busy_seconds / idle_seconds, requests)


def _stretch(worker: WorkerProcess, folder: Path, do: Callable[[], None]) -> tuple[Count, float]:
    """What the worker executes while this is done, and the seconds that it takes."""
    _control(worker, "--zero")
    began = time.monotonic()
    do()
    seconds = time.monotonic() - began
    before = set(folder.glob("counts.*"))
    _control(worker, "--dump")
    (written,) = set(folder.glob("counts.*")) - before
    return parse(written.read_text(errors="replace")), seconds


def _control(worker: WorkerProcess, what: str) -> None:
    subprocess.run(
        ["callgrind_control", what, str(worker.process.pid)],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=SLOW,
    )


_NAME = re.compile(r"fn=\((\d+)\)(?: (.*))?")


def parse(dump: str) -> Count:
    """Own instructions by function, of callgrind's output format (its manual, «Callgrind Format Specification»)."""
    names: dict[str, str] = {}
    own: dict[str, int] = {}
    current, of_a_call = "", False
    for line in dump.splitlines():
        if line.startswith(("fn=", "cfn=")):
            match = _NAME.search(line)
            assert match is not None
            number, name = match.groups()
            if name:
                names[number] = name
            if line.startswith("fn="):
                current = number
        elif line.startswith("calls="):
            of_a_call = True
        elif line.startswith(tuple("0123456789+-*")):
            cost = int(line.split()[1])
            if not of_a_call:
                own[current] = own.get(current, 0) + cost
            of_a_call = False
    by_function: dict[str, int] = {}
    for number, cost in own.items():
        name = names[number].partition("'")[0]
        by_function[name] = by_function.get(name, 0) + cost
    return Count(sum(own.values()), by_function)


def less(busy: Count, idle: Count, share: float, requests: int) -> Count:
    """Of one request, without what happens as time passes: much of it does in a request under callgrind."""
    by_function = {
        name: round((number - idle.by_function.get(name, 0) * share) / requests)
        for name, number in busy.by_function.items()
    }
    return Count(round((busy.total - idle.total * share) / requests), by_function)


class _Visitor:
    """A visitor who uses three browsers on one connection that is kept."""

    def __init__(self, worker: WorkerProcess, method: str, stack: ExitStack) -> None:
        self._body = BODY if method == "POST" else b""
        self._heads = templates(worker.address[1], method, PATHS[method], len(self._body) or None)
        self._socket = stack.enter_context(worker.connect())
        self._socket.settimeout(SLOW)
        self._number = 1_000_000

    def ask(self, requests: int) -> None:
        for _ in range(requests):
            self._number += 1
            head = filled(self._heads[self._number % len(self._heads)], self._number)
            self._socket.sendall(head + self._body)
            answer = read_answer(self._socket)
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]


@contextmanager
def _app() -> Iterator[int]:
    """An app that gives everybody the same answer; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve_one, args=(connection,), daemon=True).start()


def _serve_one(connection: socket.socket) -> None:
    with connection:
        data = b""
        while True:
            while (end := end_of_answer(data)) is None:  # a request is measured as an answer is
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            data = data[end:]
            connection.sendall(ANSWER)


if __name__ == "__main__":
    sys.exit(main())
