"""What a person types, and what they are told: one sentence where something is wrong, and the right exit status."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.kit import environments, procfs
from tests.kit.client import free_port
from tests.kit.configs import app, front
from tests.kit.environments import CHECKOUT
from tests.kit.run import Person, PorticoRun, myself
from tests.kit.until import wait_until


def refused(
    folder: Path, config: str | None, *arguments: str, status: int, person: Person | None = None
) -> str:
    """`portico run` ends by itself with `status`; what it said. Nothing was started, nothing is left."""
    run = PorticoRun(folder, config, arguments=["run", *arguments], person=person)
    run.launch()
    try:
        assert run.wait_for_exit(20) == status, run.output
        run.assert_nothing_left()
    finally:
        run.kill_everything()
    assert "Traceback" not in run.output
    assert not (folder / "logs").exists()
    return errors(run.output)


def errors(said: str) -> str:
    """Without the warnings (as root: that the app runs as root)."""
    return "\n".join(line for line in said.strip().splitlines() if not line.startswith("warning: "))


def test_a_second_run_is_refused_and_names_the_first(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        second = run.command("run")
        assert second.status == 1
        assert str(run.pid) in second.err
        assert len(errors(second.err).splitlines()) == 1
        assert run.get("/facts").json()["pid"] == pid


def test_the_run_directory_of_a_dead_run_is_taken_over(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        procfs.kill(run.pid)
        run.wait_for_exit()
        wait_until(lambda: not run.survivors(), "the end of everything")
        with PorticoRun(folder, arguments=["run"]) as again:
            assert again.get("/").status == 200


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(folder, front(listen=[f"http://127.0.0.1:{port}"]) + app(), status=1)
    assert len(said.splitlines()) == 1
    assert str(port) in said


def test_a_bad_configuration_is_a_sentence_an_error(folder: Path) -> None:
    config = '[front]\nworkers = "many"\nlissten = 1\n\n[apps.shop]\ncommand = 5\nstartup_time_limit = 9999\n'
    said = refused(folder, config, status=2)
    lines = said.splitlines()
    assert len(lines) == 4
    for key in ("front.workers", "front.lissten", "apps.shop.command", "apps.shop.startup_time_limit"):
        assert [line for line in lines if key in line and "portico.toml" in line], said
    assert "listen" in next(line for line in lines if "lissten" in line)
    assert not (folder / "run").exists()


def test_a_configuration_that_is_not_there(folder: Path) -> None:
    assert "portico.toml" in refused(folder, None, status=2)


def test_a_command_that_is_not_found(folder: Path) -> None:
    said = refused(folder, front() + app(command="no-such-program --port {port}"), status=1)
    assert len(said.splitlines()) == 1
    assert "no-such-program" in said


def test_a_run_directory_that_cannot_be_written(folder: Path) -> None:
    (folder / "blocked").write_text("a file, not a folder\n")
    said = refused(folder, front(run_directory="blocked/run") + app(), status=1)
    assert len(said.splitlines()) == 1
    assert "blocked" in said


def test_a_foreign_run_directory_is_refused_to_an_ordinary_user(
    folder: Path, ordinary: Person | None
) -> None:
    if ordinary is None:
        (folder / "closed").mkdir(mode=0o500)
    else:
        (folder / "closed").mkdir(mode=0o755)  # root's
    said = refused(folder, front(run_directory="closed/run") + app(), status=1, person=ordinary)
    assert "closed" in said


def test_check_says_what_run_would(folder: Path) -> None:
    run = PorticoRun(folder, front() + app())
    good = run.command("check")
    assert (good.status, errors(good.err)) == (0, "")
    (folder / "portico.toml").write_text("[apps.shop]\ncomand = 'x'\n")
    bad = run.command("check")
    assert bad.status == 2
    assert "apps.shop.comand" in bad.said
    assert "command" in bad.said
    (folder / "portico.toml").write_text("[apps.shop]\ncommand = 'no-such-program'\n")
    assert run.command("check").status == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (folder / "portico.toml").write_text(front(listen=[f"http://127.0.0.1:{port}"]) + app())
        busy = run.command("check")
        assert busy.status == 1
        assert port in busy.err
    assert not (folder / "run").exists()


def test_render_prints_what_supervisord_gets_and_no_users_string(folder: Path) -> None:
    run = PorticoRun(
        folder, front() + app(environment={"SECRET": "of the user"}, command="uvicorn probe:asgi")
    )
    printed = run.command("render")
    assert printed.status == 0
    assert "[program:shop]" in printed.out
    assert "[rpcinterface:portico]" in printed.out
    assert "probe:asgi" not in printed.out
    assert "of the user" not in printed.out
    included = run.command("render", "--include")
    assert included.status == 0
    assert "[supervisord]" not in included.out
    assert "[unix_http_server]" not in included.out


def test_status_and_ctl(folder: Path) -> None:
    with PorticoRun(folder, front() + app() + app("cold", path="/cold")) as run:
        pid = run.get("/facts").json()["pid"]
        for status in (run.command("status"), run.app("status")):
            assert status.status == 0
            assert "shop" in status.out
            assert str(pid) in status.out
        port = int(run.get("/facts").json()["environment"]["PORT"])
        for answer in (run.command("status", "--json"), run.app("status", "--json")):
            shop, cold = json.loads(answer.out)["apps"]
            assert (shop["name"], shop["state"], shop["pid"], shop["port"]) == ("shop", "READY", pid, port)
            assert (cold["name"], cold["state"], cold["pid"], cold["port"]) == ("cold", "STOPPED", 0, 0)
        one = run.app("status", "shop")
        assert "cold" not in one.out
        assert f"pid {pid}" in run.command("ctl", "status").out
        assert run.app("status", "nobody-has-this").status != 0
        assert run.app("nonsense").status == 2


def test_stop_and_start(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        assert run.app("stop", "shop").status == 0
        assert not procfs.alive(pid)
        stopped = run.get("/")
        assert stopped.status == 503
        assert stopped.header("retry-after")
        assert run.pid_of("shop") == 0
        assert run.app("start", "shop").status == 0
        assert run.get("/facts").json()["pid"] == run.pid_of("shop") != pid


def test_supervisorctl_stop_start_and_restart(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        first = run.get("/facts").json()["pid"]
        assert run.supervisorctl("stop", "shop").status == 0
        assert run.get("/").status == 503
        assert not procfs.alive(first)
        assert run.supervisorctl("start", "shop").status == 0
        second = run.get("/facts").json()["pid"]
        assert run.supervisorctl("restart", "shop").status == 0
        third = run.get("/facts").json()["pid"]
        assert len({first, second, third}) == 3
        assert run.pid_of("shop") == third


def test_an_administrative_stop_survives_the_keeper(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.get("/")
        run.app("stop", "shop")
        keeper = run.keeper()
        procfs.kill(keeper)
        wait_until(lambda: run.keeper() != keeper, "the new keeper")
        wait_until(lambda: run.app("status").status == 0, "the new keeper's answer")
        assert run.get("/").status == 503


@pytest.mark.parametrize("way", ["supervisorctl reload", "SIGHUP"])
def test_nothing_restarts_everything(folder: Path, way: str) -> None:
    with PorticoRun(folder, front() + app()) as run:
        pid = run.get("/facts").json()["pid"]
        before = (
            run.supervisorctl("status").out.split("uptime")[0],
            run.workers(),
            run.keeper(),
        )
        if way == "SIGHUP":
            os.kill(run.pid, signal.SIGHUP)
            log = run.run_directory / "portico.log"
            wait_until(lambda: "reload.ended" in log.read_text(), "the end of a reload that changes nothing")
        else:
            answer = run.supervisorctl("reload")
            assert "app reload" in answer.said
        after = (
            run.supervisorctl("status").out.split("uptime")[0],
            run.workers(),
            run.keeper(),
        )
        assert after == before
        assert run.get("/facts").json()["pid"] == pid


def test_run_with_a_command_instead_of_a_file(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    arguments = ["run", "--listen", url, "--", "uvicorn", "--app-dir", "apps", "probe:asgi"]
    with PorticoRun(folder, arguments=arguments) as run:
        assert run.url == url
        facts = run.get("/facts").json()
        assert facts["directory"] == str(folder)
        run.wait_for_output("Uvicorn running on")  # the app's output is on the terminal
        run.get("/sleep?s=0")
        run.wait_for_output("a request sleeps")
        run.interrupt()
        assert run.wait_for_exit() == 0
        assert not list((folder / "tmp").iterdir())  # the temporary run directory went too
        assert not (folder / "run").exists()


def test_demo_needs_nothing_and_says_what_to_try(folder: Path, person: Person) -> None:
    with PorticoRun(
        folder, arguments=["demo", "--listen", f"http://127.0.0.1:{free_port()}"], person=person
    ) as run:
        assert run.get("/", [("Accept", "text/html")]).status == 200
        run.wait_for_output("curl")
        run.interrupt()
        assert run.wait_for_exit() == 0


def test_progress_is_shown_while_an_app_starts(folder: Path) -> None:
    with PorticoRun(folder, front() + app(start="on-request")) as run:
        assert "shop" not in run.output.split(run.url)[1]
        run.get("/")
        wait_until(lambda: "shop" in run.output.split(run.url)[1], "the app's name after the URL")
        assert "[" not in run.app("start", "shop").err


def test_listening_on_a_unix_socket_and_on_ipv6(folder: Path) -> None:
    port = free_port()
    listen = [f"http://127.0.0.1:{port}", f"http://[::1]:{port}", f"unix:{folder}/front.sock"]
    with PorticoRun(folder, front(listen=listen) + app()) as run:
        assert run.get("/").status == 200
        for family, address in ((socket.AF_INET6, ("::1", port)), (socket.AF_UNIX, f"{folder}/front.sock")):
            with socket.socket(family) as visitor:
                visitor.connect(address)
                visitor.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert visitor.recv(12) == b"HTTP/1.1 200"


def test_files_and_people(folder: Path, person: Person) -> None:
    """The modes of the run directory and who runs as whom."""
    with PorticoRun(folder, front() + app(), person=person) as run:
        facts = run.get("/facts").json()
        as_root = person.uid == 0
        assert mode(run.run_directory) == (0o711 if as_root else 0o700)
        assert mode(run.run_directory / "supervisor.sock") == 0o700
        assert mode(run.run_directory / "control.sock") == (0o660 if as_root else 0o600)
        assert facts["uid"] == person.uid
        for worker in run.workers().values():
            # supervisord calls it RUNNING before it has imported all and become somebody else.
            owners = wait_until(
                lambda worker=worker: owners if 0 not in (owners := procfs.uids(worker)) else None, "its user"
            )
            assert as_root or owners == {person.uid}
        if as_root:
            assert "root" in run.output  # the app runs as root: a warning says so


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_an_app_runs_as_the_user_it_is_given(folder: Path) -> None:
    user = "daemon" if os.geteuid() == 0 else myself().name
    command = ["/usr/bin/python3", "-u", "wsgiref_app.py", "1"]
    with PorticoRun(folder, front() + app(command=command, user=user)) as run:
        assert run.get("/facts").json()["uid"] == pwd.getpwnam(user).pw_uid


def test_version_and_usage() -> None:
    portico = str(myself().bin / "portico")
    usage = subprocess.run([portico, "no-such-word"], capture_output=True, text=True, cwd=CHECKOUT)
    assert usage.returncode == 2
    assert "run" in usage.stderr
    assert subprocess.run([portico, "--help"], capture_output=True, cwd=CHECKOUT).returncode == 0


@pytest.fixture
def ordinary(request: pytest.FixtureRequest) -> Person | None:
    """An ordinary user beside root; None when the tests are run by one."""
    if os.geteuid() != 0:
        return None
    return environments.ordinary_person(request.getfixturevalue("ordinary_commands"))
