"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): limits of failures, starts, stops and requests.

Each test bears the name of its row. The rows wait for limits of many seconds; here the limits are short, and what is
looked at is how it ended, never how long it took.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.ancm import pid_of, row
from tests.kit.configs import front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    config = front()
    config += "".join(row(f"rapid{limit}", rapid_fails_per_minute=limit) for limit in (5, 1, 0))
    slow = {"START_DELAY": "1"}
    config += row("patient", startup_time_limit=10, environment=slow, request_timeout=20)
    config += row("hasty", startup_time_limit=0.3, environment=slow)
    config += row("silent", request_timeout=0.5)
    with PorticoRun(module_folder, config) as started:
        yield started


@pytest.mark.parametrize("limit", [5, 1, 0])
def test_rapid_fails_per_minute_test(run: PorticoRun, limit: int) -> None:
    """The row allows the first refusal anywhere from the N-th kill to the third after it; here it is exact: N crashes
    are tolerated, the next one is too much."""
    name = f"rapid{limit}"
    seen = set()
    for count in range(limit + 1):
        pid = pid_of(run, f"/{name}/")
        procfs.kill(pid)
        seen.add(pid)
        wait_until(lambda count=count: len(run.events("app.crashed", app=name)) > count, "the crash")  # type: ignore[misc]
    assert len(seen) == limit + 1
    wait_until(lambda: run.get(f"/{name}/").status == 502, "the refusal")
    answers = [run.get(f"/{name}/") for _ in range(3)]
    assert [answer.status for answer in answers] == [502] * 3
    assert all(0 < int(answer.header("retry-after") or 0) <= 60 for answer in answers)
    (told,) = run.events("app.rapid-fail", app=name)
    assert (told["ancm"], told["rapid_fails_per_minute"]) == (1003, limit)
    assert len(run.events("app.spawned", app=name)) == limit + 1


@pytest.mark.parametrize(("name", "status"), [("patient", 200), ("hasty", 502)])
def test_startup_time_limit_test(run: PorticoRun, name: str, status: int) -> None:
    assert run.get(f"/{name}/").status == status
    failed = [told["ancm"] for told in run.events("app.start-failed", app=name)]
    assert failed == ([] if status == 200 else [1000, 1020])  # two attempts


@pytest.mark.parametrize(("name", "status"), [("patient", 200), ("silent", 504)])
def test_request_timeout_test(run: PorticoRun, name: str, status: int) -> None:
    """A 504 where ANCM says 502: the app is there, and silent."""
    assert run.get(f"/{name}/?sleep=1.5").status == status


SHUTDOWNS = {
    # name: limit, seconds that the app takes, shim
    "long": (20, 1, "auto"),
    "none": (0, 60, "auto"),
    "short": (1, 60, "auto"),
    "disabled": (20, 1, "off"),
}


def test_shutdown_time_limit_test(folder: Path) -> None:
    """Four rows: time enough; none at all; too little; and an app that does not know the shutdown message."""

    def config(colour: str) -> str:
        return front() + "".join(
            row(
                name,
                shutdown_time_limit=limit,
                shim=shim,
                environment={"STOP_DELAY": str(delay), "COLOUR": colour},
            )
            for name, (limit, delay, shim) in SHUTDOWNS.items()
        )

    with PorticoRun(folder, config("red")) as run:
        before = {name: pid_of(run, f"/{name}/") for name in SHUTDOWNS}
        guarded = {name: name != "disabled" for name in SHUTDOWNS}
        wait_until(
            lambda: {told["app"]: told["guarded"] for told in run.events("app.guard")} == guarded,
            "who knows the message",
        )
        run.reload(config("blue"))
        ended = {}
        for name, pid in before.items():
            wait_for_end(pid)
            (told,) = wait_until(lambda pid=pid: run.events("app.exited", pid=pid), "its exit")  # type: ignore[misc]
            ended[name] = told["status"]
            assert pid_of(run, f"/{name}/") != pid
        assert ended == {
            "long": "exit status 0",
            "none": "killed by SIGKILL",
            "short": "killed by SIGKILL",
            "disabled": "exit status 0",
        }
        messages = {told["app"]: told["accepted"] for told in run.events("app.shutdown-message", ancm=1006)}
        assert messages == {"long": True, "short": True}
        killed = {told["app"]: told["pid"] for told in run.events("app.killed", ancm=1005)}
        assert killed == {"none": before["none"], "short": before["short"]}


def test_v21_shutdown_time_limit_test(folder: Path) -> None:
    """The same by app_offline.htm: it goes by itself, within its limit."""
    with PorticoRun(folder, front() + row(path="/", environment={"STOP_DELAY": "1"})) as run:
        pid = pid_of(run, "/")
        wait_until(lambda: run.events("app.guard", guarded=True), "that it knows the message")
        (folder / "apps" / "app_offline.htm").write_text("back soon")
        wait_for_end(pid)
        assert run.get("/").status == 503
        (folder / "apps" / "app_offline.htm").unlink()
        wait_until(lambda: run.get("/").status == 200, "the app")
        assert pid_of(run, "/") != pid
        assert [told["accepted"] for told in run.events("app.shutdown-message")] == [True]
        assert run.events("app.exited", pid=pid)[0]["status"] == "exit status 0"
        assert not run.events("app.killed")
