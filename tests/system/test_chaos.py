"""Everything that can die does, at random, under load: worker, keeper, app; it goes offline, is recycled, stopped
and started.

Every answer is 200, 502 (in flight at a crash) or 503 (offline, stopped, the keeper away), and no more connections
break than were in flight at a kill. CHAOS_SECONDS asks for more than the 30 seconds of every run; CHAOS_SEED repeats
one that failed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until

SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
SEED = os.environ.get("CHAOS_SEED") or str(random.randrange(10**9))
VISITORS = 6
LEAST_PAUSE, LONGEST_PAUSE = 0.05, 0.8
#: Descriptors and memory that a worker may have more than before, once everything is quiet again.
SPARE_DESCRIPTORS = 8


class Chaos:
    """What is done to one run; `done` counts it."""

    def __init__(self, run: PorticoRun, folder: Path, chance: random.Random) -> None:
        self.run = run
        self.chance = chance
        self.done: Counter[str] = Counter()
        self.offline = folder / "apps" / "app_offline.htm"

    def step(self) -> None:
        """Do one thing, chosen by chance."""
        deeds: list[Callable[[], object]] = [
            self.kill_app,
            self.kill_worker,
            self.kill_keeper,
            self.go_offline,
            self.come_back,
            self.recycle,
            self.stop_and_start,
        ]
        deed = self.chance.choice(deeds)
        self.done[deed.__name__] += 1
        deed()

    def kill_app(self) -> None:
        if shop := self.run.status().get("shop"):
            self._kill(shop.pid)

    def kill_worker(self) -> None:
        self._kill(self.chance.choice(sorted(self.run.workers().values())))

    def kill_keeper(self) -> None:
        self._kill(self.run.keeper())

    def go_offline(self) -> None:
        self.offline.write_text("<p>back soon")

    def come_back(self) -> None:
        self.offline.unlink(missing_ok=True)

    def recycle(self) -> None:
        self.run.app("recycle", "shop")

    def stop_and_start(self) -> None:
        self.run.app("stop", "shop")
        self.run.app("start", "shop")

    @staticmethod
    def _kill(pid: int) -> None:
        if pid > 1:  # supervisord says 0 of what does not run
            try:
                procfs.kill(pid)
            except ProcessLookupError:
                pass  # it went by itself


@pytest.mark.timeout(SECONDS + 150)
def test_chaos(folder: Path) -> None:
    print(f"CHAOS_SEED={SEED}")
    config = front() + app(command="python one_piece.py", rapid_fails_per_minute=100, shutdown_time_limit=2)
    with PorticoRun(folder, config) as run:
        run.get("/")
        chaos = Chaos(run, folder, random.Random(SEED))
        end = time.monotonic() + SECONDS
        with Load(run.url, "/", clients=VISITORS) as load:
            while time.monotonic() < end:
                chaos.step()
                time.sleep(chaos.chance.uniform(LEAST_PAUSE, LONGEST_PAUSE))
            chaos.come_back()
            wait_until(lambda: run.app("start", "shop").status == 0, "the end of it all")
            load.wait_for_more(50)
        told = f"seed {SEED}, {dict(chaos.done)}: {dict(load.tally)}"
        broken = sum(1 for outcome in load.outcomes if outcome.error)
        kills = chaos.done["kill_worker"] + chaos.done["kill_app"]
        assert {outcome.status for outcome in load.outcomes} <= {0, 200, 502, 503}, told
        assert broken <= VISITORS * kills, told
        assert load.tally["502"] <= VISITORS * (kills + chaos.done["stop_and_start"]), told
        assert len(run.workers()) == 2, told
        quiet = [procfs.descriptors(pid) for pid in run.workers().values()]
        wait_until(
            lambda: all(
                procfs.descriptors(pid) <= min(quiet) + SPARE_DESCRIPTORS for pid in run.workers().values()
            ),
            "descriptors as of a quiet worker",
        )
