"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): processes that are started, killed, recycled, several, many.

Each test bears the name of its row. MultipleAppTests.Startup and StartupStress are
`test_first_request.py: test_ten_cold_apps…`, `test_three_hundred_visitors…`; V21_StressTest is `test_chaos.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.kit import procfs
from tests.kit.ancm import pid_of, row, told
from tests.kit.client import Response, Visitor
from tests.kit.configs import front
from tests.kit.load import Load, all_at_once
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until
from tests.kit.webconfigs import deploy, run_web_config, web_config


def test_recycle_application_after_backend_process_being_killed(folder: Path) -> None:
    with PorticoRun(folder, front() + row(path="/")) as run:
        seen = [pid_of(run, "/")]
        for _ in range(3):
            procfs.kill(seen[-1])
            wait_until(lambda: run.events("app.exited", pid=seen[-1]), "the crash")
            seen.append(pid_of(run, "/"))
        assert len(set(seen)) == 4
        assert [told["ancm"] for told in run.events("app.exited")] == [1030] * 3


def test_recycle_application_after_web_config_updated(folder: Path) -> None:
    """ConfigurationChangeForcesChildProcessRestart, too: by itself, as IIS does it, and a touch is enough."""
    file = deploy(folder / "apps", web_config("python", "row.py"))
    with run_web_config(folder / "apps") as run:
        pid = pid_of(run, "/")
        for number in range(2):
            deploy(folder / "apps", web_config("python", "row.py", environment={"NUMBER": str(number)}))
            wait_for_end(pid)
            answer = told(run, "/")
            assert answer["environment"]["NUMBER"] == str(number)
            assert answer["pid"] != pid
            pid = answer["pid"]
        file.touch()
        wait_for_end(pid)
        answer = told(run, "/")
        assert answer["environment"]["NUMBER"] == "1"
        assert answer["pid"] != pid
        assert procfs.descendants(run.pid) >= {answer["pid"]}
        assert len(run.events("app.spawned")) == 4


def test_configuration_touched_stress(folder: Path) -> None:
    """The row allows 503; here a hundred touches, and ten changes between, fail no request at all."""

    def config(number: int) -> str:
        return front() + row(path="/", environment={"NUMBER": str(number)})

    with PorticoRun(folder, config(0)) as run:
        first = pid_of(run, "/")
        with (
            Load(run.url, "/", clients=2) as keeping,
            Load(run.url, "/", clients=2, keep_alive=False) as coming,
        ):
            for number in range(100):
                (folder / "apps" / "restart.txt").touch()
                if number % 25 == 24:
                    run.reload(config(number))
            coming.wait_for_more(10)
        assert set(keeping.tally) | set(coming.tally) == {"200"}, (keeping.tally, coming.tally)
        assert pid_of(run, "/") != first
        assert told(run, "/")["environment"]["NUMBER"] == "99"


def all_pids(run: PorticoRun) -> set[int]:
    """Of twenty requests at once: sequential ones would all go to the first that has nothing to do."""
    answers = all_at_once([lambda: run.get("/?sleep=0.5")] * 20)
    found = [answer for answer in answers if isinstance(answer, Response) and answer.status == 200]
    assert len(found) == 20, answers
    return {int(answer.json()["pid"]) for answer in found}


def test_processes_per_application_test(folder: Path) -> None:
    """Ten, two and one, one after the other while it runs."""
    with PorticoRun(folder, front() + row(path="/", processes=10)) as run:
        run.get("/")
        wait_until(lambda: len(run.events("app.moved", now="READY")) == 10, "ten that are ready")
        with Visitor(run.url) as visitor:  # one worker, which may learn of the last of them a moment later
            ten = wait_until(
                lambda: (
                    pids if len(pids := {visitor.get("/").json()["pid"] for _ in range(20)}) == 10 else None
                ),
                "ten pids in twenty requests",
            )
        assert {told["pid"] for told in run.events("app.spawned")} == ten
        run.reload(front() + row(path="/", processes=2))
        wait_until(lambda: sum(map(procfs.alive, ten)) == 2, "the end of eight")
        two = all_pids(run)
        assert len(two) == 2
        assert two <= ten
        run.reload(front() + row(path="/"))
        wait_until(lambda: sum(map(procfs.alive, ten)) == 1, "the end of one more")
        assert len(all_pids(run)) == 1
        assert len(run.events("app.spawned")) == 10


def test_runs_two_out_of_process_apps(folder: Path) -> None:
    with PorticoRun(folder, front() + row("one") + row("two")) as run:
        one, two = told(run, "/one/"), told(run, "/two/")
        assert one["pid"] != two["pid"]
        assert (one["script_name"], two["script_name"]) == ("/one", "/two")
        assert pid_of(run, "/one/") == one["pid"]


def test_shutdown_multiple_times_works(folder: Path) -> None:
    """The app is told to stop, past the front and with its token: each time the next request has a new process."""
    with PorticoRun(folder, front() + row(path="/", rapid_fails_per_minute=100)) as run:
        seen = set()
        for _ in range(5):
            answer = told(run, "/")
            pid, port = answer["pid"], answer["environment"]["PORT"]
            seen.add(pid)
            with Visitor(f"http://127.0.0.1:{port}") as visitor:
                fields = [("MS-ASPNETCORE-TOKEN", run.token_of(pid)), ("MS-ASPNETCORE-EVENT", "shutdown")]
                assert visitor.request("POST", "/iisintegration", fields).status == 202
            wait_for_end(pid)
        assert len(seen) == 5
        assert pid_of(run, "/") not in seen
