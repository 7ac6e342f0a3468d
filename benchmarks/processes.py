"""Processes that a run starts: pinned, accounted for in nanoseconds, ended by pid."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.kit import procfs

STOP_LIMIT = 15.0
"""Seconds from SIGTERM to SIGKILL."""

_ERROR = re.compile(r"error|fatal|unable|cannot|\[emerg\]|\[alert\]", re.IGNORECASE)


class NotStarted(Exception):
    """A process did not come up; the message is one line."""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all threads, those that have ended included.

    The clock of another process (clock_getcpuclockid(3)) counts nanoseconds where utime and stime of
    /proc/PID/stat count hundredths of a second. Raises OSError when there is no such process.
    """
    return time.clock_gettime_ns(_cpu_clock(pid)) / 1e9


def _cpu_clock(pid: int) -> int:
    """What clock_getcpuclockid(3) gives: the pid's complement above CPUCLOCK_SCHED (2)."""
    return (~pid << 3) | 2


def cpu_seconds_of(pids: Iterable[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)


def resident_kib(pids: Iterable[int]) -> float:
    """Resident memory of processes, KiB; shared pages count once for each."""
    return sum(parse_rss(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids)


def parse_rss(smaps_rollup: str) -> float:
    """`Rss` of /proc/PID/smaps_rollup (proc(5)), KiB. Raises ValueError when it does not say."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Rss:"):
            return float(line.split()[1])
    raise ValueError("no Rss in smaps_rollup")


def pin(pids: Iterable[int], cores: frozenset[int]) -> None:
    """Keep every thread of these processes, and what they start from now on, on `cores`."""
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                os.sched_setaffinity(int(task), cores)
            except ProcessLookupError:
                continue  # the thread has just ended


class Started:
    """One command and what it starts, output in a file."""

    def __init__(
        self, argv: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                cwd=folder,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def complaint(self) -> str:
        """The first line of its output that speaks of an error, else the last line."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return next((line for line in lines if _ERROR.search(line)), lines[-1])[:400]

    def descendants_like(self, *words: str) -> list[int]:
        """Pids below the command whose arguments contain these words, in order and next to each other."""
        wanted = " ".join(words)
        return sorted(pid for pid in procfs.descendants(self.pid) if wanted in " ".join(procfs.argv(pid)))

    def stop(self) -> None:
        """SIGTERM; what is left after `STOP_LIMIT` seconds is killed, pid by pid."""
        below = procfs.descendants(self.pid)
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in below:
            if procfs.alive(pid):
                _kill(pid)


def end_leftovers(folder: Path) -> None:
    """Kill what still names a run's own folder in its arguments: an app whose front has gone without it."""
    for process in procfs.processes():
        if str(folder) in process.command and process.pid != os.getpid():
            _kill(process.pid)


def _kill(pid: int) -> None:
    try:
        procfs.kill(pid)
    except ProcessLookupError:
        pass  # it has just ended by itself
