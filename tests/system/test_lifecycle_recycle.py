"""Recycling: the new process first, no request fails; and what is done when there may be one only, or none comes."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from websockets.frames import Opcode

from tests.kit import procfs
from tests.kit.client import Visitor, get
from tests.kit.configs import app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.supervisor_status import Seat
from tests.kit.until import wait_for_end, wait_until
from tests.kit.websocket import WebSocketVisitor

LIFE = "python life.py"
RECYCLES = 4


def pid_of_an_answer(run: PorticoRun) -> int:
    return int(run.get("/").json()["pid"])


def names(run: PorticoRun) -> dict[str, str]:
    """Process names and states, as plain supervisorctl shows them."""
    return {name: seat.state for name, seat in run.status().items() if name.startswith("shop")}


def order_to_recycle(run: PorticoRun) -> subprocess.Popen[bytes]:
    """`app recycle`, for which nobody waits yet."""
    return subprocess.Popen(
        [str(run.person.bin / "portico"), "ctl", "app", "recycle", "shop"],
        cwd=run.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_recycling_under_load_fails_no_request(folder: Path, processes: int) -> None:
    config = front() + app(command=LIFE, processes=processes)
    with PorticoRun(folder, config) as run:
        seen = {pid_of_an_answer(run)}
        with Load(run.url, "/", clients=6) as load:
            for _ in range(RECYCLES):
                done = run.app("recycle", "shop")
                assert done.status == 0, done.said
                load.wait_for_more(20)
                seen.add(pid_of_an_answer(run))
        assert not load.failures, load.tally
        assert len(seen) >= RECYCLES
        wanted = {"shop"} if processes == 1 else {"shop:0", "shop:1"}
        wait_until(lambda: set(names(run)) == wanted, "the end of the old ones")
        assert set(names(run).values()) == {"RUNNING"}


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_recycling_under_wrk_fails_no_request(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        run.get("/")
        # Ended by the signal below: how long a recycle takes is for the machine to say.
        argv = ["wrk", "-t", "1", "-c", "8", "-d", "120s", "--timeout", "60s", run.url]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as wrk:
            for _ in range(RECYCLES):
                assert run.app("recycle", "shop").status == 0
            assert wrk.poll() is None
            wrk.send_signal(signal.SIGINT)
            said = wrk.communicate(timeout=60)[0]
        assert int(re.findall(r"(\d+) requests in", said)[0]) > 100
        assert "Socket errors" not in said, said
        assert "Non-2xx" not in said, said


def test_status_stays_honest_while_one_follows_the_other(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        old = pid_of_an_answer(run)
        (folder / "apps" / "slow").write_text("1.5")
        with Visitor(run.url) as held, Load(run.url, "/", clients=2) as load:
            held.send("GET", "/sleep?s=60")  # until it is closed
            run.wait_for_sleepers()
            order = order_to_recycle(run)
            both = wait_until(
                lambda: (seen := run.status()) and "shop:shop-new" in seen and seen, "the new one"
            )
            assert both["shop"] == Seat("RUNNING", old)
            assert order.wait(30) == 0
            both = run.status()
            new = both["shop"].pid
            assert new not in (0, old)
            assert f"shop:shop-draining-{old}" in both
            assert "No config updates" in run.supervisorctl("reread").out
        assert not load.failures, load.tally
        wait_for_end(old)
        wait_until(lambda: set(names(run)) == {"shop"}, "the end of the old one")
        assert pid_of_an_answer(run) == new


def test_a_stop_while_one_follows_the_other_stops_both(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        old = pid_of_an_answer(run)
        (folder / "apps" / "slow").write_text("30")
        order = order_to_recycle(run)
        wait_until(lambda: "shop:shop-new" in names(run), "the new one")
        assert run.supervisorctl("stop", "shop").status == 0
        wait_until(lambda: names(run) == {"shop": "STOPPED"}, "both are gone")
        assert order.wait(30) == 1
        wait_for_end(old)
        assert run.get("/").status == 503
        (folder / "apps" / "slow").unlink()
        assert run.supervisorctl("start", "shop").status == 0
        assert run.get("/").status == 200


def test_when_the_new_one_does_not_come_the_old_one_stays(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        old = pid_of_an_answer(run)
        (folder / "apps" / "broken").touch()
        with Load(run.url, "/", clients=2) as load:
            done = run.app("recycle", "shop")
            load.wait_for_more(10)
        assert done.status == 1
        assert "broken by a file" in done.said
        assert not load.failures, load.tally
        assert pid_of_an_answer(run) == old
        assert "broken by a file" in run.app("why", "shop").out
        assert names(run) == {"shop": "RUNNING"}


def test_without_overlap_requests_wait_and_two_never_run_together(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE, overlap=False)) as run:
        old = pid_of_an_answer(run)
        (folder / "apps" / "slow").write_text("0.3")
        with Load(run.url, "/", clients=4) as load:
            done = run.app("recycle", "shop")
            load.wait_for_more(10)
        assert done.status == 0, done.said
        assert not load.failures, load.tally
        assert not procfs.alive(old)
        assert pid_of_an_answer(run) != old
        moves = [one["event"] for one in run.events() if one["event"] in ("app.spawned", "app.exited")]
        assert moves[:3] == ["app.spawned", "app.exited", "app.spawned"]


def test_a_recycle_goes_on_when_the_keeper_dies_in_the_middle(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        old, keeper = pid_of_an_answer(run), run.keeper()
        (folder / "apps" / "slow").write_text("1")
        with Load(run.url, "/", clients=4) as load:
            order = order_to_recycle(run)
            wait_until(lambda: run.events("app.spawned", generation=2), "the new one")
            procfs.kill(keeper)
            order.wait(30)
            wait_for_end(old)
            load.wait_for_more(20)
        assert not load.failures, load.tally
        wait_until(lambda: set(names(run)) == {"shop"}, "one name")
        assert pid_of_an_answer(run) != old


def test_an_open_websocket_is_kept_until_the_drain_limit(folder: Path) -> None:
    config = front(drain_limit=1) + app(command="uvicorn --log-level warning probe:asgi")
    with PorticoRun(folder, config) as run:
        old = run.get("/facts").json()["pid"]
        with WebSocketVisitor(run.url, "/") as visitor:
            assert run.app("recycle", "shop").status == 0
            assert run.get("/facts").json()["pid"] != old
            assert procfs.alive(old)  # for the sake of this one
            wait_for_end(old)
            assert visitor.frame().opcode is Opcode.CLOSE  # the app's own farewell


def test_so_many_requests_and_it_is_replaced(folder: Path) -> None:
    config = front() + app(command=LIFE, recycle_after={"requests": 50})
    with PorticoRun(folder, config) as run:
        old = pid_of_an_answer(run)
        with Load(run.url, "/", clients=4) as load:
            wait_until(lambda: run.pid_of("shop") not in (0, old), "another process")
        assert not load.failures, load.tally


def test_so_much_memory_or_age_and_it_is_replaced(folder: Path) -> None:
    config = front()
    config += app("fat", command=LIFE, path="/fat", recycle_after={"memory": "100MiB"})
    config += app("old", command=LIFE, path="/old", recycle_after={"age": 2})
    with PorticoRun(folder, config) as run:
        fat, old = (int(get(run.url, f"/{name}/").json()["pid"]) for name in ("fat", "old"))
        get(run.url, "/fat/eat?mib=120")
        wait_until(lambda: get(run.url, "/old/").json()["pid"] != old, "another process")
        wait_until(lambda: get(run.url, "/fat/").json()["pid"] != fat, "a slimmer process")
