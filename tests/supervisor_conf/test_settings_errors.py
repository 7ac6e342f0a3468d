"""Every way a configuration can be wrong: one sentence with its key path, what was read, what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor_conf.settings import InvalidSettings, SettingsError, load_settings, settings_for_command


def errors_of(folder: Path, text: str | bytes, listen: tuple[str, ...] = ()) -> tuple[SettingsError, ...]:
    file = folder / "portico.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(file, {"NAME": "value"}, listen)
    return caught.value.errors


def error_of(folder: Path, text: str | bytes, listen: tuple[str, ...] = ()) -> SettingsError:
    errors = errors_of(folder, text, listen)
    assert len(errors) == 1, [error.sentence for error in errors]
    return errors[0]


# key, what is written, phrase of the sentence
FRONT_ERRORS = [
    (
        "listen",
        '["http://[::1]", "https://127.0.0.1"]',
        'read "https://127.0.0.1:443"; expected a table [front.tls] beside an https:// address',
    ),
    ("listen", '"127.0.0.1:8080"', "an address such as http://HOST:PORT"),
    ("listen", '"http://127.0.0.1:99999"', "an address such as"),
    ("listen", '"http://127.0.0.1:8080/shop"', "without a path"),
    ("listen", '"http://me@127.0.0.1"', "without a path"),
    ("listen", '"http://*:8080"', "an address such as"),
    ("listen", '"http://[::g]:1"', "an address such as"),
    ("listen", '"http://1.2.3:80"', "an address such as"),
    ("listen", '"unix:"', "the path of a socket"),
    ("listen", '"fd:x"', "number of an inherited listening socket"),
    ("listen", '"fd:1"', "number of an inherited listening socket"),
    ("listen", '"http://127.0.0.1 proxy"', "expected an address such as"),
    ("listen", '" proxy_protocol"', "an address such as"),
    ("listen", '"http://127.0.0.1 proxy_protocol"', "expected trusted_proxies beside it"),
    ("listen", '["fd:3 proxy_protocol", "fd:3"]\ntrusted_proxies = ["unix"]', "or without it, not both"),
    ("listen", "8080", "a list of addresses"),
    ("listen", "[]", "a list of addresses"),
    ("listen", '["http://a:1", "http://a:1"]', "each once"),
    ("workers", "0", 'read 0; expected a whole number from 1 to 1024, or "auto"'),
    ("workers", '"many"', 'read "many"; expected a whole number'),
    ("workers", "1.5", "read 1.5; expected"),
    ("workers", "true", "read true; expected"),
    ("run_directory", '""', "a path"),
    ("run_directory", '"a\\nb"', "a path"),
    ("run_directory", "3", "a path"),
    ("user", '"a b"', "a user of this machine"),
    ("drain_limit", "-1", "a duration from 0 to 3600 seconds"),
    ("drain_limit", '"soon"', 'read "soon"; expected a duration'),
    ("drain_limit", "nan", "a duration"),
    ("drain_limit", "inf", "a duration"),
    ("drain_limit", '"00:99:00"', "a duration"),
    ("max_request_body", '"30 bananas"', 'read "30 bananas"; expected a size'),
    ("max_request_body", "0", "a size from 1 to"),
    ("max_request_body", "1.5", "a size"),
    ("max_header_bytes", "100", "a size from 1024 to"),
    ("header_timeout", "0", "a duration from 1 to"),
    ("keep_alive_timeout", "true", "a duration from 0 to"),
    ("trusted_proxies", '["ten"]', 'read "ten"; expected a list of networks, or "unix"'),
    ("trusted_proxies", '["10.0.0.0/8", "10.1.2.3/8"]', "each once"),
    ("trusted_fields", '"x-real-ip"', "one of auto, x-forwarded, forwarded"),
    ("forwarded", "1", "true or false"),
    ("max_connections", "0", 'a whole number from 1 to 1000000, or "auto"'),
    ("max_connections_per_client", '"auto"', "a whole number from 0 to"),
    ("min_upload_rate", '"slow"', "expected a size"),
    ("access_log", "5", "expected a path"),
    ("quick_lane", '"no"', "true or false"),
    ("forwarded_for_port", "1", "true or false"),
    ("via", '"a b"', "a name without blanks"),
    ("reload_on_change", "1", "true or false"),
    (
        "listn",
        '["http://a"]',
        "read an unknown key; expected a known key, perhaps listen, for example listen =",
    ),
    ("zzzz", "1", "read an unknown key; expected one of listen, workers,"),
    ("run-directory", '"x"', "perhaps run_directory"),
    ("redirect", "308", "read an unknown key; expected it in [front.tls]"),
    ("realm", '"Shop"', 'expected it in [[front.modules]] with use = "basic"'),
    ("command", '"x"', "expected it in [apps.NAME]"),
]

APP_ERRORS = [
    ("command", '""', "a command"),
    ("command", "[]", "a command"),
    ("command", "5", "a command"),
    ("command", '["x", 5]', "a command"),
    ("command", '"say \'hello"', "no closing quotation"),
    (
        "command",
        '"serve {pot}"',
        'read "{pot}" in "{pot}"; expected {port}, {host}, {socket} or {fd} as a placeholder',
    ),
    ("command", '"serve {"', "{{ and }} as braces"),
    ("command", '["x", "}"]', "{{ and }} as braces"),
    ("command", '"serve {socket}"', 'read {socket}; expected {port} or {host}, since transport = "port"'),
    ("command", '"serve {fd}"', 'for example transport = "fd"'),
    (
        "command",
        "'serve ${NOPE}'",
        "read ${NOPE}, which is not set; expected NOPE to be set in the environment",
    ),
    ("command", "'serve $HOME'", "read a lone $; expected $$ for a dollar"),
    ("directory", '""', "a path"),
    ("path", '"shop"', "an absolute path of a URL"),
    ("path", '"/a?b"', "an absolute path of a URL"),
    ("path", '"/a//b"', "an absolute path of a URL"),
    ("path", '"/a/../b"', "an absolute path of a URL"),
    ("path", '"/a b"', "an absolute path of a URL"),
    ("hosts", '["shop.example:80"]', 'read "shop.example:80"; expected a list of host names without a port'),
    ("hosts", '["*.example"]', "host names"),
    ("hosts", '"shop.example"', "a list of host names"),
    ("methods", '["get"]', 'read "get"; expected GET, since methods are case-sensitive'),
    ("methods", '["GE T"]', "a list of request methods"),
    ("user", '"-x"', "a user of this machine"),
    ("environment", '"A=1"', "a table of strings"),
    ("environment", "{ A = 1 }", "read a number for A; expected a string"),
    ("environment", '{ "A=B" = "1" }', "the name of a variable"),
    (
        "environment",
        '{ ASPNETCORE_TOKEN = "geheim" }',
        "since the token is new at every start and never configured",
    ),
    ("environment", '{ AspNetCore_Token = "geheim" }', "is new at every start and never configured"),
    ("environment", '{ PORTICO_SOCKET = "geheim" }', "which Portico keeps for itself"),
    ("environment", '{ PORT = "1" }', "the key `port` instead"),
    ("environment", '{ ASPNETCORE_PORT = "1" }', "the key `port` instead"),
    ("environment", '{ HTTP_PLATFORM_PORT = "1" }', "the key `port` instead"),
    ("environment", '{ ASPNETCORE_APPL_PATH = "/" }', "the key `path` instead"),
    ("environment", '{ HOST = "0.0.0.0" }', "is set by Portico at every start"),
    ("environment_file", "7", "a path"),
    ("transport", '"pipe"', "one of port, unix, fd"),
    ("port", "65536", "a whole number from 0 to 65535"),
    ("port", "8080", "which [front] listen has already"),
    ("processes", "101", "a whole number from 1 to 100"),
    ("start", '"lazy"', "one of on-request, eager"),
    (
        "startup_time_limit",
        "3601",
        "read 3601; expected a duration from 0 to 3600 seconds, for example startup_t",
    ),
    ("shutdown_time_limit", "601", "a duration from 0 to 600 seconds"),
    ("request_timeout", "1296001", "a duration from 0 to 1296000 seconds"),
    ("rapid_fails_per_minute", "101", "a whole number from 0 to 100"),
    ("queue_timeout", '"long"', "a duration"),
    ("ready", '"healthz"', '"listen", or an absolute path'),
    ("tunnel_idle_timeout", "-5", "tunnel_idle_timeout"),
    ("require_pairing", '"yes"', 'read "yes"; expected true or false'),
    ("stdout_log", '"logs/{pid}"', "where only {app} is filled in"),
    ("stdout_log_max_bytes", "-5", "a size"),
    ("stdout_log_keep", "0", "from 1 to"),
    ("startup_error_page", "1", "true or false"),
    ("shim", '"on"', "one of auto, off"),
    ("recycle_after", "{ days = 10 }", "a table with requests, age or memory"),
    ("comand", '"x"', "perhaps command"),
]


@pytest.mark.parametrize(("key", "written", "phrase"), FRONT_ERRORS)
def test_front(tmp_path: Path, key: str, written: str, phrase: str) -> None:
    error = error_of(tmp_path, f'[front]\n{key} = {written}\n\n[apps.shop]\ncommand = "x"\n')
    assert error.key == f"front.{key}"
    assert error.line == 2
    assert phrase in error.sentence
    assert error.sentence.startswith(f"{tmp_path}/portico.toml:2: front.{key}: read ")
    assert "\n" not in error.sentence


@pytest.mark.parametrize(("key", "written", "phrase"), APP_ERRORS)
def test_app(tmp_path: Path, key: str, written: str, phrase: str) -> None:
    command = "" if key == "command" else 'command = "x"\n'
    error = error_of(tmp_path, f"[apps.shop]\n{key} = {written}\n{command}")
    assert error.key == f"apps.shop.{key}"
    assert error.line == 2
    assert phrase in error.sentence
    assert "geheim" not in error.sentence
    assert "\n" not in error.sentence


WHOLE = [
    ("", "apps", 0, "read no app; expected at least one table [apps.NAME]"),
    ("[front]\n[apps]\n", "apps", 2, "no app"),
    ("apps = 5\n[front]\n", "apps", 1, "a table"),
    ("[apps]\nshop = 5\n", "apps.shop", 2, "read 5; expected a table"),
    ('[apps.shop]\ncommand = "x"\n[text]\n', "text", 3, "read an unknown table; expected one of the tables [front]"),
    ('[apps.shop]\ncommand = "x"\n[tls]\n', "tls", 3, "read an unknown table; expected [front.tls]"),
    ('[apps.shop]\ncommand = "x"\n[[modules]]\n', "modules", 3, "expected [[front.modules]]"),
    ('listen = []\n[apps.shop]\ncommand = "x"\n', "listen", 1, "read an unknown key; expected it in [front]"),
    ('[apps.shop]\ncommand = "x"\ntrusted_proxies = []\n', "apps.shop.trusted_proxies", 3, "expected it in [front]"),
    ('front = 5\n[apps.shop]\ncommand = "x"\n', "front", 1, "read 5; expected a table"),
    ('port = 5\n[apps.shop]\ncommand = "x"\n', "port", 1, "read an unknown key"),
    ('[front.tls]\n[apps.shop]\ncommand = "x"\n', "front.tls.certificate", 1, "read nothing; expected the path of"),
    ("[apps.shop]\n", "apps.shop.command", 1, "read nothing; expected a command"),
    ('[apps."a b"]\ncommand = "x"\n', 'apps."a b"', 1, "letters, digits, - and _"),
    ('[apps.all]\ncommand = "x"\n', "apps.all", 1, "and not all"),
    ('[apps.portico-front]\ncommand = "x"\n', "apps.portico-front", 1, "not beginning with portico-"),
    ('[apps.shop]\ncommand = "x"\nport = 7000\noverlap = true\n', "apps.shop.overlap", 4, "since port = 7000 is one"),
    (
        '[apps.a]\ncommand = "x"\npath = "/s"\n[apps.b]\ncommand = "x"\npath = "/s/"\n',
        "apps.b.path", 6, "all methods of /s on any host, which a answers already",
    ),
    (
        '[apps.a]\ncommand = "x"\nhosts = ["h", "i"]\nmethods = ["GET", "PUT"]\n'
        '[apps.b]\ncommand = "x"\nhosts = ["I"]\nmethods = ["PUT"]\n',
        "apps.b.path", 5, "PUT of / on i, which a answers already",
    ),
    (
        '[apps.a]\ncommand = "x"\nport = 7000\n[apps.b]\ncommand = "x"\npath = "/b"\nport = 7000\n',
        "apps.b.port", 7, "read 7000, which a has already; expected a port of its own",
    ),
    (
        '[apps.a]\ncommand = "x"\ntransport = "unix"\nport = 7000\n',
        "apps.a.port", 4, 'read 7000; expected no port, since transport = "unix"',
    ),
    (
        '[apps.a]\ntransport = "fd"\ncommand = "x --bind {host}"\n',
        "apps.a.command", 3, 'read {host}; expected {fd}, since transport = "fd", for example transport = "port"',
    ),
    (
        '[apps.a]\ncommand = "x {fd}"\ntransport = "unix"\n',
        "apps.a.command", 2, 'read {fd}; expected {socket}, since transport = "unix"',
    ),
    ("[front\n", "", 1, "no TOML"),
    ("[front]\nworkers = 1\nworkers = 2\n", "", 3, "no TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "line", "phrase"), WHOLE)
def test_the_whole_file(tmp_path: Path, text: str, key: str, line: int, phrase: str) -> None:
    error = error_of(tmp_path, text)
    assert (error.key, error.line) == (key, line)
    assert phrase in error.sentence


def test_a_typed_command_has_the_placeholders_of_its_transport(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"COMMAND: read \{socket\}; expected \{port\} or \{host\}"):
        settings_for_command(["serve", "{socket}"], tmp_path, {})


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    error = error_of(tmp_path, b"[front]\n# caf\xe9\n")
    assert error.line == 2
    assert "not UTF-8" in error.sentence


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"read nothing \(No such file or directory\)"):
        load_settings(tmp_path / "portico.toml", {})


def test_a_web_config_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "web.config").write_text("<configuration/>")
    with pytest.raises(InvalidSettings, match="neither of its sections"):
        load_settings(tmp_path / "web.config", {})


def test_all_errors_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = '[apps.shop]\nport = -1\ncomand = "x"\n\n[front]\nworkers = 0\n'
    errors = errors_of(tmp_path, text)
    assert [(error.line, error.key) for error in errors] == [
        (1, "apps.shop.command"),
        (2, "apps.shop.port"),
        (3, "apps.shop.comand"),
        (6, "front.workers"),
    ]


def test_lines_are_found_in_dotted_and_inline_tables_and_not_inside_strings(tmp_path: Path) -> None:
    text = '[apps]\nshop.command = """\nport = 1"""\nshop."port" = -1\nother = { command = "x", port = -1 }\n'
    errors = errors_of(tmp_path, text)
    assert [(error.line, error.key) for error in errors] == [(4, "apps.shop.port"), (5, "apps.other.port")]


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    error = error_of(tmp_path, f'[front]\nworkers = "{"9x" * 500}"\n[apps.shop]\ncommand = "x"\n')
    assert len(error.sentence) < 300 + len(str(tmp_path))


def test_a_value_from_the_environment_is_not_shown(tmp_path: Path) -> None:
    error = error_of(tmp_path, '[front]\nworkers = "${NAME}"\n[apps.shop]\ncommand = "x"\n')
    assert 'read "${NAME}"' in error.sentence
    assert '"value"' not in error.sentence


def test_the_listen_option(tmp_path: Path) -> None:
    error = error_of(tmp_path, '[apps.shop]\ncommand = "x"\n', listen=("127.0.0.1",))
    assert error.key == "--listen"
    assert "an address such as http://HOST:PORT" in error.sentence


@pytest.mark.parametrize(
    ("argv", "phrase"), [([], "read nothing; expected a command"), (["x", "{a}"], 'read "{a}" in "{a}"')]
)
def test_a_command_that_cannot_be(argv: list[str], phrase: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings_for_command(argv, Path("/srv/shop"), {})
    (error,) = caught.value.errors
    assert error.key == "COMMAND"
    assert phrase in error.sentence
