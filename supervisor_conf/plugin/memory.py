"""What must outlive the keeper. At module level, because supervisord makes the plugin anew when it reloads."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from supervisor_conf.control import messages

KEPT_LIMIT: Final = 1024 * 1024
"""Characters that keepers may have kept, all together: at most 6 MiB of JSON."""


@dataclass(slots=True)
class PluginMemory:
    instance: str
    generations: dict[str, int] = field(default_factory=dict)  # app -> the newest
    ports: dict[str, int] = field(default_factory=dict)  # app -> port of the newest generation
    stopped: set[str] = field(default_factory=set)  # apps under an administrative stop
    refusals: dict[str, str] = field(default_factory=dict)  # app -> why `supervisorctl start` is refused
    kept: dict[str, str] = field(default_factory=dict)
    running: dict[int, messages.Spawned] = field(default_factory=dict)  # pid -> app process
    workers: dict[int, str] = field(default_factory=dict)  # pid -> process name
    outdated: dict[str, int] = field(default_factory=dict)  # app -> newest generation with older settings
    leaving: set[str] = field(default_factory=set)  # apps that are to stop for good

    def next_generation(self, app: str) -> int:
        """1, 2, 3, … of each app; never the same twice in the life of supervisord."""
        self.generations[app] = self.generations.get(app, 0) + 1
        return self.generations[app]

    def keep(self, key: str, text: str) -> bool:
        """False: refused, because everything kept has to fit into the first message to a keeper."""
        others = sum(len(kept) for name, kept in self.kept.items() if name != key)
        if others + len(text) > KEPT_LIMIT:
            return False
        if text:
            self.kept[key] = text
        else:
            self.kept.pop(key, None)
        return True

    def refuse(self, app: str, sentence: str) -> None:
        if sentence:
            self.refusals[app] = sentence
        else:
            self.refusals.pop(app, None)

    def outdate(self, app: str) -> None:
        """Its settings have changed: whatever was started so far is to be replaced."""
        if app in self.generations:
            self.outdated[app] = self.generations[app]

    def forget_app(self, app: str) -> None:
        """It has left. Its generations are counted on: a number never comes twice."""
        self.stopped.discard(app)
        self.leaving.discard(app)
        self.refusals.pop(app, None)
        self.ports.pop(app, None)
        self.outdated.pop(app, None)

    def message(self, ending: str) -> messages.Memory:
        """The first message to a keeper."""
        return messages.Memory(
            instance=self.instance,
            running=tuple(self.running.values()),
            stopped=tuple(sorted(self.stopped)),
            workers=tuple(
                messages.WorkerSpawned(process=name, pid=pid) for pid, name in self.workers.items()
            ),
            kept=tuple(sorted(self.kept.items())),
            ending=ending,
            outdated=tuple(sorted(self.outdated.items())),
            leaving=tuple(sorted(self.leaving)),
        )


_memory = PluginMemory(instance=secrets.token_hex(16))


def of_this_supervisord() -> PluginMemory:
    return _memory
