"""What is looked at while an app serves: its health, how long it has served, how large it has become, who uses it.

Brings events to the app's law; decides nothing but when to look.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

import gevent

from supervisor_conf.control.messages import Counters, Spawned
from supervisor_conf.keeper import processes
from supervisor_conf.keeper.asking import Asking, NoAnswer
from supervisor_conf.law import events
from supervisor_conf.law.commands import State
from supervisor_conf.law.lifecycle import Lifecycle
from supervisor_conf.law.rows import Row
from supervisor_conf.law.wear import Use, Wear
from supervisor_conf.settings import AppSettings

ROUND: Final = 1.0
"""Seconds between two looks at everything: what workers count comes as often."""

MEMORY_ROUND: Final = 5.0
"""Seconds between two looks at memory: that reads all of /proc."""

NOT_AGAIN: Final = 60.0
"""Seconds for which nothing is recycled by itself after a recycle has failed."""


class Care:
    """One app. `tell` brings an event to its law."""

    def __init__(
        self,
        settings: AppSettings,
        law: Lifecycle,
        generations: dict[int, Spawned],
        tell: Callable[[events.Event], None],
        log: Any,
    ) -> None:
        self.use = Use()
        self._settings = settings
        self._law = law
        self._generations = generations
        self._tell = tell
        self._log = log
        self._limits = dict(settings.recycle_after)
        self._wear: dict[int, Wear] = {}
        self._checks: dict[int, gevent.Greenlet[..., Any]] = {}
        self._memory_at = 0.0
        self._not_before = 0.0

    def change(self, settings: AppSettings) -> None:
        """Other settings from now on. What a generation has worn so far is counted anew but for its age."""
        self._settings = settings
        self._limits = dict(settings.recycle_after)
        self._wear.clear()
        for check in self._checks.values():
            check.kill(block=False)
        self._checks.clear()

    def counted(self, worker: int, counters: Counters) -> None:
        self.use.counted(worker, counters, time.monotonic())
        for served in counters.generations:
            if served.generation in self._wear:
                self._wear[served.generation].requests += served.answered
        self._look_for_silence()

    def recycle_failed(self) -> None:
        self._not_before = time.monotonic() + NOT_AGAIN

    def round(self) -> None:
        """Once a second; of an app that does not run it is nothing."""
        now = time.monotonic()
        ready = {row.generation: row for row in self._law.rows if row.state is State.READY}
        self._know(ready, now)
        if not ready:
            return
        if "memory" in self._limits and now >= self._memory_at:
            self._memory_at = now + MEMORY_ROUND
            self._weigh()
        self._look_for_wear(ready, now)
        since = max(row.ready_at or 0.0 for row in ready.values())
        if self.use.is_idle(self._settings.idle_stop, since, now):
            self._log.info("app.idle", seconds=self._settings.idle_stop)
            self._tell(events.Idle())

    def _know(self, ready: dict[int, Row], now: float) -> None:
        present = {row.generation for row in self._law.rows}
        self.use.generations_gone(present)
        for gone in set(self._wear) - present:
            del self._wear[gone]
            self._checks.pop(gone, None)
        for generation, row in ready.items():
            if generation not in self._wear:
                age = time.time() - self._generations[generation].at
                self._wear[generation] = Wear(self._limits, now - age, random.random())
            check = self._checks.get(generation)
            if self._settings.health and (check is None or check.dead):
                self._checks[generation] = gevent.spawn(
                    self._check_for_ever, self._generations[generation], row
                )

    def _weigh(self) -> None:
        everything = processes.snapshot()
        for generation, wear in self._wear.items():
            known = self._generations.get(generation)
            if known is not None:
                wear.memory = processes.resident(processes.relatives(known.pid, everything))

    def _look_for_wear(self, ready: dict[int, Row], now: float) -> None:
        if now < self._not_before:
            return
        for generation, row in ready.items():
            why = self._wear[generation].why(now)
            if why and not row.obsolete:
                self._log.info("app.worn", generation=generation, why=why)
                self._tell(events.Recycle(why, (generation,)))

    def _look_for_silence(self) -> None:
        limit = self._settings.health_failures
        for generation, times in list(self.use.silent.items()):
            count = len(times)
            if count >= limit and time.monotonic() >= self._not_before:
                self.use.silent[generation] = []
                waited = f"{self._settings.request_timeout:g} s"
                self._tell(
                    events.Unwell(generation, f"{count} requests in a row got no answer within {waited}.")
                )

    # ---------------------------------------------------------------------------------------------------
    # Health

    def _check_for_ever(self, generation: Spawned, row: Row) -> None:
        failures = 0
        while True:
            gevent.sleep(self._settings.health_interval)
            if row.state is not State.READY or not self._settings.health:
                return
            seen = self._ask(generation)
            if not seen:
                failures = 0
                self._tell(events.Well(generation.generation))
                continue
            failures += 1
            self._log.warning("app.unwell", generation=generation.generation, why=seen, in_a_row=failures)
            if failures >= self._settings.health_failures and time.monotonic() >= self._not_before:
                times = "once" if failures == 1 else f"{failures} times in a row"
                failures = 0
                self._tell(events.Unwell(generation.generation, f"The health check failed {times}: {seen}."))

    def _ask(self, generation: Spawned) -> str:
        """What is wrong; "" if it is well."""
        try:
            answer = Asking(self._settings, generation).get(
                self._settings.health, self._settings.health_interval
            )
        except NoAnswer as silence:
            return str(silence)
        return "" if answer.well else f"GET {self._settings.health} answered {answer.status}"
