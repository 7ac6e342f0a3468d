"""`app requests`: what is in flight or waits right now, told by the workers themselves."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until


def asked(run: PorticoRun, target: str) -> threading.Thread:
    visitor = threading.Thread(target=lambda: run.get(target), daemon=True)
    visitor.start()
    return visitor


def lines(run: PorticoRun, *name: str) -> list[dict[str, object]]:
    answer = run.app("requests", *name, "--json")
    assert answer.status == 0, answer.err
    found: list[dict[str, object]] = json.loads(answer.out)["requests"]
    return found


def test_what_is_in_flight_and_what_waits(folder: Path) -> None:
    slow = "import time; time.sleep(60)"
    config = front() + app() + app("slow", ["/usr/bin/python3", "-c", slow], path="/slow")
    with PorticoRun(folder, config) as run:
        pid = run.get("/facts").json()["pid"]
        assert run.app("requests").out.strip() == "no requests"
        asked(run, "/sleep?s=20&password=secret")
        asked(run, "/slow/here?password=secret")
        wait_until(lambda: len(lines(run)) == 2, "two requests")
        found = {line["app"]: line for line in lines(run)}
        shop, waiting = found["shop"], found["slow"]
        assert (shop["phase"], shop["pid"], shop["method"], shop["target"]) == ("wait", pid, "GET", "/sleep")
        assert (waiting["phase"], waiting["pid"], waiting["target"]) == ("queue", 0, "/slow/here")
        assert shop["client"] == "127.0.0.1"
        assert float(str(shop["age"])) > 0
        assert [line["app"] for line in lines(run, "slow")] == ["slow"]
        table = run.app("requests").out
        assert "GET /sleep" in table
        assert "secret" not in table
        assert run.app("requests", "nobody").status == 1


def test_more_than_a_frame_holds(folder: Path) -> None:
    slow = "import time; time.sleep(60)"
    with PorticoRun(folder, front(workers=1) + app(command=["/usr/bin/python3", "-c", slow])) as run:
        for number in range(120):
            asked(run, f"/{number}/" + "x" * 2000)
        wait_until(lambda: len(lines(run)) == 120, "every request")
        targets = [str(line["target"]) for line in lines(run)]
        assert {int(target.split("/")[1]) for target in targets} == set(range(120))
        assert max(map(len, targets)) < 400


def test_a_worker_that_does_not_answer_is_named_and_not_waited_for(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        name, pid = sorted(run.workers().items())[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            answer = run.app("requests", "--json")
            assert json.loads(answer.out)["silent"] == [name]
            assert f"{name} did not answer" in run.app("requests").out
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: "did not answer" not in run.app("requests").out, "its answer")
