"""What generations of an app leave behind: the plugin keeps from their start on how to recognise it, so that it is
killed also when there was no keeper at their end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from supervisor_conf.control.messages import Keep, Spawned
from supervisor_conf.keeper import processes
from supervisor_conf.keeper.dissolving import Dissolving

_PREFIX: Final = "remains of "


class Remains:
    """Of one app."""

    def __init__(
        self, app: str, dissolving: Dissolving, tell_plugin: Callable[[object], None], log: Any
    ) -> None:
        self._app = app
        self._dissolving = dissolving
        self._tell_plugin = tell_plugin
        self._log = log

    def expect(self, generation: Spawned) -> None:
        text = f"{generation.pid} {generation.nonce} {generation.cgroup}"
        self._tell_plugin(Keep(self._key(generation.generation), text))

    def sweep(self, generation: Spawned) -> None:
        """It has ended."""
        if killed := self._kill(generation.pid, generation.nonce, generation.cgroup):
            self._log.info("app.swept", generation=generation.generation, killed=killed)
        self._tell_plugin(Keep(self._key(generation.generation), ""))

    def sweep_kept(self, kept: dict[str, str], known: Collection[int]) -> None:
        """Of generations that ended while there was no keeper: `kept` is what the last one had kept, `known` those that
        run."""
        for key, text in kept.items():
            app, _, number = key.removeprefix(_PREFIX).rpartition(" ")
            if key.startswith(_PREFIX) and app == self._app and int(number) not in known:
                pid, nonce, cgroup = text.split(" ", 2)
                self._log.info(
                    "app.swept", generation=int(number), killed=self._kill(int(pid), nonce, cgroup)
                )
                self._tell_plugin(Keep(key, ""))

    def _kill(self, pid: int, nonce: str, cgroup: str) -> int:
        killed = processes.sweep(pid, nonce, cgroup)
        self._dissolving.add(cgroup)
        return killed

    def _key(self, generation: int) -> str:
        return f"{_PREFIX}{self._app} {generation}"
