"""Cgroups of generations that are over: removed as soon as nobody is in them."""

from __future__ import annotations

from typing import Final

import gevent

from supervisor_conf import cgroups

_PAUSE: Final = 0.02
"""Seconds between two tries: who was killed is in it until it has ended."""


class Dissolving:
    def __init__(self) -> None:
        self._left: set[str] = set()

    def add(self, cgroup: str) -> None:
        """All who were in it have been killed."""
        if cgroup and not cgroups.remove(cgroup):
            self._left.add(cgroup)
            gevent.spawn(self._remove, cgroup)

    def finish(self) -> None:
        """The keeper ends: now, or by the next run."""
        for cgroup in self._left:
            cgroups.clear(cgroup)

    def _remove(self, cgroup: str) -> None:
        while cgroup in self._left:
            gevent.sleep(_PAUSE)
            cgroups.kill(cgroup)
            if cgroups.remove(cgroup):
                self._left.discard(cgroup)
