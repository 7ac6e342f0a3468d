"""What every front has: a folder, a port, a command, the processes that count, a version."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks import machine
from benchmarks.load.request import answer_of, get
from benchmarks.processes import NotStarted, Started, pin
from benchmarks.works import Work
from tests.kit.client import free_port

START_LIMIT = 30.0
"""Seconds until a front must answer."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run takes place: `folder` is readable by every user; `backend` and `echo` are ports."""

    folder: Path
    backend: int
    echo: int
    cores: machine.Cores


class Front:
    """One front. `start` raises NotStarted with a sentence when it cannot be had on this machine."""

    name: ClassVar[str]
    needs: ClassVar[str] = ""  # name in machine.PROGRAMS, "" for what Python brings along
    works: ClassVar[frozenset[Work]] = frozenset(Work)

    def __init__(self, site: Site) -> None:
        self.site = site
        self.port = free_port()
        self.folder = site.folder / self.name.replace(" ", "-")
        self.pids: tuple[int, ...] = ()
        self.what = ""  # its version, asked once: a checkout may move on during a run
        self._started: Started | None = None

    # ------------------------------------------------------------------------------ what each front says of itself

    def argv(self) -> list[str]:
        """The command; it may write files into `folder` first."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def measured(self, started: Started) -> list[int]:
        """The processes whose CPU time and memory count."""
        return [started.pid]

    def version(self) -> str:
        raise NotImplementedError

    def first_answer(self) -> str:
        """The status of an ordinary request. Raises OSError."""
        return answer_of(self.port, get(self.port, "/api/first"))

    # ------------------------------------------------------------------------------ start and stop

    def program(self) -> str:
        found = machine.program(self.needs)
        if found is None:
            raise NotStarted(f"not installed: apt-get install {machine.PROGRAMS[self.needs][0]}")
        return found

    def start(self) -> None:
        """Start, wait for the first good answer, pin."""
        self.folder.mkdir(mode=0o755)
        self._started = Started(self.argv(), self.folder, self.folder / "output.log", self.environment())
        try:
            self._wait(self._started)
            self.pids = tuple(self.measured(self._started))
            if not self.pids:
                raise NotStarted("it answers, but its processes were not found")
        except NotStarted:
            self.stop()
            raise
        pin(self.pids, self.site.cores.front)
        self.what = self.version()

    def stop(self) -> None:
        if self._started is not None:
            self._started.stop()
            self._started = None

    def _wait(self, started: Started) -> None:
        deadline = time.monotonic() + START_LIMIT
        seen = "nothing listens"
        while time.monotonic() < deadline:
            if not started.running:
                raise NotStarted(f"it ended at once: {started.complaint()}")
            try:
                seen = self.first_answer()
                if seen == "200":
                    return
            except OSError as error:
                seen = str(error)
            time.sleep(0.05)
        raise NotStarted(f"no good answer in {START_LIMIT:g} s ({seen}): {started.complaint()}")


def said(*argv: str) -> str:
    """The first line that a command prints, on either output."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    return (done.stdout + done.stderr).strip().partition("\n")[0]
