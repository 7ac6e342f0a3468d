"""What this machine refuses: one sentence each, with the key."""

from __future__ import annotations

import os
import pwd
import resource
import socket
from pathlib import Path

import pytest

from supervisor_conf import accounts, check, run_directory
from supervisor_conf.check import Finding, Severity, check_machine
from supervisor_conf.cli import main
from supervisor_conf.plugin import sockets
from supervisor_conf.settings import load_settings, settings_for_command
from tests.kit.strangers import letter

ME = pwd.getpwuid(os.geteuid()).pw_name
COMMAND = 'command = "/bin/sh"\n'


def findings(
    folder: Path, app: str = "", front: str = "", *, addresses: bool = False, after: str = ""
) -> list[Finding]:
    file = folder / "portico.toml"
    command = "" if "command" in app else COMMAND
    user = "" if "user" in app else f'user = "{ME}"\n'
    file.write_text(f"[front]\n{front}\n[apps.shop]\n{app}\n{command}{user}{after}")
    settings = load_settings(file, {})
    return check_machine(settings, {"PATH": "/usr/bin:/bin"}, addresses=addresses)


def one(found: list[Finding], severity: Severity, key: str) -> str:
    assert [(finding.severity, finding.error.key) for finding in found] == [(severity, key)], found
    sentence = str(found[0])
    assert "\n" not in sentence
    return sentence


def test_nothing_is_wrong(tmp_path: Path) -> None:
    assert findings(tmp_path, addresses=False) == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("app", "key", "phrase"),
    [
        (
            'command = "no-such-program"',
            "command",
            'read "no-such-program"; expected a program on the PATH of the app',
        ),
        ('command = "./no-such-program"', "command", "no-such-program does not exist"),
        ('command = "./Shop.exe"', "command", "Shop.exe is one of Windows"),
        (
            'environment = { PATH = "/nowhere" }\ncommand = "dotnet Shop.dll"',
            "command",
            "install the ASP.NET Core runtime, or let the app bring its own",
        ),
        ('command = "./portico.toml"', "command", "portico.toml is not executable"),
        ('environment = { PATH = "/nowhere" }\ncommand = "sh"', "command", "on the PATH of the app"),
        ('directory = "nowhere"', "directory", "expected a folder that exists"),
        ('directory = "portico.toml"', "directory", "expected a folder that exists"),
        (
            'user = "no-such-user"',
            "user",
            'read "no-such-user"; expected a user of this machine, by name or number',
        ),
        ('environment_file = "nowhere.env"', "environment_file", "nowhere.env cannot be read: No such file"),
        ('environment_file = "portico.toml"', "environment_file", "expected KEY=VALUE"),
    ],
)
def test_an_app(tmp_path: Path, app: str, key: str, phrase: str) -> None:
    (tmp_path / "Shop.exe").write_bytes(b"MZ\x90\0")
    sentence = one(findings(tmp_path, app), Severity.REFUSAL, f"apps.shop.{key}")
    assert phrase in sentence
    line = 4 + app[: app.index(key)].count("\n")
    assert sentence.startswith(f"{tmp_path}/portico.toml:{line}: apps.shop.{key}: read ")


@pytest.mark.parametrize(
    "app",
    [
        'command = "sh"',
        'command = "bin/serve {port}"',
        'directory = "bin"\ncommand = "./serve"',
        'environment = { PATH = "bin" }\ncommand = "serve"',
        'environment_file = "shop.env"\ncommand = "serve"',
        'command = "{host}"',
    ],
)
def test_commands_that_are_found(tmp_path: Path, app: str) -> None:
    program = tmp_path / "bin/serve"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "shop.env").write_text(f"PATH={program.parent}\n")
    assert findings(tmp_path, app) == []


