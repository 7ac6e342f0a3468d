"""The launcher: environment, expansion, sentences and exit statuses, with the real command line."""

from __future__ import annotations

import fcntl
import json
import marshal
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf import launch

PRINT_ENVIRONMENT = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:], os.getcwd()]))"


def order(**changes: Any) -> dict[str, Any]:
    return {
        "argv": [sys.executable, "-c", PRINT_ENVIRONMENT],
        "directory": "/",
        "environment": {},
        "environment_file": "",
        "user": "",
        "umask": None,
        "parent": os.getpid(),
        "path": "/",
        "http_auth": "anonymous;",
        "schemes": "",
        "host": "127.0.0.1",
        "port": 12345,
        "socket": "",
        "fd": -1,
        "token": "a-token",
        "nonce": "a-nonce",
        "shim": "",
        **changes,
    }


def run(
    content: bytes, python: str = sys.executable, listener: int = -1, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """launch.py with `content` on descriptor 3, and `listener` on 4."""
    fd = os.memfd_create("order", 0)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    # Above the places where they go: bash moves one after the other.
    given = (fd,) if listener < 0 else (fd, listener)
    fds = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 20) for one in given]
    places = " ".join(f"{number}<&{source} {source}<&-" for number, source in zip((3, 4), fds, strict=False))
    shell = f'exec {places}; exec "$@"'
    try:
        return subprocess.run(
            [
                "/bin/bash",
                "-c",
                shell,
                "bash",
                python,
                "-I",
                "-S",
                launch.__file__.replace("launch.py", "launch_main.py"),
                "shop",
            ],
            capture_output=True,
            pass_fds=fds,
            env={"PATH": os.environ["PATH"], **environ},
            timeout=30,
            check=False,
        )
    finally:
        for one in (fd, *fds):
            os.close(one)


def launched(**changes: Any) -> tuple[dict[str, str], list[str], str]:
    done = run(marshal.dumps(order(**changes)))
    assert done.returncode == 0, done.stderr
    environment, argv, folder = json.loads(done.stdout)
    return environment, argv, folder


# ------------------------------------------------------------------------------------------------------------
# Environment


def test_an_app_finds_the_variables_of_the_contract() -> None:
    environment, _, _ = launched(path="/shop")
    expected = {
        "PORT": "12345",
        "HOST": "127.0.0.1",
        "ASPNETCORE_PORT": "12345",
        "ASPNETCORE_TOKEN": "a-token",
        "ASPNETCORE_APPL_PATH": "/shop",
        "ASPNETCORE_IIS_HTTPAUTH": "anonymous;",
        "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "true",
        "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "Microsoft.AspNetCore.Server.IISIntegration",
        "ASPNETCORE_URLS": "http://127.0.0.1:12345",
        "HTTP_PLATFORM_PORT": "12345",
        "HTTP_PLATFORM_APPL_PATH": "/shop",
        "PORTICO_NONCE": "a-nonce",
    }
    assert expected.items() <= environment.items()
    assert environment["PORTICO_PID"].isdigit()


def test_what_belongs_to_supervisord_or_an_outer_portico_is_not_inherited() -> None:
    foreign = {
        "SUPERVISOR_ENABLED": "1",
        "SUPERVISOR_PROCESS_NAME": "x",
        "LISTEN_FDS": "2",
        "LISTEN_PID": "7",
        "PORTICO_SETTINGS_FD": "4",
        "ASPNETCORE_TOKEN": "outer",
        "aspnetcore_token": "outer",
        "AspNetCore_Port": "1",
    }
    done = run(marshal.dumps(order()), **foreign, KEPT="yes")
    environment = json.loads(done.stdout)[0]
    assert not {name for name in environment if name.startswith(("SUPERVISOR_", "LISTEN_"))}
    assert "PORTICO_SETTINGS_FD" not in environment
    assert [name for name in environment if name.upper() == "ASPNETCORE_TOKEN"] == ["ASPNETCORE_TOKEN"]
    assert [name for name in environment if name.upper() == "ASPNETCORE_PORT"] == ["ASPNETCORE_PORT"]
    assert environment["ASPNETCORE_TOKEN"] == "a-token"
    assert environment["KEPT"] == "yes"


