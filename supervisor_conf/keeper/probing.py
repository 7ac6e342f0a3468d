"""Looks at the processes of one app and asks them: whether they listen, are ours, are ready, are guarded, will stop.

Greenlets that end when their generation has moved on. What they see is told to the law, which decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import gevent

from supervisor_conf.control.messages import Spawned
from supervisor_conf.keeper import launching, probes, words
from supervisor_conf.keeper.asking import Asking, NoAnswer
from supervisor_conf.keeper.opening import NotASocket, open_to_workers
from supervisor_conf.keeper.probes import Verdict
from supervisor_conf.law import events
from supervisor_conf.law.commands import State
from supervisor_conf.law.journey import StartStep
from supervisor_conf.law.lifecycle import LawBroken, Lifecycle
from supervisor_conf.law.rows import Row
from supervisor_conf.settings import AppSettings

FIRST_LOOK: Final = 0.002
LONGEST_LOOK: Final = 0.05
LOOK_SHARE: Final = 0.04
"""Seconds between two looks at the listeners: this share of the time spent so far, from the first to the longest.
A start is then seen 2 % of its own length too late, on average, and 50 ms at most. A look costs 0.2 ms."""

ELSEWHERE_INTERVAL: Final = 2.0
"""Seconds between two looks at where else a slow starter listens: that reads all of /proc."""

SECOND_OPINION: Final = 0.1
"""Seconds after which a listener that seems to be foreign is looked at again: a server may just be forking."""

GUARD_PAUSE: Final = 0.05
"""Seconds between the route and the guard question: an app that answers one request at a time shall answer first who
has waited for its start."""

GUARD_LIMIT: Final = 30.0
"""Seconds for the guard question of an app that is served already; a busy one answers late."""


class Probing:
    def __init__(
        self,
        settings: AppSettings,
        law: Lifecycle,
        generations: dict[int, Spawned],
        tell: Callable[[events.Event], None],
        say: Callable[[str], None],
        log: Any,
    ) -> None:
        """`tell` brings an event to the law, `say` a line to the person at the terminal."""
        self._settings = settings
        self._law = law
        self._generations = generations
        self._tell = tell
        self._say = say
        self._log = log
        self._greenlets: dict[int, gevent.Greenlet[..., Any]] = {}  # one a generation

    def change(self, settings: AppSettings) -> None:
        """Other settings, for the questions from now on."""
        self._settings = settings

    @property
    def greenlets(self) -> list[gevent.Greenlet[..., Any]]:
        return list(self._greenlets.values())

    def stop(self) -> None:
        for greenlet in self.greenlets:
            greenlet.kill(block=False)

    def look_until_ready(self, generation: int) -> None:
        self._in_background(generation, self._probe)

    def end(self, generation: int) -> None:
        greenlet = self._greenlets.pop(generation, None)
        if greenlet is not None and greenlet is not gevent.getcurrent():
            greenlet.kill(block=False)

    def ask_guard(self, generation: int) -> None:
        """Of one that serves already."""
        self._in_background(generation, self._ask_guard)

    def send_shutdown(self, generation: int, limit: float) -> None:
        gevent.spawn(self._send_shutdown, self._generations[generation], limit)

    def look_elsewhere(self, generation: Spawned) -> None:
        """Where does it listen, if not where it was told to?"""
        row = self._law.row(generation.generation)
        found = probes.listens_elsewhere(generation)
        if row is not None and found and found != row.journey.elsewhere:
            line = words.elsewhere(found, row.journey.address)
            self._say(line)
        self._tell(events.Noticed(generation.generation, elsewhere=found))

    # ---------------------------------------------------------------------------------------------------

    def _in_background(self, generation: int, work: Callable[[Spawned, Row], None]) -> None:
        row = self._law.row(generation)
        if row is not None:
            self.end(generation)
            self._greenlets[generation] = gevent.spawn(self._work, work, self._generations[generation], row)

    def _work(self, work: Callable[[Spawned, Row], None], generation: Spawned, row: Row) -> None:
        try:
            work(generation, row)
        except Exception as error:
            # Without its probe a start would hang until its time limit; a new keeper looks again.
            raise LawBroken(f"{self._settings.name}: {error}") from error

    def _probe(self, generation: Spawned, row: Row) -> None:
        number = generation.generation
        began = time.monotonic()
        elsewhere_at = began + ELSEWHERE_INTERVAL / 2
        while row.state is State.STARTING:
            if (
                not row.was_ready
                and not row.journey.has(StartStep.EXEC)
                and launching.is_over(generation.pid)
            ):
                self._tell(events.Executed(number))
            finding = probes.look(generation)
            if finding.verdict is Verdict.FOREIGN:
                gevent.sleep(SECOND_OPINION)
                finding = probes.look(generation)
            match finding.verdict:
                case Verdict.OURS:
                    if self._serves(generation, row, finding.holder):
                        self._warm_up(generation, row)
                        self._tell(events.Answered(number, self._guard_if_required(generation, row)))
                        return
                case Verdict.FOREIGN:
                    self._tell(events.Listening(number))
                    self._tell(events.Foreign(number, finding.holder))
                    return
            if time.monotonic() >= elsewhere_at:
                elsewhere_at = time.monotonic() + ELSEWHERE_INTERVAL
                self.look_elsewhere(generation)
            gevent.sleep(min(max((time.monotonic() - began) * LOOK_SHARE, FIRST_LOOK), LONGEST_LOOK))

    def _serves(self, generation: Spawned, row: Row, holder: str) -> bool:
        """One of ours has the listening socket: whether workers may be sent there."""
        if generation.handed and row.guarded is None and not row.was_ready:
            # The socket listened before the app did: only an answer shows that somebody accepts.
            guarded = self._answer(generation, row)
            if guarded is None:
                return False
            self._tell(events.GuardSeen(row.generation, guarded))
        self._tell(events.Listening(row.generation))
        self._tell(events.Ours(row.generation, holder))
        return self._is_open(generation) and self._is_ready(generation, row)

    def _answer(self, generation: Spawned, row: Row) -> bool | None:
        """To the guard question; None if there was none."""
        if not row.journey.noticed:
            self._tell(events.Noticed(row.generation, note="nobody answers there"))
        try:
            return Asking(self._settings, generation).is_guarded(self._patience)
        except NoAnswer as silence:
            self._tell(events.Noticed(row.generation, note=str(silence)))
            return None

    def _is_open(self, generation: Spawned) -> bool:
        """Makes it so. A socket that has gone again is looked for again."""
        if not generation.socket:
            return True
        try:
            open_to_workers(generation.socket)
        except NotASocket as problem:
            self._tell(events.Noticed(generation.generation, note=str(problem)))
            return False
        except OSError as error:
            self._tell(events.Noticed(generation.generation, note=f"{generation.socket}: {error.strerror}"))
            return False
        return True

    def _is_ready(self, generation: Spawned, row: Row) -> bool:
        if self._settings.ready == "listen" or row.was_ready:
            return True
        question = f"GET {self._settings.ready}"
        if not row.journey.noticed:
            self._tell(events.Noticed(row.generation, note=f"{question} was not answered"))
        try:
            answer = Asking(self._settings, generation).is_ready(self._patience)
        except NoAnswer as silence:
            self._tell(events.Noticed(row.generation, note=str(silence)))
            return False
        self._tell(events.Noticed(row.generation, note=f"{question} answered {answer.status}"))
        return answer.well

    def _warm_up(self, generation: Spawned, row: Row) -> None:
        """Each path once, whatever it answers: the start's time limit ends one that never does."""
        for path in () if row.was_ready else self._settings.warm_up:
            self._tell(events.Noticed(row.generation, note=f"warming up: GET {path} was not answered"))
            try:
                status: int | str = Asking(self._settings, generation).get(path, self._patience).status
            except NoAnswer as silence:
                status = str(silence)
            self._log.info("app.warm-up", generation=generation.generation, path=path, status=status)

    def _guard_if_required(self, generation: Spawned, row: Row) -> bool | None:
        if not self._settings.require_pairing or row.guarded is not None:
            return row.guarded
        return self._guarded(generation, self._patience)

    @property
    def _patience(self) -> float:
        # The start's own time limit ends the greenlet that asks.
        return max(self._settings.startup_time_limit, 1.0)

    def _ask_guard(self, generation: Spawned, row: Row) -> None:
        gevent.sleep(GUARD_PAUSE)
        self._tell(events.GuardSeen(row.generation, self._guarded(generation, GUARD_LIMIT)))

    def _guarded(self, generation: Spawned, limit: float) -> bool:
        try:
            guarded = Asking(self._settings, generation).is_guarded(limit)
        except NoAnswer as silence:
            self._log.info("app.guard-unknown", generation=generation.generation, why=str(silence))
            return False
        self._log.info("app.guard", generation=generation.generation, guarded=guarded)
        return guarded

    def _send_shutdown(self, generation: Spawned, limit: float) -> None:
        try:
            accepted = Asking(self._settings, generation).shut_down(limit)
            self._log.info("app.shutdown-message", generation=generation.generation, accepted=accepted)
        except NoAnswer as silence:
            accepted = False
            self._log.info("app.shutdown-message", generation=generation.generation, why=str(silence))
        self._tell(events.ShutdownAnswered(generation.generation, accepted))
