"""A start that fails is explained: the step, the exit, the time, the last lines; to loopback visitors and operators."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.kit import procfs
from tests.kit.client import Response, free_port
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until

BROKEN = "python broken.py"


def page(run: PorticoRun, target: str = "/", accept: str = "text/html") -> Response:
    return run.get(target, [("Accept", accept)])


def test_an_app_that_dies_at_start(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=BROKEN)) as run:
        shown = page(run)
        assert shown.status == 502
        assert (shown.header("content-type") or "").startswith("text/html")
        assert shown.header("proxy-status")
        assert shown.header("x-request-id")
        assert "502.5" in shown.text
        assert "exit status 3" in shown.text
        assert "listening" in shown.text
        assert "cannot reach the &lt;database&gt; &amp; gave up" in shown.text
        why = run.app("why", "shop")
        assert why.status == 0
        assert "exit status 3" in why.out
        assert "first output" in why.out
        assert "listening" in why.out
        assert "reading the settings" in why.out
        assert "cannot reach the <database> & gave up" in why.out


def test_the_report_is_in_the_log_without_the_apps_words(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=["python", "-c", "print('a secret'); exit(3)"])) as run:
        assert run.get("/").status == 502
        first, last = run.events("app.start-failed")
        assert (first["again"], last["again"]) == (True, False)
        assert (last["step"], last["exit"]) == ("listening", "exit status 3")
        assert {"asked", "spawned", "first output"} <= set(last["steps"])
        assert last["advice"]
        assert "a secret" not in (run.run_directory / "portico.log").read_text()


def test_the_page_speaks_the_visitors_language(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=BROKEN)) as run:
        problem = page(run, accept="application/json")
        assert problem.header("content-type") == "application/problem+json"
        assert problem.json()["status"] == problem.status == 502
        plain = page(run, accept="*/*")
        assert (plain.header("content-type") or "").startswith("text/plain")
        assert "exit status 3" in plain.text


def test_without_the_start_up_page_nothing_is_told(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=BROKEN, startup_error_page=False)) as run:
        bare = page(run)
        assert bare.status == 502
        assert "database" not in bare.text
        assert "exit status" not in bare.text


def test_a_failed_start_leads_back_to_stopped_and_the_next_request_tries_again(folder: Path) -> None:
    flag = folder / "broken"
    flag.touch()
    (folder / "apps" / "sometimes.py").write_text(
        f"import os, sys, uvicorn, probe\n"
        f"sys.exit('not yet') if os.path.exists({str(flag)!r}) else uvicorn.run(probe.asgi)\n"
    )
    with PorticoRun(folder, front() + app(command="python sometimes.py")) as run:
        assert page(run).status == 502
        flag.unlink()
        assert page(run).status == 200


def test_an_app_that_listens_elsewhere_is_told_where_and_the_two_cures(folder: Path) -> None:
    elsewhere = free_port()
    config = front() + app(command=f"python elsewhere.py {elsewhere}", shim="off", startup_time_limit=3)
    with PorticoRun(folder, config) as run:
        shown = page(run)
        assert shown.status == 502
        why = run.app("why", "shop").out
        for text in (shown.text, why):
            assert f"127.0.0.1:{elsewhere}" in text
            assert f"port = {elsewhere}" in text
            assert "PORT" in text
        assert "listening where I like" in why
        wait_until(lambda: run.pid_of("shop") == 0, "the end of the app that listens elsewhere")


def test_an_app_that_never_listens_fails_at_its_time_limit(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command="sleep 600", startup_time_limit=2)) as run:
        assert page(run).status == 502
        why = run.app("why", "shop").out
        assert "listening" in why
        assert "2" in why
        wait_until(lambda: not [p for p in run.survivors() if "sleep" in p.command], "the end of the app")


def test_somebody_elses_listener_on_the_port_is_not_taken_for_the_app(folder: Path) -> None:
    """An app that hands its port to a stranger (here: none of its descendants) is not ready."""
    port = free_port()
    with (
        PorticoRun(folder, front() + app(command="sleep 600", port=port, startup_time_limit=3)) as run,
        socket.create_server(("127.0.0.1", port)),
    ):
        assert page(run).status == 502
        assert "ours" in run.app("why", "shop").out or str(port) in run.app("why", "shop").out


def test_ready_asks_a_path(folder: Path) -> None:
    with PorticoRun(
        folder, front() + app(ready="/facts") + app("never", path="/never", ready="/error")
    ) as run:
        assert run.get("/").status == 200


def test_a_ready_path_that_fails_names_the_step(folder: Path) -> None:
    with PorticoRun(folder, front() + app(ready="/error", startup_time_limit=3)) as run:
        assert page(run).status == 502
        why = run.app("why", "shop").out
        assert "ready" in why
        assert "/error" in why


def test_a_crash_is_explained_too(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        procfs.kill(pid)
        wait_for_end(pid)
        wait_until(lambda: "SIGKILL" in run.app("why", "shop").out, "the signal in app why")


def test_a_command_that_is_not_there_fails_its_start_only(folder: Path) -> None:
    """Found at `portico run` where the file shows it; removed afterwards, the start says so."""
    program = folder / "apps" / "program"
    program.write_text("#!/bin/sh\nexec uvicorn probe:asgi\n")
    program.chmod(0o755)
    with PorticoRun(folder, front() + app(command=str(program)) + app("other", path="/other")) as run:
        program.unlink()
        assert page(run).status == 502
        assert "program" in run.app("why", "shop").out
        assert page(run, "/other/").status == 200
