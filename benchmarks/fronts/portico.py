"""Portico as a user runs it: `portico run`, every setting at its default but the address and one worker.

So token, limits, deadlines, counters and access log are what they are by default. The app is the backend's own
program, started by Portico on the port it chose (`shim = "off"`: nginx is no Python app).
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from benchmarks import backend
from benchmarks.fronts.front import Front, said
from benchmarks.processes import NotStarted, Started
from benchmarks.works import Work

CONFIGURATION = """
[front]
listen = ["http://127.0.0.1:{port}"]
workers = 1
{more}

[apps.bench]
command = {command}
shim = "off"
"""


class Portico(Front):
    name = "Portico"
    more: ClassVar[str] = ""

    def argv(self) -> list[str]:
        portico = Path(sys.executable).parent / "portico"
        if not portico.exists():
            raise NotStarted(f"not installed beside {sys.executable}: pip install -e .")
        command = [sys.executable, backend.__file__, "{port}", str(self.site.folder), str(self.site.echo)]
        text = CONFIGURATION.format(port=self.port, more=self.more, command=json.dumps(command))
        (self.folder / "portico.toml").write_text(text)
        return [str(portico), "run"]

    def measured(self, started: Started) -> list[int]:
        """The worker; the keeper and supervisord do nothing for a request to a warm app."""
        return started.descendants_like("-m", "proxy")

    def version(self) -> str:
        checkout = Path(__file__).resolve().parents[2]
        commit = said("git", "-C", str(checkout), "describe", "--always", "--dirty")
        return f"{metadata.version('portico')} ({commit})"


class PorticoWithoutLog(Portico):
    """What the access log costs."""

    name = "Portico, no access log"
    more = 'access_log = ""'
    works = frozenset({Work.GET})
