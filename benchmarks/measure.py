"""The rounds: every front is started, then they take turns at every work, side by side in time."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import backend, echo, machine
from benchmarks.fronts import FRONTS
from benchmarks.fronts.front import Front, Site
from benchmarks.load import open_loop, upload, websocket, wrk
from benchmarks.load.idle import ask, idle_connections
from benchmarks.load.outcome import Outcome
from benchmarks.load.request import answer_of, get
from benchmarks.processes import NotStarted, Started, cpu_seconds_of, end_leftovers, resident_kib
from benchmarks.results import DIRECT, PORTICO, Idle, Latency, Run, Sample
from benchmarks.works import Load, Work
from tests.kit.client import free_port
from tests.kit.until import wait_until

LATENCY, IDLE = "latency", "idle"
LATENCY_PATH = "/api/cart?step=%d"
SHARE_OF_SATURATION = 1 / 3
GENERATOR_LIMIT = 3000.0
"""Requests a second at which the open loop is still punctual."""
IDLE_CONNECTIONS = 4900
"""Where 20,000 files may be open, Portico lets in 4,984: for more, it closes idle ones."""
ASKED_AGAIN = 100
SETTLE = 0.5
"""Seconds for memory to come to rest before and after idle connections."""

Trouble = (OSError, wrk.NoResult, subprocess.TimeoutExpired)
"""What a load may end with when a front breaks: it is written down, and the run goes on."""


@dataclass(frozen=True, slots=True)
class Options:
    """`only`: keys of works, "latency", "idle"; empty is everything. `fronts`: names; empty is all. `limit`: seconds
    after which no further round begins and no further load either."""

    seconds: int
    rounds: int
    limit: float
    only: frozenset[str] = frozenset()
    fronts: frozenset[str] = frozenset()

    def wants(self, key: str) -> bool:
        return not self.only or key in self.only


@dataclass(slots=True)
class _Notes:
    """What has been seen so far."""

    samples: list[Sample] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    idles: list[Idle] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def measure(options: Options, say: Callable[[str], None]) -> Run:
    """A whole run. Raises UnfitMachine, or NotStarted when not even the backend comes up."""
    if lacking := [name for name in machine.NEEDED if machine.program(name) is None]:
        raise machine.UnfitMachine(f"not installed, and nothing can be measured without: {' '.join(lacking)}")
    machine.raise_open_files()
    cores = machine.cores()
    os.sched_setaffinity(0, cores.rest)
    try:
        with ExitStack() as stack:
            site = stack.enter_context(site_for(cores))
            return _Run(options, say, site, stack).whole()
    finally:
        os.sched_setaffinity(0, cores.front | cores.rest)


@contextmanager
def site_for(cores: machine.Cores) -> Iterator[Site]:
    """A folder that every user can read, the echo server and the backend."""
    folder = Path(tempfile.mkdtemp(prefix="portico-bench-")).resolve()
    folder.chmod(0o755)
    site = Site(folder, free_port(), free_port(), cores)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.callback(_forget_uploads, folder)
        stack.callback(end_leftovers, folder)
        backend.write_files(folder)
        commands = {
            "echo": [sys.executable, echo.__file__, str(site.echo)],
            "backend": [sys.executable, backend.__file__, str(site.backend), str(folder), str(site.echo)],
        }
        for name, argv in commands.items():
            started = Started(argv, folder, folder / f"{name}.log")
            stack.callback(started.stop)
        wait_until(lambda: _answers(site.backend), "the backend's first answer")
        yield site


def _answers(port: int) -> bool:
    try:
        return answer_of(port, get(port, "/api/first")) == "200"
    except OSError:
        return False


def _forget_uploads(folder: Path) -> None:
    for path in backend.MEMORY.glob(f"{folder.name}-*"):
        shutil.rmtree(path)


class _Run:
    def __init__(self, options: Options, say: Callable[[str], None], site: Site, stack: ExitStack) -> None:
        self.options = options
        self.say = say
        self.site = site
        self.notes = _Notes()
        self.deadline = time.monotonic() + options.limit
        self.number = 1_000_000  # of the next request: no two of a run are alike
        self.fronts = self._start(stack)

    def whole(self) -> Run:
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        if self.options.wants(IDLE):  # first: memory that was used before would hide the growth
            for front in self._with_main_work():
                self._idle(front)
        done = 0
        while done < self.options.rounds and self._in_time():
            done += 1
            self._round(done)
        return Run(
            when=when,
            seconds=self.options.seconds,
            rounds=done,
            machine=machine.describe(),
            versions={front.name: front.what for front in self.fronts},
            left_out=self.notes.left_out,
            troubles=tuple(self.notes.troubles),
            samples=tuple(self.notes.samples),
            latencies=tuple(self.notes.latencies),
            idles=tuple(self.notes.idles),
        )

    # ------------------------------------------------------------------------------ fronts

    def _start(self, stack: ExitStack) -> list[Front]:
        started = []
        for kind in FRONTS:
            if self.options.fronts and kind.name not in self.options.fronts:
                continue
            front = kind(self.site)
            try:
                front.start()
            except NotStarted as why:
                self.notes.left_out[front.name] = str(why)
                self.say(f"left out: {front.name}: {why}")
                continue
            stack.callback(front.stop)
            self.say(f"started: {front.name} {front.what}, pid {' '.join(map(str, front.pids))}")
            started.append(front)
        return started

    def _with_main_work(self) -> list[Front]:
        """Less the variants that exist for one work alone."""
        return [front for front in self.fronts if len(front.works) > 1]

    # ------------------------------------------------------------------------------ loads

    def _round(self, number: int) -> None:
        for work in Work:
            if self.options.wants(work.key):
                for front in self.fronts:
                    if work in front.works and self._in_time():
                        self._sample(front, work, number)
        if self.options.wants(LATENCY) and self._in_time():
            self._latencies(number)

    def _sample(self, front: Front, work: Work, number: int) -> None:
        try:
            before = cpu_seconds_of(front.pids)
            outcome = self._load(front.port, work)
            cpu = cpu_seconds_of(front.pids) - before
        except Trouble as error:
            self._trouble(f"{front.name}, {work.key}, round {number}: {error}")
            return
        sample = Sample(
            front.name, work.key, number, outcome.operations, outcome.seconds, cpu, outcome.errors
        )
        self.notes.samples.append(sample)
        cost = f"{sample.cost:10.1f} us" if outcome.operations else "   nothing"
        self.say(
            f"{number} {work.key:<10} {front.name:<24}{cost} {sample.rate:10.1f}/s  {outcome.errors} errors"
        )

    def _load(self, port: int, work: Work) -> Outcome:
        plan, seconds, first = work.plan, self.options.seconds, self.number
        self.number += 1_000_000
        if plan.load is Load.WRK:
            return wrk.run(port, plan, seconds, self.site.folder, first)
        if plan.load is Load.UPLOAD:
            return upload.run(port, plan, seconds, first)
        return websocket.run(port, plan, seconds, first)

    def _latencies(self, number: int) -> None:
        own = {front.name: self._saturation(front) for front in self._with_main_work()}
        rate = own.get(PORTICO) or min(own.values(), default=GENERATOR_LIMIT)
        direct: tuple[str, int, tuple[int, ...]] = (DIRECT, self.site.backend, ())
        for name, port, pids in [direct, *((f.name, f.port, f.pids) for f in self._with_main_work())]:
            saturation = min(rate, own.get(name, rate))
            if self._in_time() and saturation:
                at = min(GENERATOR_LIMIT, saturation * SHARE_OF_SATURATION)
                self._latency(name, port, pids, at, number)

    def _saturation(self, front: Front) -> float:
        """Requests a second that it has reached, or reaches now."""
        rates = [
            sample.rate
            for sample in self.notes.samples
            if sample.front == front.name and sample.work == Work.GET.key
        ]
        if rates:
            return max(rates)
        try:
            outcome = self._load(front.port, Work.GET)
        except Trouble as error:
            self._trouble(f"{front.name}, saturation: {error}")
            return 0.0
        return outcome.operations / outcome.seconds

    def _latency(self, name: str, port: int, pids: tuple[int, ...], rate: float, number: int) -> None:
        self.number += 1_000_000
        try:
            before = cpu_seconds_of(pids)
            seen = open_loop.run(port, LATENCY_PATH, rate, self.options.seconds + 1.0, self.number)
            cpu = cpu_seconds_of(pids) - before
        except Trouble as error:
            self._trouble(f"{name}, latency, round {number}: {error}")
            return
        if not seen.seconds:
            self._trouble(
                f"{name}, latency, round {number}: no good answer at {rate:.0f} requests per second"
            )
            return
        p50, p99 = (open_loop.percentile(seen.seconds, share) * 1000 for share in (0.50, 0.99))
        cost = cpu / len(seen.seconds) * 1e6
        self.notes.latencies.append(Latency(name, number, rate, p50, p99, cost, seen.errors))
        self.say(
            f"{number} latency    {name:<24} p50 {p50:.3f} ms  p99 {p99:.3f} ms  {cost:.1f} us  at {rate:.0f}/s"
        )

    # ------------------------------------------------------------------------------ idle connections

    def _idle(self, front: Front) -> None:
        try:
            with idle_connections(front.port, ASKED_AGAIN, LATENCY_PATH):
                pass  # imports, pools and buffers that the first visitors cost are not the idle ones' fault
            time.sleep(SETTLE)
            before = resident_kib(front.pids)
            with idle_connections(front.port, IDLE_CONNECTIONS, LATENCY_PATH) as connections:
                time.sleep(SETTLE)
                growth = resident_kib(front.pids) - before
                again = connections[:: IDLE_CONNECTIONS // ASKED_AGAIN]
                alive = sum(_is_alive(connection, get(front.port, "/api/again")) for connection in again)
        except Trouble as error:
            self._trouble(f"{front.name}, idle: {error}")
            return
        each = growth / IDLE_CONNECTIONS
        self.notes.idles.append(Idle(front.name, IDLE_CONNECTIONS, each, len(again), alive))
        self.say(f"- idle       {front.name:<24} {each:.2f} KiB a connection, {alive} of {len(again)} alive")

    # ------------------------------------------------------------------------------ the rest

    def _in_time(self) -> bool:
        if time.monotonic() < self.deadline:
            return True
        late = f"the run's limit of {self.options.limit:g} s was reached: what is missing was not measured"
        if late not in self.notes.troubles:
            self._trouble(late)
        return False

    def _trouble(self, sentence: str) -> None:
        self.notes.troubles.append(sentence)
        self.say(sentence)


def _is_alive(connection: socket.socket, request: bytes) -> bool:
    try:
        ask(connection, request)
    except OSError:
        return False
    return True
