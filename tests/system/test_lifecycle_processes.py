"""Several processes of one app: started together, used evenly, independent of each other."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

from tests.kit import procfs
from tests.kit.client import Visitor, get
from tests.kit.configs import app, front
from tests.kit.load import Load, all_at_once
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until

LIFE = "python life.py"


def ready(run: PorticoRun) -> dict[int, dict[str, object]]:
    """By pid, what `app status` says of the ready processes."""
    rows = json.loads(run.app("status", "shop", "--json").out)["apps"]
    return {row["pid"]: row for row in rows if row["state"] == "READY"}


def all_ready(run: PorticoRun, count: int) -> set[int]:
    return set(wait_until(lambda: found if len(found := ready(run)) == count else {}, f"{count} processes"))


def log_of_process(folder: Path, pid: int) -> str:
    return "".join(path.read_text() for path in (folder / "logs" / "shop").glob(f"*_{pid}.log"))


def test_all_are_started_at_once_and_all_are_used(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE, processes=3)) as run:
        run.get("/")
        pids = all_ready(run, 3)
        answers = all_at_once([lambda: get(run.url, "/sleep?s=0.5")] * 12)
        used = Counter(answer.json()["pid"] for answer in answers)  # type: ignore[union-attr]
        assert set(used) == pids
        assert max(used.values()) <= 6, used  # each worker gives to its least busy


def test_one_that_crashes_does_not_touch_the_others_and_is_started_again(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE, processes=2)) as run:
        run.get("/")
        pids = all_ready(run, 2)
        with Visitor(run.url) as visitor:
            busy = threading.Thread(target=lambda: answers.append(visitor.get("/sleep?s=2").json()["pid"]))
            answers: list[int] = []
            busy.start()
            run.wait_for_sleepers()
            (other,) = (pid for pid in pids if "a request sleeps" in log_of_process(folder, pid))
            (killed,) = pids - {other}
            with Load(run.url, "/", clients=4) as load:
                load.wait_for_more(20)
                procfs.kill(killed)
                wait_for_end(killed)
                load.wait_for_more(50)
            busy.join()
        assert answers == [other]
        assert set(load.tally) <= {"200", "502"}
        assert load.tally["502"] <= 4
        assert other in all_ready(run, 2)
        assert killed not in ready(run)


def test_one_that_is_not_well_gets_no_new_requests(folder: Path) -> None:
    """Its successor does not come up, so it stays, marked; the other one does the work."""
    health = {"health": "/health", "health_interval": 1, "health_failures": 1}
    config = front() + app(command=LIFE, processes=2, **health)
    with PorticoRun(folder, config) as run:
        run.get("/")
        sick, well = sorted(all_ready(run, 2))
        (folder / "apps" / "broken").touch()
        (folder / "apps" / "sick").write_text(str(sick))
        wait_until(lambda: ready(run)[sick]["healthy"] is False, "the mark")
        assert {run.get("/").json()["pid"] for _ in range(10)} == {well}
        assert procfs.alive(sick)
