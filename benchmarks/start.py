"""How much later than the app itself Portico answers: at the first request of a cold app, and after a crash.

`python -m benchmarks.start [--runs N]` from the checkout, in an environment where Portico is installed. Loopback only.

Three things are timed, in turn, so that whatever else the machine does falls on all of them:

* **own start**: the app started by hand, with no front and no shim, until it has answered its first request;
* **cold**: the app is down and nobody waits; one request through the front until it is answered;
* **crash**: `kill -9` of the warm app, one request at once, until it is answered.

What a front adds is the difference to the own start. It contains supervisord's fork, the launcher, the shim's
import in the app, finding the listener, and forwarding.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from supervisor_conf.control.client import ControlClient
from supervisor_conf.control.messages import Order
from tests.kit import environments, procfs
from tests.kit.client import free_port, get
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end

RUNS = 25
QUIET = 0.3  # seconds between a crash and a cold request: everybody has heard of the crash by then
AIM = 25.0  # milliseconds over the own start

APP = """
import os
from wsgiref.simple_server import WSGIRequestHandler, make_server

class Silent(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

make_server("127.0.0.1", int(os.environ["PORT"]), application, handler_class=Silent).serve_forever()
"""


def own_start(folder: Path) -> float:
    """Seconds from the fork to the first answer of the app by itself."""
    port = free_port()
    environment = os.environ | {"PORT": str(port)}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-u", "plain.py"], cwd=folder / "apps", env=environment)
    try:
        while True:
            try:
                assert get(f"http://127.0.0.1:{port}", "/").status == 200
            except ConnectionRefusedError:
                time.sleep(0.0005)
                continue
            return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def cold(run: PorticoRun) -> float:
    """Seconds of the first request of an app that is down."""
    kill(run)
    time.sleep(QUIET)
    forgive(run)
    began = time.perf_counter()
    assert run.get("/").status == 200
    return time.perf_counter() - began


def crash(run: PorticoRun) -> float:
    """Seconds from `kill -9` to the answer of the next request."""
    pid = int(run.get("/").body)
    forgive(run)
    began = time.perf_counter()
    procfs.kill(pid)
    while True:
        answer = run.get("/")
        if answer.status == 200 and int(answer.body) != pid:
            return time.perf_counter() - began
        assert answer.status == 502, answer.status  # it was in flight when the app died


def forgive(run: PorticoRun) -> None:
    """Forget earlier crashes, so that what is timed is no pause after many of them."""
    with ControlClient(run.run_directory / "control.sock") as client:
        assert client.order(Order("reset", ("shop",)), lambda _: None).status == 0


def kill(run: PorticoRun) -> None:
    pid = int(run.get("/").body)
    procfs.kill(pid)
    wait_for_end(pid)


def measure(runs: int) -> dict[str, list[float]]:
    """Milliseconds of every run of every kind."""
    folder = environments.readable_folder()
    (folder / "apps").mkdir()
    (folder / "apps" / "plain.py").write_text(APP)
    seen: dict[str, list[float]] = {"own start": [], "cold": [], "crash": []}
    try:
        with PorticoRun(folder, front() + app(command=[sys.executable, "-u", "plain.py"])) as run:
            ways: dict[str, Callable[[], float]] = {
                "own start": lambda: own_start(folder),
                "cold": lambda: cold(run),
                "crash": lambda: crash(run),
            }
            run.get("/")
            for _ in range(runs):
                for name, way in ways.items():
                    seen[name].append(way() * 1000)
    finally:
        shutil.rmtree(folder)
    return seen


def show(seen: dict[str, list[float]]) -> None:
    own = statistics.median(seen["own start"])
    print(f"{'milliseconds':<14}{'median':>9}{'fastest':>9}{'slowest':>9}{'over own start (median)':>26}")
    for name, times in seen.items():
        middle = statistics.median(times)
        over = "" if name == "own start" else f"{middle - own:.1f}"
        print(f"{name:<14}{middle:>9.1f}{min(times):>9.1f}{max(times):>9.1f}{over:>26}")
    print(f"{len(seen['cold'])} runs each; aim: less than {AIM:g} ms over the own start at the median")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each kind (default {RUNS})")
    show(measure(parser.parse_args().runs))


if __name__ == "__main__":
    main()
