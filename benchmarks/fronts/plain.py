"""The obvious Python program, `gevent_h11.py`: what a front in Python costs when nothing is done about it."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from benchmarks.fronts.front import Front
from benchmarks.works import Work

PROGRAM = Path(__file__).resolve().parents[1] / "gevent_h11.py"


class Plain(Front):
    name = "gevent + h11"
    works = frozenset(Work) - {Work.WEBSOCKET}

    def argv(self) -> list[str]:
        return [sys.executable, str(PROGRAM), str(self.port), str(self.site.backend)]

    def version(self) -> str:
        return f"{metadata.version('gevent')} + {metadata.version('h11')}"
