"""A changed configuration: `app reload`, SIGHUP, `reload_on_change`. Who is not concerned notices nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kit import procfs
from tests.kit.client import free_port
from tests.kit.configs import UVICORN, app, front
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until

OTHER = app("other", path="/other", directory=".", command="python apps/one_piece.py")
LIFE = "python life.py"


def pid_of(run: PorticoRun, target: str) -> int:
    return int(run.get(target).json()["pid"])


def post(run: PorticoRun, size: int) -> int:
    """The status of a request with a body of `size` bytes."""
    return httpx.post(run.url, content=b"x" * size).status_code


def names(run: PorticoRun) -> set[str]:
    return {name for name in run.status() if not name.startswith("portico-")}


def test_a_changed_command_recycles_that_app_alone_and_fails_no_request(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE) + OTHER) as run:
        shop, other = pid_of(run, "/"), pid_of(run, "/other/")
        workers, keeper = run.workers(), run.keeper()
        with Load(run.url, "/", clients=4) as load:
            run.rewrite(front() + app(command=f"{LIFE} again", shutdown_time_limit=7) + OTHER)
            done = run.app("reload")
            load.wait_for_more(20)
        assert done.status == 0, done.said
        assert "changed shop" in done.out
        assert set(load.tally) == {"200"}, load.tally
        wait_for_end(shop)
        assert pid_of(run, "/") != shop
        assert "again" in procfs.argv(pid_of(run, "/"))
        assert pid_of(run, "/other/") == other
        assert (run.workers(), run.keeper()) == (workers, keeper)
        assert "No config updates" in run.supervisorctl("reread").out
        assert "nothing has changed" in run.app("reload").out
        assert (run.workers(), run.keeper()) == (workers, keeper)


def test_an_app_comes_and_goes_while_another_one_is_asked(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        shop = pid_of(run, "/")
        with Load(run.url, "/", clients=4) as load:
            run.rewrite(front() + app(command=LIFE) + OTHER)
            done = run.app("reload")
            assert done.status == 0, done.said
            assert names(run) == {"shop", "other"}
            other = pid_of(run, "/other/")
            assert other != shop
            assert run.pid_of("other") == other
            load.wait_for_more(20)
            run.rewrite(front() + app(command=LIFE))
            done = run.app("reload")
            assert done.status == 0, done.said
            assert names(run) == {"shop"}
            assert not procfs.alive(other)
            assert pid_of(run, "/other/") == shop
            load.wait_for_more(20)
        assert set(load.tally) == {"200"}, load.tally
        assert pid_of(run, "/") == shop
        assert "other" not in (run.run_directory / "supervisord.conf").read_text()
        assert run.app("why", "other").status == 1
        run.rewrite(front() + app(command=LIFE) + OTHER)
        assert run.app("reload").status == 0
        assert pid_of(run, "/other/") not in (other, shop)


def test_a_setting_of_the_workers_takes_effect(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        shop, workers = pid_of(run, "/facts"), run.workers()
        assert post(run, 2000) != 413
        with Load(run.url, "/", clients=4) as load:
            run.rewrite(front(max_request_body=1000) + app())
            done = run.app("reload")
            load.wait_for_more(20)
        assert done.status == 0, done.said
        assert set(load.tally) == {"200"}, load.tally
        assert not set(run.workers().values()) & set(workers.values())
        assert post(run, 2000) == 413
        assert pid_of(run, "/facts") == shop


@pytest.fixture(scope="module")
def unchanged(module_folder: Path) -> Iterator[PorticoRun]:
    """A run of which several tests want what it must not do."""
    with PorticoRun(module_folder, front() + app(command=LIFE)) as run:
        yield run


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("[front\n", "portico.toml"),
        (front() + app(command=LIFE, colour="red"), "colour"),
        (front() + app(command="no-such-program"), "no-such-program"),
        (front(user="daemon") + app(command=LIFE), "[front] user cannot change"),
        (front(run_directory="other") + app(command=LIFE), "[front] run_directory cannot change"),
    ],
)
def test_what_cannot_be_taken_over_changes_nothing_and_is_told(
    unchanged: PorticoRun, config: str, sentence: str
) -> None:
    run = unchanged
    before = pid_of(run, "/"), run.workers(), run.keeper()
    conf = (run.run_directory / "supervisord.conf").read_bytes()
    run.rewrite(config)
    done = run.app("reload")
    assert done.status == 1
    assert sentence in done.err
    assert "Nothing was changed" in done.err
    if sentence == "portico.toml":  # not even TOML: what runs is found all the same
        assert run.command("status").status == 0
    assert (pid_of(run, "/"), run.workers(), run.keeper()) == before
    assert (run.run_directory / "supervisord.conf").read_bytes() == conf


def test_when_the_new_one_does_not_come_the_old_one_stays(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        shop = pid_of(run, "/")
        run.rewrite(front() + app(command="python broken.py"))
        done = run.app("reload")
        assert done.status == 1
        assert "left as it is" in done.err
        assert pid_of(run, "/") == shop
        run.rewrite(front() + app(command=UVICORN))
        assert run.app("reload").status == 0
        wait_for_end(shop)


def test_sighup_is_a_reload(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=LIFE)) as run:
        shop = pid_of(run, "/")
        run.rewrite("[front\n")
        os.kill(run.pid, signal.SIGHUP)
        run.wait_for_output("Nothing was changed")
        assert "portico.toml" in run.output
        run.rewrite(front() + app(command=LIFE, environment={"COLOUR": "red"}))
        os.kill(run.pid, signal.SIGHUP)
        wait_for_end(shop)
        run.wait_for_output("changed shop")
        assert pid_of(run, "/") != shop
        log = (run.run_directory / "portico.log").read_text()
        assert "reload.refused" in log
        assert "reload.ended" in log


def test_reload_on_change_is_a_reload(folder: Path) -> None:
    with PorticoRun(folder, front(reload_on_change=True) + app(command=LIFE)) as run:
        shop = pid_of(run, "/")
        run.rewrite("[front\n")
        run.wait_for_output("Nothing was changed")
        assert pid_of(run, "/") == shop
        run.rewrite(front(reload_on_change=True) + app(command=f"{LIFE} again"))
        wait_for_end(shop)
        assert pid_of(run, "/") != shop
        assert run.output.count("Nothing was changed") == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_the_keeper_is_killed_right_after(folder: Path, at_once: bool) -> None:
    with PorticoRun(folder, front() + app(command=LIFE) + OTHER) as run:
        shop, other, keeper = pid_of(run, "/"), pid_of(run, "/other/"), run.keeper()
        with Load(run.url, "/", clients=3) as load:
            run.rewrite(front(via="front") + app(command=f"{LIFE} again"))
            if at_once:  # the keeper never hears of it
                os.kill(keeper, signal.SIGSTOP)
            os.kill(run.pid, signal.SIGHUP)
            log = run.run_directory / "portico.log"
            wait_until(lambda: "reload.began" in log.read_text(), "the reload")
            procfs.kill(keeper)
            wait_for_end(shop)
            wait_for_end(other)
            run.wait_for_output("removed other")
            load.wait_for_more(10)
        assert set(load.tally) == {"200"}, load.tally
        assert "again" in procfs.argv(pid_of(run, "/"))
        assert names(run) == {"shop"}
        assert pid_of(run, "/other/") == pid_of(run, "/")


def test_workers_that_are_killed_later_have_the_new_settings(folder: Path) -> None:
    with PorticoRun(folder, front() + app()) as run:
        run.rewrite(front(max_request_body=1000) + app())
        assert run.app("reload").status == 0
        for worker in run.workers().values():
            procfs.kill(worker)
        wait_until(lambda: len(run.workers()) == 2, "the next workers")
        assert post(run, 2000) == 413


def test_without_a_file_there_is_nothing_to_read(folder: Path) -> None:
    arguments = ["run", "--listen", f"http://127.0.0.1:{free_port()}", "--", "python", "apps/life.py"]
    with PorticoRun(folder, arguments=arguments) as run:
        os.kill(run.pid, signal.SIGHUP)
        run.wait_for_output("There is no configuration file to read again")


def test_a_web_config_that_is_changed_is_taken_over_by_itself(folder: Path) -> None:
    file = folder / "web.config"

    def say(arguments: str) -> None:
        file.write_text(
            '<configuration><system.webServer><aspNetCore processPath="python" '
            f'arguments="apps/life.py {arguments}" /></system.webServer></configuration>'
        )

    say("first")
    listen = f"http://127.0.0.1:{free_port()}"
    with PorticoRun(folder, arguments=["run", "web.config", "--listen", listen]) as run:
        first = pid_of(run, "/")
        say("second")
        wait_for_end(first)
        assert "second" in procfs.argv(pid_of(run, "/"))
