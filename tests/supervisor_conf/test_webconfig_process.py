"""What a web.config says of the process: the command, its log, its environment and what ANCM itself takes from that."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.webconfig_table import SET_AT_EVERY_START
from tests.kit.webconfig_readings import (
    ENVIRON,
    error_of,
    good,
    read,
    section,
    variables,
    warnings_of,
)

# ------------------------------------------------------------------------------------------------------------
# The command and the log


@pytest.mark.parametrize(
    ("attributes", "command"),
    [
        ({"processPath": "dotnet", "arguments": ".\\shop.dll"}, ("dotnet", "./shop.dll")),
        ({"processPath": "dotnet.exe", "arguments": "./shop.dll"}, ("dotnet", "./shop.dll")),
        ({"processPath": "%JAVA_HOME%\\bin\\java"}, ("/opt/java/bin/java",)),
        ({"processPath": "&quot;.\\my app&quot;"}, ("./my app",)),
        ({"processPath": ".\\my app"}, ("./my app",)),
        ({"processPath": ".\\{x}", "arguments": "{port} }{"}, ("./{{x}}", "{{port}}", "}}{{")),
        ({"arguments": "-p %HTTP_PLATFORM_PORT%"}, ("serve", "-p", "{port}")),
        ({"arguments": "-p &quot;%aspnetcore_port%&quot;"}, ("serve", "-p", "{port}")),
        ({"arguments": "  "}, ("serve",)),
        ({"arguments": "%MISSING% ${HOME} $$"}, ("serve", "%MISSING%", "${{HOME}}", "$$")),
    ],
)
def test_commands(attributes: dict[str, str], command: tuple[str, ...]) -> None:
    assert good(section(**attributes)).app["command"] == command


def test_a_variable_with_spaces_is_several_words() -> None:
    assert good(section(arguments="%ARGS%"), {"ARGS": 'exec "a b"'}).app["command"] == (
        "serve",
        "exec",
        "a b",
    )


def test_a_program_in_the_folder_goes_before_the_path(tmp_path: Path) -> None:
    program = tmp_path / "serve"
    program.touch()
    file = tmp_path / "web.config"
    assert read(section(), file=file).app["command"] == ("serve",)
    program.chmod(0o755)
    assert read(section(), file=file).app["command"] == ("./serve",)
    (tmp_path / "serve.exe").touch(0o755)
    assert read(section(processPath="serve.exe"), file=file).app["command"] == ("./serve.exe",)


@pytest.mark.parametrize(
    ("file", "log"),
    [
        (".\\logs\\stdout", "/srv/shop/logs/stdout"),
        ("logs/stdout", "/srv/shop/logs/stdout"),
        ("..\\stdout", "/srv/stdout"),
        ("/var/log/{app}", "/var/log/{app}"),
        ("\\\\?\\%home%\\LogFiles\\stdout", "/home/shop/LogFiles/stdout"),
        ("-", "/srv/shop/-"),
        ("", "/srv/shop/aspnetcore-stdout"),
    ],
)
def test_the_log_is_a_path_of_this_machine(file: str, log: str) -> None:
    assert good(section(stdoutLogEnabled="true", stdoutLogFile=file)).app["stdout_log"] == log
    assert good(section(stdoutLogEnabled="false", stdoutLogFile=file)).app["stdout_log"] == ""
    assert good(section(stdoutLogFile=file)).app["stdout_log"] == ""


def test_a_log_that_cannot_be_there_keeps_nobody_from_starting() -> None:
    content = section(stdoutLogEnabled="true", stdoutLogFile="Q:\\stdout")
    assert good(content).app["stdout_log"] == ""
    assert "the app runs without a log" in warnings_of(content)[0]


# ------------------------------------------------------------------------------------------------------------
# Environment


def test_the_last_of_a_name_counts_whatever_its_case() -> None:
    found = good(section(variables(("A", "1"), ("b", "2"), ("a", "3"))))
    assert found.app["environment"] == (("b", "2"), ("a", "3"))
    assert "the last one counts" in found.warnings[0].error.sentence


def test_an_inherited_name_keeps_its_spelling() -> None:
    assert good(section(variables(("path", "/opt")))).app["environment"] == (("PATH", "/opt"),)


def test_values_expand_and_may_be_empty_and_long() -> None:
    long = "x" * 5000
    found = good(section(variables(("EMPTY", ""), ("LONG", long), ("X", "%username% &amp; %MISSING%"))))
    assert dict(found.app["environment"]) == {"EMPTY": "", "LONG": long, "X": "ann & %MISSING%"}
    assert "MISSING to be set" in found.warnings[0].error.sentence


@pytest.mark.parametrize("preference", ["1", "true", "TRUE"])
def test_the_environment_may_be_preferred(preference: str) -> None:
    environ = ENVIRON | {"ANCM_PREFER_ENVIRONMENT_VARIABLES": preference}
    found = good(section(variables(("HOME", "/other"), ("NEW", "1"))), environ)
    assert found.app["environment"] == (("NEW", "1"),)
    assert "ANCM_PREFER_ENVIRONMENT_VARIABLES is set" in found.warnings[0].error.sentence


def test_otherwise_the_file_is_preferred() -> None:
    environ = ENVIRON | {"ANCM_PREFER_ENVIRONMENT_VARIABLES": "0"}
    assert good(section(variables(("HOME", "/other"))), environ).app["environment"] == (("HOME", "/other"),)


@pytest.mark.parametrize("name", ["ASPNETCORE_PORT", "aspnetcore_port", "HTTP_PLATFORM_PORT"])
@pytest.mark.parametrize("text", ["1", "1024", "48001", "65535"])
def test_a_configured_port_is_honoured(name: str, text: str) -> None:
    found = good(section(variables((name, text))))
    assert (found.app["port"], found.app["overlap"], found.app["environment"]) == (int(text), False, ())


@pytest.mark.parametrize("text", ["", " ", "%HTTP_PLATFORM_PORT%"])
def test_an_empty_port_is_a_fresh_one(text: str) -> None:
    found = good(section(variables(("ASPNETCORE_PORT", text))))
    assert "port" not in found.app
    assert "overlap" not in found.app


@pytest.mark.parametrize("text", ["0", "65536", "noninteger", "-1", "80 81"])
def test_a_wrong_port_is_refused(text: str) -> None:
    assert "a whole number from 1 to 65535" in error_of(section(variables(("ASPNETCORE_PORT", text))))


@pytest.mark.parametrize("name", ["ASPNETCORE_TOKEN", "AspNetCore_Token"])
@pytest.mark.parametrize("value", ["", "f2b7a9d0"])
def test_a_configured_token_is_refused_and_says_why(name: str, value: str) -> None:
    sentence = error_of(section(variables((name, value))))
    assert "the token is new at every start and never configured" in sentence
    assert "f2b7a9d0" not in sentence


@pytest.mark.parametrize("name", [*sorted(SET_AT_EVERY_START), "PORTICO_NONCE", "portico_pid"])
def test_what_is_set_at_every_start_has_no_effect_and_is_named(name: str) -> None:
    found = good(section(variables((name, "mine"))))
    assert found.app["environment"] == ()
    assert f"no {name}, since Portico sets it at every start" in found.warnings[0].error.sentence


@given(st.sampled_from(["A", "ASPNETCORE_TOKEN", "PORT", "a b", "PATH", "ASPNETCORE_IIS_HTTPAUTH"]))
def test_no_message_and_no_repr_shows_a_value(name: str) -> None:
    found = read(section(variables((name, "s3cr3t"), (name, "s3cr3t"))))
    told = [error.sentence for error in found.errors] + [one.error.sentence for one in found.warnings]
    assert "s3cr3t" not in "".join([*told, repr(found)])


# ------------------------------------------------------------------------------------------------------------
# Variables of ANCM itself


def test_a_launcher_goes_before_what_the_file_says() -> None:
    environ = ENVIRON | {"ANCM_LAUNCHER_PATH": "./debug", "ancm_launcher_args": ".\\x --wait"}
    found = good(section(processPath="dotnet", arguments="shop.dll"), environ)
    assert found.app["command"] == ("./debug", "./x", "--wait")
    told = [one.error.sentence for one in found.warnings]
    assert 'read "dotnet"; expected ANCM_LAUNCHER_PATH of the environment, which goes before it' in told[0]
    assert "--wait" not in "".join(told)
    assert read(section(processPath=""), environ).app["command"][0] == "./debug"


def test_one_half_of_a_launcher_leaves_the_other_as_it_is() -> None:
    found = good(section(processPath="dotnet", arguments="a b"), {"ANCM_LAUNCHER_PATH": "./debug"})
    assert found.app["command"] == ("./debug", "a", "b")
    found = good(section(processPath="dotnet"), {"ANCM_LAUNCHER_ARGS": "c", "ANCM_LAUNCHER_PATH": ""})
    assert found.app["command"] == ("dotnet", "c")


def test_the_predecessor_has_no_launcher() -> None:
    found = good(section(name="httpPlatform", processPath="java"), {"ANCM_LAUNCHER_PATH": "./debug"})
    assert found.app["command"] == ("java",)


def test_the_link_on_the_page_of_a_failed_start() -> None:
    name, link = "ANCM_ADDITIONAL_ERROR_PAGE_LINK", "https://wiki.example/shop?a=1&b=2"
    assert good(section(), {name: link}).app["startup_error_link"] == link
    assert "startup_error_link" not in good(section(), {name: ""}).app
    (warning,) = warnings_of(section(), {name: "javascript:alert(1)"})
    assert f'{name}: read "javascript:alert(1)"; expected an http or https URL' in warning
