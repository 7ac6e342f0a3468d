"""What an app's life costs: its start, a crash, being recycled under load, and standing beside hundreds of others.

`python -m benchmarks.lifecycle [--quick]` from the checkout, in an environment where Portico is installed with the
packages of its tests. Loopback only. Milliseconds are those of this machine at this moment, with whatever else it
does; CPU time per request hardly depends on that.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import statistics
import sys
import time
import timeit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, start
from benchmarks.processes import cpu_seconds, resident_kib
from proxy.handlers import Handlers
from supervisor_conf.settings import load_settings
from tests.kit import environments, procfs
from tests.kit.client import Visitor
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun

CLIENTS = 8
RECYCLES = 20
COUNTS = (1, 100, 500)
"""Apps that are defined; one of them is used, the last."""

APP = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # an answer is one segment: else each waits for a delayed acknowledgement

    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
COMMAND = [sys.executable, "-u", "kept.py"]


@contextmanager
def folder_with_app() -> Iterator[Path]:
    folder = environments.readable_folder()
    try:
        (folder / "apps").mkdir()
        (folder / "apps" / "kept.py").write_text(APP)
        yield folder
    finally:
        shutil.rmtree(folder)


# ------------------------------------------------------------------------------------------------------------
# Recycling


def show_recycling(recycles: int) -> None:
    with folder_with_app() as folder, PorticoRun(folder, front() + app(command=COMMAND)) as run:
        assert run.get("/").status == 200
        took = []
        with Load(run.url, "/", clients=CLIENTS) as load:
            load.wait_for_more(CLIENTS)
            began = time.perf_counter()
            for _ in range(recycles):
                one = time.perf_counter()
                done = run.app("recycle", "shop")
                assert done.status == 0, done.said
                took.append(time.perf_counter() - one)
            load.wait_for_more(CLIENTS)
            seconds = time.perf_counter() - began
        pids = {outcome.body for outcome in load.outcomes if outcome.status == 200}
    print(
        f"{recycles} recycles in a row under {CLIENTS} clients, {seconds:.1f} s: {load.answered} requests answered by "
        f"{len(pids)} processes, {len(load.failures)} failed; a recycle takes {statistics.median(took):.2f} s "
        "(supervisorctl included)"
    )
    if load.failures:
        print(f"  failed: {dict(load.tally)}")


# ------------------------------------------------------------------------------------------------------------
# Many apps


@dataclass(frozen=True, slots=True)
class Instance:
    """A running Portico with `count` apps, the last of them warm."""

    count: int
    run: PorticoRun
    until_url: float  # seconds

    @property
    def path(self) -> str:
        return f"/{name(self.count - 1)}/"

    def process_like(self, *words: str) -> int:
        """The one process below the run that has these words among its arguments."""
        (pid,) = [
            pid for pid in procfs.descendants(self.run.pid) if " ".join(words) in " ".join(procfs.argv(pid))
        ]
        return pid

    @property
    def worker(self) -> int:
        return self.process_like("-m", "proxy")


def name(number: int) -> str:
    return f"app{number:03}"


def configured(count: int) -> str:
    apps = (app(name(number), COMMAND, path=f"/{name(number)}") for number in range(count))
    return front(workers=1) + "".join(apps)


@contextmanager
def running(count: int) -> Iterator[Instance]:
    with folder_with_app() as folder:
        began = time.perf_counter()
        with PorticoRun(folder, configured(count)) as run:
            yield Instance(count, run, time.perf_counter() - began)


def cpu_per_request(instance: Instance, requests: int) -> float:
    """Microseconds of the worker, one request at a time on one connection."""
    with Visitor(instance.run.url) as visitor:
        assert visitor.get(instance.path).status == 200
        before = cpu_seconds(instance.worker)
        for _ in range(requests):
            assert visitor.get(instance.path).status == 200
        return (cpu_seconds(instance.worker) - before) / requests * 1e6


def choice(instance: Instance) -> float:
    """Microseconds of `Handlers.choose` alone."""
    handlers = Handlers(load_settings(instance.run.directory / "portico.toml", {}).apps)
    path, times = instance.path.encode(), 20_000
    rounds = timeit.repeat(lambda: handlers.choose(b"127.0.0.1", path, b"GET"), number=times, repeat=5)
    return min(rounds) / times * 1e6


def show_many(counts: tuple[int, ...], rounds: int, requests: int) -> None:
    columns = ("apps", "until URL", "supervisord", "keeper", "worker", "choice", "CPU per request")
    print("".join(f"{column:>17}" for column in columns))
    with ExitStack() as stack:
        instances = [stack.enter_context(running(count)) for count in counts]
        memory = {one.count: memory_of(one) for one in instances}  # before any app runs
        costs: dict[int, list[float]] = {one.count: [] for one in instances}
        for _ in range(rounds):
            for one in instances:
                costs[one.count].append(cpu_per_request(one, requests))
        for one in instances:
            cells = [str(one.count), f"{one.until_url:.2f} s"]
            cells += [f"{kib / 1024:.1f} MiB" for kib in memory[one.count]]
            cells += [f"{choice(one):.2f} µs", f"{statistics.median(costs[one.count]):.0f} µs"]
            print("".join(f"{cell:>17}" for cell in cells))
    print(
        f"memory: resident, no app running; CPU of the worker: median of {rounds} rounds of {requests} requests"
    )


def memory_of(one: Instance) -> list[float]:
    """KiB of supervisord, keeper and worker."""
    pids = (one.run.pid, one.process_like("-m", "supervisor_conf.keeper"), one.worker)
    return [resident_kib([pid]) for pid in pids]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a look: fewer runs, fewer apps")
    quick = parser.parse_args().quick
    about = machine.describe()
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"{today}, {about['cores']} cores, {about['processor']}, Python {about['python']}\n")
    start.show(start.measure(5 if quick else start.RUNS))
    print()
    show_recycling(5 if quick else RECYCLES)
    print()
    show_many(COUNTS[:2] if quick else COUNTS, 3 if quick else 7, 300 if quick else 1000)


if __name__ == "__main__":
    main()
