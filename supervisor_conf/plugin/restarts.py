"""The keeper and the workers are always there: started again at once, and slower and slower if they keep dying.

supervisord has two ways, and neither will do: with startsecs=0 a program that crashes at once is forked more than
a hundred times a second (the waker has taken the pause away), with startsecs=1 a healthy one is shown as STARTING
for a second, and the delays of BACKOFF cannot be set. So supervisord restarts nothing of ours; this does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from supervisor.states import ProcessStates, SupervisorStates

if TYPE_CHECKING:
    from supervisor_conf.plugin.spawn import ManagedProcess

EARLY: Final = 1.0
"""Who lives shorter than this has failed to start."""
DELAYS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the next try after the first, second, … early death in a row. The loop turns once a second."""
WORTH_A_LINE: Final = 3
"""So many early deaths in a row, and the person at the terminal is told."""


class Restarts:
    def __init__(self, options: Any, tell: Callable[[ManagedProcess], None]) -> None:
        """`tell`: called when somebody has failed to start WORTH_A_LINE times in a row."""
        self._options = options
        self._tell = tell
        self._failures: dict[ManagedProcess, int] = {}
        self._due: dict[ManagedProcess, float] = {}

    def ended(self, managed: ManagedProcess, lived: float, now: float) -> None:
        """`lived`: seconds; 0 for one that could not be forked."""
        failures = self._failures.get(managed, 0) + 1 if lived < EARLY else 0
        self._failures[managed] = failures
        self._due[managed] = now + DELAYS[min(max(failures, 1), len(DELAYS)) - 1]
        if failures == WORTH_A_LINE:
            self._tell(managed)

    def tick(self, now: float) -> None:
        if self._options.mood < SupervisorStates.RUNNING:
            self._due.clear()
        for managed in [one for one, due in self._due.items() if due <= now]:
            del self._due[managed]
            # STOPPED is what somebody wanted; anything else that is running has been started by somebody.
            if managed.restarts and managed.state in (ProcessStates.EXITED, ProcessStates.FATAL):
                managed.process.spawn()
            elif managed.restarts and managed.state == ProcessStates.BACKOFF:
                # A fork that failed: supervisord gives it up in the next turn.
                self._due[managed] = now

    def forget(self, managed: ManagedProcess) -> None:
        self._failures.pop(managed, None)
        self._due.pop(managed, None)
