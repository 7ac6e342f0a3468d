"""A real worker and the kernel: what is refused, and how its client sees that."""

from __future__ import annotations

import re
import resource
from pathlib import Path

from supervisor_conf.control.messages import Counters
from tests.kit.until import wait_until
from tests.kit.worker_process import WorkerProcess, dual_stack, worker_process

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def ask(worker: WorkerProcess) -> bytes:
    """What a visitor hears within half a second; b"" if it waits for the app."""
    with worker.connect() as visitor:
        visitor.sendall(REQUEST)
        visitor.settimeout(0.5)
        try:
            return visitor.recv(65536)
        except TimeoutError:
            return b""


def await_waiting(worker: WorkerProcess, count: int) -> None:
    """Until so many requests wait for the app."""
    while worker.hear_a(Counters).waiting != count:
        pass


def test_one_connection_too_many_is_answered_and_an_idle_one_makes_room(tmp_path: Path) -> None:
    with worker_process(tmp_path, front="max_connections = 2", listener=dual_stack()) as worker:
        with worker.connect() as first, worker.connect() as second:
            first.sendall(REQUEST)
            second.sendall(REQUEST)  # both wait for the app
            await_waiting(worker, 2)
            refused = ask(worker)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nConnection: close\r\n" in refused
            assert refused.endswith(b"too many connections\n")
        await_waiting(worker, 0)
        with worker.connect() as idle, worker.connect():
            wait_until(lambda: not ask(worker), "room")
            assert idle.recv(1) == b""
        log = (tmp_path / "portico.log").read_text()
        assert '"connection.refused"' in log
        assert '"max_connections"' in log
        assert '"127.0.0.1"' in log  # as a plain address, whatever socket it came by


def test_a_worker_may_open_as_many_files_as_the_machine_lets_it(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with worker_process(tmp_path, front="max_connections = 1000000") as worker:
            limits = Path(f"/proc/{worker.process.pid}/limits").read_text()
            (found,) = re.findall(r"^Max open files +(\d+) ", limits, re.MULTILINE)
            assert int(found) == min(hard, 1 << 20)
            if (int(found) - 64) // 4 < 1000000:
                assert '"front.few-descriptors"' in (tmp_path / "portico.log").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