def test_settings_win_over_the_file_which_wins_over_the_inherited(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=file\nB=file\nPATH=/file\n")
    environment, _, _ = launched(environment={"A": "settings"}, environment_file=str(file))
    assert (environment["A"], environment["B"], environment["PATH"]) == ("settings", "file", "/file")


def test_an_app_is_told_how_the_front_finds_out_who_asks() -> None:
    environment, _, _ = launched(http_auth="windows;basic;", schemes="Negotiate,Basic")
    assert environment["ASPNETCORE_IIS_HTTPAUTH"] == "windows;basic;"
    assert environment["PORTICO_AUTHENTICATION"] == "Negotiate,Basic"
    assert "PORTICO_AUTHENTICATION" not in launched()[0]


def test_the_token_cannot_be_configured() -> None:
    environment, _, _ = launched(environment={"ASPNETCORE_TOKEN": "mine", "PORT": "1"})
    assert (environment["ASPNETCORE_TOKEN"], environment["PORT"]) == ("a-token", "12345")


def test_configured_urls_and_hosting_assemblies_stay() -> None:
    configured = {"ASPNETCORE_URLS": "http://*:1", "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "Mine"}
    environment, _, _ = launched(environment=configured)
    assert configured.items() <= environment.items()


@pytest.mark.parametrize("inherited", ["Asm1", "Asm1;Microsoft.AspNetCore.Server.IISIntegration"])
def test_inherited_hosting_assemblies_are_appended_to_once(inherited: str) -> None:
    done = run(marshal.dumps(order()), ASPNETCORE_HOSTINGSTARTUPASSEMBLIES=inherited)
    found = json.loads(done.stdout)[0]["ASPNETCORE_HOSTINGSTARTUPASSEMBLIES"]
    assert found == "Asm1;Microsoft.AspNetCore.Server.IISIntegration"


def test_the_shim_comes_first_on_pythonpath() -> None:
    assert launched(shim="/run/shim")[0]["PYTHONPATH"] == "/run/shim"
    both = launched(shim="/run/shim", environment={"PYTHONPATH": "/mine"})[0]
    assert both["PYTHONPATH"] == "/run/shim:/mine"


def test_a_unix_socket_takes_the_place_of_the_port_names() -> None:
    environment, _, _ = launched(port=0, socket="/run/shop.sock")
    assert environment["PORTICO_SOCKET"] == "/run/shop.sock"
    assert environment["ASPNETCORE_URLS"] == "http://unix:/run/shop.sock"
    assert not {"PORT", "HOST", "ASPNETCORE_PORT", "HTTP_PLATFORM_PORT", "LISTEN_FDS"} & environment.keys()


def test_a_listening_socket_is_put_where_systemd_puts_it_and_nothing_else_stays_open() -> None:
    report = """
import json, os, socket, sys
with os.scandir("/proc/self/fd") as entries:
    found = sorted(int(entry.name) for entry in entries)
listener = socket.socket(fileno=3)
names = {name: value for name, value in os.environ.items() if name.startswith("LISTEN_")}
print(json.dumps([dict(os.environ), sys.argv[1:], [found, listener.getsockname().hex(), names, os.getpid()]]))
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # a name that the kernel chooses
        listener.listen()
        argv = [sys.executable, "-c", report, "--fd={fd}", "{socket}"]
        content = marshal.dumps(order(port=0, fd=3, argv=argv))
        done = run(content, listener=listener.fileno())
        assert done.returncode == 0, done.stderr
        environment, words, (descriptors, name, names, pid) = json.loads(done.stdout)
        assert name == listener.getsockname().hex()
    assert names == {"LISTEN_FDS": "1", "LISTEN_PID": str(pid)}
    assert descriptors == [0, 1, 2, 3, 4]  # 4 is the folder that is being read
    assert words == ["--fd=3", ""]
    port_names = {
        "PORT",
        "HOST",
        "ASPNETCORE_PORT",
        "ASPNETCORE_URLS",
        "HTTP_PLATFORM_PORT",
        "PORTICO_SOCKET",
    }
    assert not port_names & environment.keys()


@pytest.mark.parametrize("address", [{"socket": "/run/shop.sock"}, {"fd": -1}])
def test_an_environment_file_does_not_say_where_to_listen(tmp_path: Path, address: dict[str, Any]) -> None:
    file = tmp_path / "env"
    file.write_text("PORT=3000\nHOST=0.0.0.0\nASPNETCORE_PORT=5000\nLISTEN_FDS=1\nLISTEN_PID=1\nKEPT=1\n")
    environment, _, _ = launched(port=0, environment_file=str(file), **address)
    assert not {"PORT", "HOST", "ASPNETCORE_PORT", "LISTEN_FDS", "LISTEN_PID"} & environment.keys()
    assert environment["KEPT"] == "1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("\ufeffA=1\r\n", {"A": "1"}),
        ("# comment\n\n  A = spaced \n", {"A": "spaced"}),
        ("export A=1", {"A": "1"}),
        ("A='single \\n $X'", {"A": "single \\n $X"}),
        (r'A="two\nlines \"q\" \\ \x"', {"A": 'two\nlines "q" \\ \\x'}),
        ("A=has=equals#and hash", {"A": "has=equals#and hash"}),
        ("A=", {"A": ""}),
        ('A="', {"A": '"'}),
        ("A=1\nA=2", {"A": "2"}),
    ],
)
def test_environment_files(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    (tmp_path / "env").write_text(text, encoding="utf-8")
    assert launch.read_environment_file(str(tmp_path / "env")) == expected


def test_a_bad_line_of_an_environment_file_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\nhunter2\n")
    done = run(marshal.dumps(order(environment_file=str(tmp_path / "env"))))
    assert done.returncode == launch.NOT_LAUNCHED
    assert b"line 2: expected KEY=VALUE" in done.stderr
    assert b"hunter2" not in done.stderr


# ------------------------------------------------------------------------------------------------------------
# Command


def test_placeholders_and_braces() -> None:
    _, argv, _ = launched(
        argv=[sys.executable, "-c", PRINT_ENVIRONMENT, "{host}:{port}", "{{port}}", "{x}", "{"]
    )
    assert argv == ["127.0.0.1:12345", "{port}", "{x}", "{"]


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="{}")))
def test_text_without_braces_is_not_changed(text: str) -> None:
    assert launch.expand([text], order()) == [text]


@given(st.text())
def test_doubled_braces_are_the_text(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert launch.expand([doubled], order()) == [text]


def test_the_command_is_found_on_the_path_of_the_app(tmp_path: Path) -> None:
    command = tmp_path / "serve"
    command.write_text("#!/bin/sh\necho found $1 $PWD\n")
    command.chmod(0o755)
    done = run(
        marshal.dumps(
            order(argv=["serve", "it"], environment={"PATH": str(tmp_path)}, directory=str(tmp_path))
        )
    )
    assert done.stdout == f"found it {tmp_path}\n".encode()


def test_a_command_relative_to_the_folder(tmp_path: Path) -> None:
    command = tmp_path / "serve"
    command.write_text("#!/bin/sh\necho here\n")
    command.chmod(0o755)
    assert run(marshal.dumps(order(argv=["./serve"], directory=str(tmp_path)))).stdout == b"here\n"


def _failure(status: int, **changes: Any) -> str:
    done = run(marshal.dumps(order(**changes)))
    assert (done.returncode, done.stdout) == (status, b"")
    sentence = done.stderr.decode()
    assert sentence.startswith("portico: ")
    assert sentence.endswith(".\n")
    assert sentence.count("\n") == 1
    return sentence


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    assert "nosuchcommand was not found on the app's PATH" in _failure(127, argv=["nosuchcommand"])
    assert "./nosuch was not found in" in _failure(127, argv=["./nosuch"], directory=str(tmp_path))


def test_a_command_that_cannot_be_executed(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert "may not be executed" in _failure(126, argv=[str(plain)])
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert "interpreter that its first line names" in _failure(126, argv=[str(script)])
    empty = tmp_path / "empty"
    empty.write_text("")
    empty.chmod(0o755)
    assert "Exec format error" in _failure(126, argv=[str(empty)])


def test_a_folder_that_is_not_there() -> None:
    assert "/no/such/folder cannot be entered: No such file" in _failure(125, directory="/no/such/folder")


def test_no_order_at_all() -> None:
    done = run(b"")
    assert done.returncode == 125
    assert b"no launch order" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_with_its_home_and_groups() -> None:
    source = "import json, os; print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), dict(os.environ)]))"
    pdeathsig = (
        "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)"
    )
    python = "/usr/bin/python3"
    done = run(marshal.dumps(order(argv=[python, "-c", f"{source}\n{pdeathsig}"], user="nobody")))
    assert done.returncode == 0, done.stderr
    told, signal_number = done.stdout.splitlines()
    uids, gids, groups, environment = json.loads(told)
    assert (set(uids), set(gids), groups) == ({65534}, {65534}, [65534])
    assert (environment["USER"], environment["HOME"]) == ("nobody", "/nonexistent")
    assert signal_number == b"9"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_user_that_is_not_there() -> None:
    assert "there is no user nosuchuser" in _failure(125, user="nosuchuser")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_an_app_of_another_user_does_not_outlive_a_parent_that_is_gone() -> None:
    done = run(marshal.dumps(order(user="nobody", parent=1, argv=["/bin/echo", "orphan"])))
    assert (done.returncode, done.stdout) == (125, b"")


def test_no_signal_is_ignored_in_the_app() -> None:
    done = run(marshal.dumps(order(argv=["/bin/grep", "SigIgn", "/proc/self/status"])))
    assert done.stdout.split() == [b"SigIgn:", b"0000000000000000"]


def test_values_that_are_filled_in_at_a_start() -> None:
    found = launch.build_environment(
        order(environment={"OPTIONS": "{{-Dport={port}}}", "PLAIN": "{port}"}, filled=["OPTIONS"]), {}
    )
    assert (found["OPTIONS"], found["PLAIN"]) == ("{-Dport=12345}", "{port}")


def test_the_https_port_is_told_unless_it_is_configured_or_there_is_not_exactly_one() -> None:
    name = "ASPNETCORE_ANCM_HTTPS_PORT"
    assert launch.build_environment(order(https_port=8443), {})[name] == "8443"
    configured = order(https_port=8443, environment={name: "443"})
    assert launch.build_environment(configured, {})[name] == "443"
    assert name not in launch.build_environment(order(https_port=0), {name: "of somebody else"})


if os.geteuid() == 0:

    @pytest.fixture
    def users_folder() -> Iterator[Path]:
        """A folder of nobody's, which everybody can look into, and beside it a secret of root's."""
        folder = Path(tempfile.mkdtemp(prefix="portico-launch-"))
        folder.chmod(0o755)
        (folder / "secret.env").write_text("SECRET=roots\n")
        (folder / "secret.env").chmod(0o600)
        (folder / "public.env").write_text("PUBLIC=yes\n")
        (folder / "app").mkdir()
        os.chown(folder / "app", pwd.getpwnam("nobody").pw_uid, -1)
        yield folder
        shutil.rmtree(folder)

    def linked(link: Path, target: str, user: str) -> str:
        link.symlink_to(target)
        os.lchown(link, pwd.getpwnam(user).pw_uid, -1)
        return str(link)

    def test_root_reads_a_secret_for_the_app(users_folder: Path) -> None:
        secret = str(users_folder / "secret.env")
        link = linked(users_folder / "link.env", "./secret.env", "root")
        for path in (secret, link, str(users_folder / "app" / ".." / "secret.env")):
            assert launch.read_environment_file(path, "nobody") == {"SECRET": "roots"}

    @pytest.mark.parametrize("how", ["file", "folder"])
    def test_root_reads_nothing_for_who_has_laid_a_link(users_folder: Path, how: str) -> None:
        app = users_folder / "app"
        if how == "file":
            secret = linked(app / "secret.env", "../secret.env", "nobody")
            public = linked(app / "public.env", str(users_folder / "public.env"), "nobody")
        else:
            above = linked(app / "above", "..", "nobody")
            secret, public = f"{above}/secret.env", f"{above}/public.env"
        before = (os.geteuid(), os.getegid(), os.getgroups())
        with pytest.raises(launch.Refused, match="cannot be read: Permission denied"):
            launch.read_environment_file(secret, "nobody")
        assert launch.read_environment_file(public, "nobody") == {"PUBLIC": "yes"}
        assert (os.geteuid(), os.getegid(), os.getgroups()) == before
        # An app that runs as root may read it by itself.
        assert launch.read_environment_file(secret, "root") == {"SECRET": "roots"}

    def test_an_app_is_started_with_what_its_user_may_read(users_folder: Path) -> None:
        secret = linked(users_folder / "app" / "secret.env", "../secret.env", "nobody")
        done = run(marshal.dumps(order(environment_file=secret, user="nobody")), python="/usr/bin/python3")
        assert done.returncode == launch.NOT_LAUNCHED
        assert b"cannot be read: Permission denied" in done.stderr
        assert b"roots" not in done.stdout + done.stderr


def test_a_pipe_is_no_environment_that_is_waited_for(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.mkfifo(tmp_path / "pipe")
        assert launch.read_environment_file(str(tmp_path / "pipe"), "nobody") == {}
    assert launch.read_environment_file(os.devnull) == {}