def test_credentials_that_nobody_takes_are_a_warning(tmp_path: Path) -> None:
    sentence = one(
        findings(tmp_path, "forward_credentials = true"), Severity.WARNING, "apps.shop.forward_credentials"
    )
    assert "expected a module that takes tickets" in sentence
    (tmp_path / "theirs.py").write_text("from proxy.modules import Module\nclass Theirs(Module): pass\n")
    assert findings(tmp_path, "forward_credentials = true", '[[front.modules]]\nuse = "theirs:Theirs"') == []


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_to_trust_everybody_is_a_warning(tmp_path: Path, everybody: str) -> None:
    found = findings(tmp_path, front=f'trusted_proxies = ["10.0.0.0/8", "unix", "{everybody}"]')
    sentence = one(found, Severity.WARNING, "front.trusted_proxies")
    assert f'read "{everybody}"; expected the networks of your proxies' in sentence


def test_a_module_for_certificates_that_nobody_is_asked_for_is_a_warning(tmp_path: Path) -> None:
    table = '[[apps.shop.modules]]\nuse = "client_certificate"\n'
    sentence = one(findings(tmp_path, after=table), Severity.WARNING, "apps.shop.modules.0")
    assert sentence.endswith('in [front.tls], for example client_certificate = "optional"')


def test_a_folder_that_the_workers_may_not_enter_is_a_warning(tmp_path: Path) -> None:
    """The user of the workers is asked, who is not the one who checks."""
    (tmp_path / "public").mkdir(0o600)
    table = '[[front.modules]]\nuse = "static"\nfolder = "public"\n'
    sentence = one(findings(tmp_path, after=table), Severity.WARNING, "front.modules.0")
    assert f"may not enter the folder {tmp_path}/public, whose mode is 0600" in sentence
    assert sentence.endswith(f"chmod {letter()}+x {tmp_path}/public")
    (tmp_path / "public").chmod(0o701 if letter() == "o" else 0o700)
    assert findings(tmp_path, after=table) == []


def told_of_module(folder: Path, use: str, code: str, severity: Severity, place: str) -> str:
    """What is said of somebody's module of the front, whose file holds `code`."""
    (folder / f"{use.partition(':')[0]}.py").write_text(code)
    return one(findings(folder, after=f'[[front.modules]]\nuse = "{use}"\n'), severity, place)


def test_a_module_that_cannot_say_what_it_doubts(tmp_path: Path) -> None:
    code = "from proxy.modules import Module\nclass Unsure(Module):\n    def doubts(self): return 1 / 0\n"
    sentence = told_of_module(tmp_path, "unsure:Unsure", code, Severity.WARNING, "front.modules.0")
    assert "it cannot say what it doubts: division by zero" in sentence


def test_a_module_that_ends_the_process_is_told(tmp_path: Path) -> None:
    code = "import os\nos._exit(3)\n"
    sentence = told_of_module(tmp_path, "leaving:Module", code, Severity.REFUSAL, "front.modules")
    assert sentence.endswith("modules that work: it ended with status 3")


@pytest.mark.parametrize(
    ("table", "phrase"),
    [
        (
            'use = "headers"\nresponse.set = { Transfer-Encoding = "chunked" }',
            "Transfer-Encoding frames the message",
        ),
        ('use = "headers"\nrequest.set = { remote_user = "root" }', "it cannot be changed"),
        ('use = "request_id"\nheader = "Host"', "Host means something else"),
        ('use = "basic"', 'it wants file = "htpasswd" or pam'),
        ('use = "client_certificate"\nfingerprints = { "5D" = "a" }', "no SHA-256 fingerprint"),
    ],
)
def test_options_that_no_machine_could_take_are_a_mistake(
    tmp_path: Path, table: str, phrase: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = findings(tmp_path, after=f"[[apps.shop.modules]]\n{table}\n")
    (mistake,) = [one for one in found if one.severity is Severity.MISTAKE]
    assert phrase in mistake.error.sentence
    for word in ("check", "run"):
        assert main([word, str(tmp_path / "portico.toml")]) == 2
        assert phrase in capsys.readouterr().err


def test_what_modules_print_and_leave_behind_is_not_waited_for(tmp_path: Path) -> None:
    code = (
        "import atexit, threading\n"
        "from proxy.modules import Module\n"
        "print('hello', end='')\n"
        "atexit.register(print, 'bye')\n"
        "class Chatty(Module):\n"
        "    def __init__(self, options, context): threading.Thread(target=threading.Event().wait).start()\n"
        "    def close(self): raise RuntimeError('no')\n"
    )
    sentence = told_of_module(tmp_path, "chatty:Chatty", code, Severity.REFUSAL, "front.modules.0")
    assert sentence.endswith("does not close: no")


def test_modules_that_do_not_come_to_an_end_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "MODULES_TIMEOUT", 2)
    code = "import threading\nthreading.Event().wait()\n"
    sentence = told_of_module(tmp_path, "slow:Slow", code, Severity.REFUSAL, "front.modules")
    assert "expected modules that are made within 2 seconds" in sentence


