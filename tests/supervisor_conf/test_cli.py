"""The command `portico` as it is typed: real processes, real files, exit statuses."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf.setting_rules import app_name_from_folder
from tests.supervisor_conf.test_run_directory import HOLD

USER = pwd.getpwuid(os.geteuid()).pw_name
GOOD = f"""
[front]
listen = ["http://127.0.0.1:0"]
[apps.shop]
command = "/bin/sh -c 'exit 1'"
user = "{USER}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "portico.toml").write_text(GOOD)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def portico(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor_conf", *arguments],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_check_finds_nothing(folder: Path) -> None:
    done = portico(folder, "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{folder}/portico.toml: in order\n", "")
    assert sorted(path.name for path in folder.iterdir()) == ["portico.toml", "tmp"]


def test_check_finds_every_error_of_the_configuration(folder: Path) -> None:
    (folder / "bad.toml").write_text("[front]\nworkers = 0\n[apps.shop]\ncomand = 'x'\n")
    done = portico(folder, "check", "bad.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(" read ")[0] for line in done.stderr.splitlines()] == [
        "bad.toml:2: front.workers:",
        "bad.toml:3: apps.shop.command:",
        "bad.toml:4: apps.shop.comand:",
    ]


def test_check_finds_what_this_machine_refuses(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = GOOD.replace("127.0.0.1:0", f"127.0.0.1:{port}").replace("/bin/sh", "no-such-program")
        (folder / "portico.toml").write_text(text)
        done = portico(folder, "check")
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert "portico.toml:3: front.listen: " in first
    assert "portico.toml:5: apps.shop.command: " in second


def test_a_warning_is_no_refusal(folder: Path) -> None:
    (folder / "logs").touch()
    done = portico(folder, "check")
    assert done.returncode == 0
    assert one_line(done.stderr).startswith("warning: ")


def test_check_beside_a_running_instance(folder: Path, holder: subprocess.Popen[str]) -> None:
    done = portico(folder, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"(running, pid {holder.pid})" in done.stdout


@pytest.mark.parametrize("word", ["check", "run", "render", "status"])
def test_without_a_file(tmp_path: Path, word: str) -> None:
    done = portico(tmp_path, word)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no portico.toml in {tmp_path}" in one_line(done.stderr)


@pytest.mark.parametrize("word", ["check", "run", "render"])
def test_a_file_that_is_not_there(tmp_path: Path, word: str) -> None:
    done = portico(tmp_path, word, "other.toml")
    assert done.returncode == 2
    assert "other.toml: read nothing (No such file or directory)" in one_line(done.stderr)


WEB_CONFIG = """<configuration><system.webServer>
<aspNetCore processPath="/bin/sh" arguments="-c 'exit 1'" hostingModel="inprocess" />
</system.webServer></configuration>"""


@pytest.mark.parametrize("name", ["web.config", "Web.config"])
def test_a_web_config_is_found_and_checked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(WEB_CONFIG)
    done = portico(tmp_path, "render")
    assert done.returncode == 0
    assert f"[program:{app_name_from_folder(tmp_path.name)}]" in done.stdout
    assert f"{name}:2: " in done.stderr
    assert "it is run out of process" in done.stderr


def test_portico_toml_goes_before_web_config(folder: Path) -> None:
    (folder / "web.config").write_text("no XML")
    assert portico(folder, "check").stdout == f"{folder}/portico.toml: in order\n"


def test_check_names_the_place_in_a_web_config(tmp_path: Path) -> None:
    (tmp_path / "web.config").write_text(WEB_CONFIG.replace("/bin/sh", "no-such-program"))
    (tmp_path / "logs").touch()
    done = portico(tmp_path, "check", "web.config")
    assert done.returncode == 1
    place = "web.config:2: configuration/system.webServer/aspNetCore/@processPath: "
    assert any(place in line and "no-such-program" in line for line in done.stderr.splitlines())


def test_a_wrong_web_config_is_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "web.config").write_text("<configuration>\n<configuration/>")
    done = portico(tmp_path, "check")
    assert (done.returncode, done.stdout) == (2, "")
    assert "web.config:2: read no XML (no element found)" in one_line(done.stderr)


def test_the_run_directory_of_a_web_config(tmp_path: Path) -> None:
    (tmp_path / "web.config").write_text("no XML")
    done = portico(tmp_path, "status")
    assert done.returncode == 1
    assert f"no Portico runs in {tmp_path}/run" in one_line(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("serve",),
        ("run", "a.toml", "b.toml"),
        ("run", "--nonsense"),
        ("check", "--", "x"),
        ("demo", "x"),
        ("status", "--config", "a", "--run-directory", "b"),
    ],
)
def test_usage(folder: Path, arguments: tuple[str, ...]) -> None:
    done = portico(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: portico" in done.stderr


def test_a_file_and_a_command_exclude_each_other(folder: Path) -> None:
    done = portico(folder, "run", "portico.toml", "--", "sh")
    assert done.returncode == 2
    assert "not both" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "status", "phrase"),
    [
        (("--",), 2, "COMMAND: read nothing; expected a command"),
        (("--listen", "127.0.0.1:80", "--", "sh"), 2, '--listen: read "127.0.0.1:80"; expected an address'),
        (("--", "no-such-program", "--listen"), 1, 'COMMAND: read "no-such-program"; expected a program'),
    ],
)
def test_a_command_that_cannot_run(
    folder: Path, arguments: tuple[str, ...], status: int, phrase: str
) -> None:
    done = portico(folder, "run", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert phrase in one_line(done.stderr)
    assert list((folder / "tmp").iterdir()) == []


def test_run_says_what_this_machine_refuses(folder: Path) -> None:
    (folder / "portico.toml").write_text(GOOD.replace("/bin/sh", "no-such-program"))
    done = portico(folder, "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert "apps.shop.command" in one_line(done.stderr)
    assert not (folder / "run").exists()


def test_run_says_that_the_port_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = portico(folder, "run", "--listen", f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"http://127.0.0.1:{port} cannot be listened on: the address is in use" in one_line(done.stderr)
    assert not [path for path in (folder / "run").iterdir() if path.is_socket()]


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLD, str(folder / "run")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.send_signal(signal.SIGKILL)


def test_a_second_run_is_refused(folder: Path, holder: subprocess.Popen[str]) -> None:
    done = portico(folder, "run")
    assert done.returncode == 1
    assert f"Portico runs already in {folder}/run (pid {holder.pid})" in one_line(done.stderr)


def test_render(folder: Path) -> None:
    done = portico(folder, "render")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[supervisord]" in done.stdout
    assert f"[program:shop]\ncommand = {sys.executable} -I -S " in done.stdout
    assert "exit 1" not in done.stdout
    included = portico(folder, "render", "--include")
    assert included.returncode == 0
    assert "[supervisord]" not in included.stdout
    assert f"config = {folder}/portico.toml" in included.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--json", "--config", "portico.toml"),
        ("status", "--run-directory", "run"),
        ("ctl", "status"),
        ("ctl", "--config", "portico.toml", "app", "status", "--json"),
    ],
)
def test_no_instance_to_speak_to(folder: Path, arguments: tuple[str, ...]) -> None:
    done = portico(folder, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no Portico runs in {folder}/run" in one_line(done.stderr)


def test_the_instance_is_found_without_the_environment_it_was_started_with(folder: Path) -> None:
    (folder / "portico.toml").write_text(GOOD.replace("/bin/sh", "${NOT_SET_HERE}"))
    assert "no Portico runs" in one_line(portico(folder, "status").stderr)