def test_a_module_that_wants_to_end_the_process_is_told_by_its_name(tmp_path: Path) -> None:
    code = "raise SystemExit(3)\n"
    sentence = told_of_module(tmp_path, "leaving:Module", code, Severity.REFUSAL, "front.modules.0")
    assert sentence.endswith("the module leaving:Module does not start: 3")


def test_a_module_that_cannot_be_closed_is_told_by_its_name(tmp_path: Path) -> None:
    code = "from proxy.modules import Module\nclass Staying(Module):\n    def close(self): raise RuntimeError('no')\n"
    sentence = told_of_module(tmp_path, "staying:Staying", code, Severity.REFUSAL, "front.modules.0")
    assert sentence.endswith("the module staying:Staying does not close: no")


def test_a_log_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    sentence = one(findings(tmp_path), Severity.WARNING, "apps.shop.stdout_log")
    assert sentence.startswith("warning: ")
    assert "the app runs without a log" in sentence


@pytest.mark.parametrize("log", ["", "-"])
def test_without_a_log_no_folder_is_needed(tmp_path: Path, log: str) -> None:
    (tmp_path / "logs").touch()
    assert findings(tmp_path, f'stdout_log = "{log}"') == []


def test_the_run_directory(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").touch()
    assert "holds files of others" in one(findings(tmp_path), Severity.REFUSAL, "front.run_directory")


def test_a_run_directory_whose_sockets_have_too_long_names(tmp_path: Path) -> None:
    found = findings(tmp_path, front=f'run_directory = "{"x" * 100}"')
    assert "too long for Unix sockets" in one(found, Severity.REFUSAL, "front.run_directory")


@pytest.mark.parametrize("transport", ["unix", "fd"])
def test_an_app_whose_socket_has_too_long_a_name(tmp_path: Path, transport: str) -> None:
    def found(name: str, transport: str) -> list[Finding]:
        file = tmp_path / "portico.toml"
        file.write_text(f'[apps.{name}]\n{COMMAND}user = "{ME}"\ntransport = "{transport}"\n')
        return check_machine(load_settings(file, {}), {"PATH": "/bin"}, addresses=False)

    room = run_directory.LONGEST_SOCKET_PATH - run_directory.longest_app_socket(tmp_path / "run", "x") + 1
    fits, too_long = "x" * room, "x" * (room + 1)
    assert found(fits, transport) == found(too_long, "port") == []
    sentence = one(found(too_long, transport), Severity.REFUSAL, f"apps.{too_long}.transport")
    assert "a shorter name or a shorter run_directory" in sentence
    assert "a path of 108 bytes" in sentence


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        front = f'listen = ["http://127.0.0.1:0", "{url}"]'
        found = findings(tmp_path, front=front, addresses=True)
        assert findings(tmp_path, front=front) == []
    sentence = one(found, Severity.REFUSAL, "front.listen")
    assert f'read "{url}"; expected an address to listen on: the address is in use' in sentence
    assert sentence.startswith(f"{tmp_path}/portico.toml:2: ")
    assert sockets.held() == {}


def test_an_address_that_is_free_is_free_afterwards(tmp_path: Path) -> None:
    front = f'listen = "unix:{tmp_path}/front.sock"'
    assert findings(tmp_path, front=front, addresses=True) == []
    assert not (tmp_path / "front.sock").exists()


def test_a_limit_of_open_files_that_is_too_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    found = check_machine(settings_for_command(["sh"], tmp_path, {}), {"PATH": "/bin"}, addresses=False)
    assert "read a limit of 256 open files; expected at least" in str(found[0])


def test_what_was_typed_has_no_keys(tmp_path: Path) -> None:
    settings = settings_for_command(["no-such-program"], tmp_path, {}, run_directory=tmp_path / "run")
    found = check_machine(settings, {"PATH": "/bin"}, addresses=False)
    refused = [str(finding) for finding in found if finding.severity is Severity.REFUSAL]
    assert len(refused) == 1
    assert refused[0].startswith('COMMAND: read "no-such-program"; expected a program on the PATH')


class TestAsRoot:
    def test_a_command_that_root_types_is_a_warning(self, tmp_path: Path) -> None:
        found = check_machine(settings_for_command(["sh"], tmp_path, {}), {"PATH": "/bin"}, addresses=False)
        sentence = one(found, Severity.WARNING, "")
        assert sentence.startswith("warning: read root as the user; expected an ordinary user")

    @pytest.fixture(autouse=True)
    def root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)

    def test_an_app_without_a_user_is_a_warning(self, tmp_path: Path) -> None:
        sentence = one(findings(tmp_path, 'user = ""'), Severity.WARNING, "apps.shop.user")
        assert "runs as root" in sentence

    def test_an_app_that_shares_the_workers_user_or_group_is_a_warning(self, tmp_path: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        kin = [one.pw_name for one in pwd.getpwall() if one.pw_gid == nobody.pw_gid]
        assert "nobody" in kin
        for name in kin:
            found = findings(tmp_path, f'user = "{name}"')
            sentence = one(found, Severity.WARNING, "apps.shop.user")
            assert "neither account nor group with the workers (nobody)" in sentence
        assert findings(tmp_path, 'user = "nobody"', front='user = "www-data"') == []

    def test_workers_never_run_as_root(self, tmp_path: Path) -> None:
        sentence = one(findings(tmp_path, front='user = "root"'), Severity.REFUSAL, "front.user")
        assert "another user than root" in sentence

    @pytest.mark.parametrize("user", ["no-such-user", "4294967293", "1" * 30])
    def test_the_user_of_the_workers_must_be_there(self, tmp_path: Path, user: str) -> None:
        """A number too: as of supervisord's `user=`, its entry tells the groups."""
        sentence = one(findings(tmp_path, front=f'user = "{user}"'), Severity.REFUSAL, "front.user")
        assert "a user of this machine, by name or number" in sentence

    def test_a_user_can_be_named_by_number(self, tmp_path: Path) -> None:
        daemon = pwd.getpwnam("daemon").pw_uid
        assert findings(tmp_path, 'user = "www-data"', front=f'user = "{daemon}"') == []

    def test_without_one_it_is_nobody(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accounts, "DEFAULT_WORKERS", "no-such-user")
        one(findings(tmp_path), Severity.REFUSAL, "front.user")


class TestAsAnOrdinaryUser:
    @pytest.fixture(autouse=True)
    def ordinary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)

    def test_an_app_of_another_user_is_refused(self, tmp_path: Path) -> None:
        sentence = one(findings(tmp_path, 'user = "root"'), Severity.REFUSAL, "apps.shop.user")
        assert "only root may run an app as another user" in sentence

    def test_an_app_of_ones_own_is_not(self, tmp_path: Path) -> None:
        me = pwd.getpwuid(65534).pw_name
        assert findings(tmp_path, f'user = "{me}"') == []
        assert findings(tmp_path, 'user = ""') == []

    def test_a_command_that_one_types_is_none(self, tmp_path: Path) -> None:
        settings = settings_for_command(["sh"], tmp_path, {})
        assert check_machine(settings, {"PATH": "/bin"}, addresses=False) == []

    def test_a_user_for_the_workers_has_no_effect_and_that_is_said(self, tmp_path: Path) -> None:
        found = findings(tmp_path, 'user = ""', front='user = "root"')
        assert "to be started by root" in one(found, Severity.WARNING, "front.user")
        assert findings(tmp_path, 'user = ""', front='user = "65534"') == []
