"""A web.config becomes Settings: the corpus with its golden readings, and what needs a folder of its own.

Golden files are written anew by `python -m tests.supervisor_conf.test_webconfig`; read their difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.check import check_machine
from supervisor_conf.conffile import render_supervisord_conf
from supervisor_conf.module_settings import ModuleSettings
from supervisor_conf.module_table import SHIPPED
from supervisor_conf.setting_kinds import Place
from supervisor_conf.setting_table import APP
from supervisor_conf.settings import (
    InvalidSettings,
    Settings,
    SettingsError,
    find_run_directory,
    from_json,
    load_settings,
    settings_for_command,
    to_json,
    without_secrets,
)
from supervisor_conf.webconfig import WebConfig, read_web_config
from supervisor_conf.webconfig_table import ATTRIBUTES, HANDLER_SETTINGS, KNOWN, SET_AT_EVERY_START
from supervisor_conf.webconfig_xml import LARGEST

CORPUS = Path(__file__).resolve().parents[1] / "corpus-webconfig"
CASES = sorted(CORPUS.glob("*.config"))
ENVIRON = {"HOME": "/home/shop", "PATH": "/usr/bin", "JAVA_HOME": "/opt/java", "USERNAME": "ann"}
FILE = Path("/srv/shop/web.config")


def golden(path: Path) -> Path:
    return path.with_suffix(".json")


def reading(content: bytes) -> dict[str, Any]:
    """All that a file says, in JSON's types; the errors alone where there are some."""
    found = read_web_config(content, FILE, ENVIRON)
    errors = [error.sentence.removeprefix(f"{FILE}") for error in found.errors]
    warnings = [warning.error.sentence.removeprefix(f"{FILE}") for warning in found.warnings]
    if errors:
        return {"errors": errors, "warnings": warnings}
    front = {name: value for name, value in found.front.items() if name != "reload_on_change"}
    whole = json.dumps({"app": dict(found.app), "front": front}, default=said_of_module)
    made: dict[str, Any] = json.loads(whole)
    return {"name": found.name, **made, "warnings": warnings}


def said_of_module(module: ModuleSettings) -> dict[str, Any]:
    """Options that are not what the module has by itself."""
    defaults = {key.name: key.kind.convert(key.default, Place(FILE.parent)) for key in SHIPPED[module.use]}
    plain = json.loads(json.dumps(defaults))
    said = {name: value for name, value in module.values().items() if value != plain[name]}
    return {"use": module.use, **said}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_corpus_is_read_as_its_golden_files_say(path: Path) -> None:
    assert reading(path.read_bytes()) == json.loads(golden(path).read_text())


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_bad_files_are_refused_and_others_are_not(path: Path) -> None:
    assert ("errors" in json.loads(golden(path).read_text())) == path.stem.startswith("bad-")


# ------------------------------------------------------------------------------------------------------------
# Attributes


def section(inside: str = "", name: str = "aspNetCore", **attributes: str) -> bytes:
    """A file with one section; `processPath` is «serve» if it is not given."""
    words = " ".join(f'{key}="{value}"' for key, value in ({"processPath": "serve"} | attributes).items())
    text = f"<configuration><system.webServer>\n<{name} {words}>{inside}</{name}>\n</system.webServer></configuration>"
    return text.encode()


def variables(*pairs: tuple[str, str]) -> str:
    entries = "".join(f'<environmentVariable name="{name}" value="{value}" />' for name, value in pairs)
    return f"<environmentVariables>{entries}</environmentVariables>"


def read(content: bytes, environ: dict[str, str] | None = None, file: Path = FILE) -> WebConfig:
    return read_web_config(content, file, ENVIRON if environ is None else environ)


def good(content: bytes, environ: dict[str, str] | None = None) -> WebConfig:
    found = read(content, environ)
    assert not found.errors, [error.sentence for error in found.errors]
    return found


def error_of(content: bytes, environ: dict[str, str] | None = None) -> str:
    found = read(content, environ)
    assert len(found.errors) == 1, [error.sentence for error in found.errors]
    return found.errors[0].sentence


def warnings_of(content: bytes, environ: dict[str, str] | None = None) -> list[str]:
    return [warning.error.sentence for warning in good(content, environ).warnings]


# attribute, text, key, value; what is refused
KEYS = [
    ("startupTimeLimit", "0", "startup_time_limit", 0.0),
    ("startupTimeLimit", "3600", "startup_time_limit", 3600.0),
    ("shutdownTimeLimit", "0", "shutdown_time_limit", 0.0),
    ("shutdownTimeLimit", "600", "shutdown_time_limit", 600.0),
    ("rapidFailsPerMinute", "0", "rapid_fails_per_minute", 0),
    ("rapidFailsPerMinute", "100", "rapid_fails_per_minute", 100),
    ("requestTimeout", "00:00:00", "request_timeout", 0.0),
    ("requestTimeout", "00:02:30", "request_timeout", 150.0),
    ("requestTimeout", "1:2:3", "request_timeout", 3723.0),
    ("requestTimeout", "23:59:59", "request_timeout", 86399.0),
    ("requestTimeout", "1.00:00:00", "request_timeout", 86400.0),
    ("requestTimeout", "360:00:00", "request_timeout", 1296000.0),
    ("processesPerApplication", "1", "processes", 1),
    ("processesPerApplication", "100", "processes", 100),
    ("disableStartUpErrorPage", "true", "startup_error_page", False),
    ("disableStartUpErrorPage", "False", "startup_error_page", True),
]
REFUSED = [
    ("startupTimeLimit", ("3601", "-1", "", "1.5", "90s", "0x10", "99999999999999999999", "١٢")),
    ("shutdownTimeLimit", ("601", "x")),
    ("rapidFailsPerMinute", ("101", "-1")),
    ("requestTimeout", ("360:00:01", "00:60:00", "00:00:60", "120", "00:02", "-00:00:01", "", "00:00:01.5")),
    ("processesPerApplication", ("0", "101")),
    ("disableStartUpErrorPage", ("yes", "1", "")),
    ("stdoutLogEnabled", ("on",)),
    ("forwardWindowsAuthToken", ("no",)),
    ("hostingModel", ("outOfProc", "in process")),
    ("processPath", ("", " ", "C:\\\\dotnet.exe", "\\\\\\\\server\\\\x", "%MISSING%\\\\x")),
]


@pytest.mark.parametrize(("attribute", "text", "key", "value"), KEYS)
def test_an_attribute_is_a_key(attribute: str, text: str, key: str, value: object) -> None:
    found = good(section(**{attribute: text}))
    assert (found.app[key], found.warnings) == (value, ())
    assert found.places[key].path.endswith(f"aspNetCore/@{attribute}")


@pytest.mark.parametrize(("attribute", "text"), [(name, text) for name, texts in REFUSED for text in texts])
def test_a_value_out_of_range_is_refused_with_its_place(attribute: str, text: str) -> None:
    sentence = error_of(section(**{attribute: text}))
    assert sentence.startswith(
        f"/srv/shop/web.config:2: configuration/system.webServer/aspNetCore/@{attribute}: "
    )
    assert "; expected " in sentence


@pytest.mark.parametrize("text", ["360:00:01", "15.00:00:01", "00:60:00"])
def test_a_time_span_is_told_in_its_own_form(text: str) -> None:
    assert "expected hours:minutes:seconds from 00:00:00 to 360:00:00" in error_of(
        section(requestTimeout=text)
    )


def test_every_attribute_of_the_schema_is_tested() -> None:
    apart = {"processPath", "arguments", "stdoutLogEnabled", "stdoutLogFile", "forwardWindowsAuthToken"}
    apart |= {"hostingModel", "startupRetryCount"}
    tested = {attribute for attribute, *_ in KEYS}
    assert tested == {one.name for one in ATTRIBUTES}
    assert tested | apart == set(KNOWN["aspNetCore"]) | set(KNOWN["httpPlatform"])


def test_defaults_are_those_of_the_table() -> None:
    found = good(section())
    assert set(found.app) == {
        "command", "stdout_log", "environment", "environment_with_port", "path", "methods"
    }  # fmt: skip
    assert dict(found.front) == {"reload_on_change": True}
    assert found.app["command"] == ("serve",)
    assert found.app["stdout_log"] == ""


@pytest.mark.parametrize("model", ["inprocess", "InProcess", "INPROCESS"])
def test_in_process_runs_out_of_process_and_says_so(model: str) -> None:
    (warning, *_) = warnings_of(section(hostingModel=model))
    assert "@hostingModel" in warning
    assert "run out of process" in warning


@pytest.mark.parametrize("model", ["outofprocess", "OutOfProcess", ""])
def test_out_of_process_needs_no_word(model: str) -> None:
    assert not [warning for warning in warnings_of(section(hostingModel=model)) if "hostingModel" in warning]


def test_windows_tokens_are_not_forwarded_and_that_is_said() -> None:
    assert "no Windows tokens" in warnings_of(section(forwardWindowsAuthToken="true"))[0]
    assert not [one for one in warnings_of(section(forwardWindowsAuthToken="false")) if "Windows" in one]


def test_the_retries_of_the_predecessor() -> None:
    assert "a start is tried twice" in error_of(section(startupRetryCount="2"))
    assert (
        "how often a start is tried" in warnings_of(section(name="httpPlatform", startupRetryCount="10"))[0]
    )
    assert "from 0 to 100" in error_of(section(name="httpPlatform", startupRetryCount="101"))


@pytest.mark.parametrize("name", ["shutdownTimeLimit", "disableStartUpErrorPage", "hostingModel"])
def test_what_the_schema_of_the_predecessor_lacks(name: str) -> None:
    assert "an unknown attribute" in error_of(section(name="httpPlatform", **{name: "1"}))


def handler_setting(name: str, value: str) -> str:
    return f'<handlerSettings><handlerSetting name="{name}" value="{value}" /></handlerSettings>'


@pytest.mark.parametrize("name", sorted(HANDLER_SETTINGS))
def test_each_handler_setting_is_named(name: str) -> None:
    inside = handler_setting(name, "1")
    assert f'read the setting "{name}"; expected nothing here, since' in warnings_of(section(inside))[0]


@pytest.mark.parametrize("value", ["-1", "soon", ""])
def test_a_shutdown_delay_is_not_negative(value: str) -> None:
    assert "a whole number of milliseconds" in error_of(section(handler_setting("shutdownDelay", value)))


@pytest.mark.parametrize(("value", "reloads"), [("true", False), ("False", True)])
def test_whether_a_changed_file_is_applied(value: str, reloads: bool) -> None:
    found = good(section(handler_setting("disallowRotationOnConfigChange", value)))
    assert (found.front["reload_on_change"], found.warnings) == (reloads, ())
    assert good(section()).front["reload_on_change"] is True
    assert "true or false" in error_of(section(handler_setting("disallowRotationOnConfigChange", "1")))


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


# ------------------------------------------------------------------------------------------------------------
# Handlers and limits


def with_handlers(*adds: str) -> bytes:
    inside = f"<handlers>{''.join(adds)}</handlers></system.webServer>"
    return section().replace(b"</system.webServer>", inside.encode(), 1)


def handler(path: str = "*", verb: str = "*", name: str = "a", modules: str = "AspNetCoreModuleV2") -> str:
    return f'<add name="{name}" path="{path}" verb="{verb}" modules="{modules}" />'


@pytest.mark.parametrize(
    ("adds", "path", "methods", "warned"),
    [
        ((handler(),), "/", (), False),
        ((handler(verb="GET"),), "/", ("GET",), False),
        ((handler(verb="GET, HEAD,PROPFIND"),), "/", ("GET", "HEAD", "PROPFIND"), False),
        ((handler(verb="GET,*"),), "/", (), False),
        ((handler("api/*"),), "/api", (), True),
        ((handler("/api/v1/*"),), "/api/v1", (), True),
        ((handler("*.aspx"),), "/", (), True),
        ((handler("shell.me"),), "/", (), True),
        ((handler(modules="aspnetcoremodule"),), "/", (), False),
        ((handler(modules="StaticFileModule"),), "/", (), True),
        ((handler(verb="GET"), '<remove name="a" />', handler(verb="PUT")), "/", ("PUT",), False),
        ((handler(verb="GET"), "<clear />", handler(verb="PUT")), "/", ("PUT",), False),
        ((handler("a/*", name="x"), handler("b/*", name="y")), "/", (), True),
        ((handler("a/*", "GET", "x"), handler("a/*", "PUT", "y")), "/a", ("GET", "PUT"), True),
        (('<remove name="inherited" />', handler()), "/", (), False),
        ((), "/", (), True),
    ],
)
def test_handlers(adds: tuple[str, ...], path: str, methods: tuple[str, ...], warned: bool) -> None:
    found = good(with_handlers(*adds))
    assert (found.app["path"], found.app["methods"]) == (path, methods)
    assert any("handlers" in one.key for one in found.warnings) == warned


@pytest.mark.parametrize(
    ("add", "phrase"),
    [
        (handler(verb="get"), "GET, since methods are case-sensitive"),
        (handler(verb=""), "a list of request methods"),
        (handler("a b/*"), "a path of a URL"),
        ('<add name="a" path="*" modules="AspNetCoreModuleV2" />', "a verb"),
        (handler().replace("verb", "verbs"), "perhaps verb"),
        ("<added />", "add, remove or clear"),
    ],
)
def test_wrong_handlers(add: str, phrase: str) -> None:
    assert any(phrase in error.sentence for error in read(with_handlers(add)).errors)


def with_initialization(inside: str) -> bytes:
    text = f"<applicationInitialization{inside}</applicationInitialization></system.webServer>"
    return section().replace(b"</system.webServer>", text.encode(), 1)


def test_pages_of_the_initialization_are_asked_before_visitors() -> None:
    adds = '<add initializationPage="/warm?x=1" /><add initializationPage="cold" />'
    found = good(with_initialization(f">{adds}"))
    assert found.app["warm_up"] == ("/warm?x=1", "/cold")
    assert "start" not in found.app
    assert found.warnings[1:] == ()  # the first is about the missing handler


def test_an_initialization_after_restart_waits_for_nobody() -> None:
    found = good(
        with_initialization(' doAppInitAfterRestart="TRUE"><add initializationPage="/a" /><clear />')
    )
    assert found.app["start"] == "eager"
    assert "warm_up" not in found.app
    adds = '<add initializationPage="/a" /><remove initializationPage="/a" />'
    assert "start" not in good(with_initialization(f' doAppInitAfterRestart="false">{adds}')).app


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        (' skipManagedModules="true">', '"true"'),
        (' remapManagedRequestsTo="wait.htm">', '"wait.htm"'),
        ('><add initializationPage="/a" hostName="shop.example" />', '"shop.example"'),
    ],
)
def test_what_an_initialization_says_besides_is_named(inside: str, named: str) -> None:
    assert any(
        f"read {named}; expected nothing here" in one for one in warnings_of(with_initialization(inside))
    )


@pytest.mark.parametrize(
    ("inside", "phrase"),
    [
        (' doAppInitAfterRestart="yes">', "true or false"),
        (' doAppInitAfterRestarts="true">', "perhaps doAppInitAfterRestart"),
        ("><add />", "an initializationPage"),
        ('><add initializationPage="/a b" />', "a path of a URL"),
        ('><add initializationPage="/../a" />', "a path of a URL"),
        ("><page />", "add, remove or clear"),
    ],
)
def test_a_wrong_initialization(inside: str, phrase: str) -> None:
    assert any(phrase in error.sentence for error in read(with_initialization(inside)).errors)


def limits(attributes: str) -> bytes:
    inside = f"<security><requestFiltering><requestLimits {attributes} /></requestFiltering></security>"
    return section().replace(b"</system.webServer>", f"{inside}</system.webServer>".encode(), 1)


def test_the_longest_body() -> None:
    assert good(limits('maxAllowedContentLength="4294967295"')).front["max_request_body"] == 4294967295
    for text in ("4294967296", "0", "-1", "10MiB"):
        assert "requestLimits/@maxAllowedContentLength" in error_of(
            limits(f'maxAllowedContentLength="{text}"')
        )


# ------------------------------------------------------------------------------------------------------------
# What modules of IIS did


def with_security(inside: str, beside: str = "") -> bytes:
    text = f"<security>{inside}</security>{beside}</system.webServer>"
    return with_handlers(handler()).replace(b"</system.webServer>", text.encode(), 1)


def filtering(inside: str, attributes: str = "") -> bytes:
    return with_security(f"<requestFiltering {attributes}>{inside}</requestFiltering>")


def module_of(content: bytes, use: str = "filtering") -> dict[str, Any]:
    """What the file says to one module, and nothing else."""
    found = good(content)
    assert found.warnings == ()
    (module,) = [said_of_module(one) for one in found.app.get("modules", ()) if one.use == use]
    said = {name: value for name, value in module.items() if name != "use"}
    if use == "filtering":
        if said.get("hidden_segments") == []:
            del said["hidden_segments"]
        if said.pop("double_escaping", False) is False:
            said["double_escaping"] = False
    return said


def add(**attributes: str) -> str:
    return "<add " + " ".join(f'{name}="{value}"' for name, value in attributes.items()) + " />"


def verbs(*pairs: tuple[str, str], unlisted: str = "true") -> str:
    items = "".join(add(verb=verb, allowed=allowed) for verb, allowed in pairs)
    return f'<verbs allowUnlisted="{unlisted}" applyToWebDAV="true">{items}</verbs>'


def extensions(*pairs: tuple[str, str], unlisted: str = "true") -> str:
    items = "".join(add(fileExtension=name, allowed=allowed) for name, allowed in pairs)
    return f'<fileExtensions allowUnlisted="{unlisted}">{items}</fileExtensions>'


OF_IIS = [
    "web.config", "bin", "app_code", "app_globalresources", "app_localresources", "app_webreferences", "app_data",
    "app_browsers",
]  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "options"),
    [
        (verbs(("TRACE", "false"), ("get", "true")), {"denied_methods": ["TRACE"]}),
        (verbs(("GET", "true"), ("head", "TRUE"), unlisted="false"), {"methods": ["GET", "HEAD"]}),
        (verbs(("GET", "true"), ("PUT", "false"), unlisted="false"), {"methods": ["GET"], "denied_methods": ["PUT"]}),
        (extensions((".BAK", "false"), (".html", "true")), {"denied_extensions": [".bak"]}),
        (extensions((".", "true"), (".js", "true"), unlisted="false"), {"extensions": ["", ".js"]}),
        ("<hiddenSegments>" + add(segment="Private") + "</hiddenSegments>", {"hidden_segments": [*OF_IIS, "private"]}),
        ('<hiddenSegments><remove segment="BIN" /></hiddenSegments>', {"hidden_segments": [OF_IIS[0], *OF_IIS[2:]]}),
        ("<hiddenSegments><clear />" + add(segment="x") + "</hiddenSegments>", {"hidden_segments": ["x"]}),
        ('<requestLimits maxUrl="100" maxQueryString="50" />', {"max_path": 100, "max_query": 50}),
        ('<requestLimits maxUrl="4294967295" maxQueryString="1" />', {"max_query": 1}),
        (
            "<requestLimits><headerLimits>" + add(header="Cookie", sizeLimit="100") + "</headerLimits></requestLimits>",
            {"max_fields": {"cookie": 100}},
        ),
    ],
)  # fmt: skip
def test_request_filtering(inside: str, options: dict[str, Any]) -> None:
    assert module_of(filtering(inside)) == options


def test_a_request_filtering_that_says_nothing_asks_for_nothing() -> None:
    for nothing in ("", "<hiddenSegments />", "<verbs />", '<requestLimits maxAllowedContentLength="1" />'):
        assert "modules" not in good(filtering(nothing)).app
    for nothing in (
        'allowDoubleEscaping="true"',
        'removeServerHeader="false"',
        'allowHighBitCharacters="true"',
    ):
        assert "modules" not in good(filtering("", nothing)).app


def test_paths_that_are_escaped_twice() -> None:
    assert module_of(filtering("", 'allowDoubleEscaping="false"')) == {"double_escaping": False}


def test_the_server_field_is_hidden() -> None:
    assert module_of(filtering("", 'removeServerHeader="true"'), "headers")["response"]["remove"] == [
        "Server"
    ]


def custom_headers(adds: str) -> bytes:
    return with_security("", f"<httpProtocol><customHeaders>{adds}</customHeaders></httpProtocol>")


def test_fields_of_every_response() -> None:
    headers = (
        add(name="X-Frame-Options", value="DENY")
        + '<remove name="X-Powered-By" />'
        + add(name="A", value="b c")
    )
    assert module_of(custom_headers(headers), "headers")["response"]["add"] == [
        ["X-Frame-Options", "DENY"],
        ["A", "b c"],
    ]
    assert good(with_security("", '<httpProtocol allowKeepAlive="false" />')).front["keep_alive_timeout"] == 0


def ip_security(*adds: str, unlisted: str = "true") -> bytes:
    return with_security(f'<ipSecurity allowUnlisted="{unlisted}">{"".join(adds)}</ipSecurity>')


@pytest.mark.parametrize(
    ("unlisted", "adds", "options"),
    [
        ("true", [add(ipAddress="10.1.2.3")], {"deny": ["10.1.2.3/32"]}),
        ("true", [add(ipAddress="10.1.2.3", subnetMask="255.0.0.0", allowed="false")], {"deny": ["10.0.0.0/8"]}),
        (
            "true",
            [add(ipAddress="::1"), "<clear />", add(ipAddress="fe80::", subnetMask="10")],
            {"deny": ["fe80::/10"]},
        ),
        ("false", [add(ipAddress="::1", allowed="true")], {"allow": ["::1/128"]}),
        ("false", [], {"deny": ["0.0.0.0/0", "::/0"]}),
        (
            "false",
            [add(ipAddress="10.0.0.0", subnetMask="8", allowed="true"), add(ipAddress="10.0.0.1")],
            {"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1/32"]},
        ),
    ],
)  # fmt: skip
def test_ip_security(unlisted: str, adds: list[str], options: dict[str, Any]) -> None:
    assert module_of(ip_security(*adds, unlisted=unlisted)) == options


def test_dynamic_ip_security() -> None:
    rate = '<denyByRequestRate enabled="{}" maxRequests="50" requestIntervalInMilliseconds="2000" />'
    text = "<dynamicIpSecurity>{}</dynamicIpSecurity>"
    assert module_of(with_security(text.format(rate.format("true")))) == {"rate": 25.0, "burst": 50}
    assert "modules" not in good(with_security(text.format(rate.format("false")))).app


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (filtering(verbs(("GE T", "true"))), "a list of request methods"),
        (filtering(verbs(unlisted="false")), "since nothing would be answered"),
        (filtering("<verbs>" + add(verb="GET") + "</verbs>"), "an allowed"),
        (filtering(extensions(("bak", "false"))), "a list of extensions with their dot"),
        (filtering("<hiddenSegments>" + add(segment="a/b") + "</hiddenSegments>"), "a list of names between slashes"),
        (filtering("<hiddenSegments><ad /></hiddenSegments>"), "add, remove or clear"),
        (filtering('<requestLimits maxUrl="0" />'), "a whole number of characters from 1"),
        (filtering('<requestLimits maxUlr="1" />'), "perhaps maxUrl"),
        (ip_security(add(ipAddress="10.0.0.0.1")), "an IP address"),
        (ip_security(add(domainName="evil.example")), "names are not looked up"),
        (
            ip_security(add(ipAddress="10.0.0.0", subnetMask="8"), add(ipAddress="10.1.1.1", allowed="true")),
            "no exception from 10.0.0.0/8",
        ),
        (
            custom_headers(add(name="A b", value="x")),
            "the name of a header field",
        ),
        (
            custom_headers(add(name="A", value="x&#10;y")),
            "a string without line breaks",
        ),
    ],
)  # fmt: skip
def test_what_no_module_can_do_is_refused(content: bytes, phrase: str) -> None:
    assert any(phrase in error.sentence for error in read(content).errors)


@pytest.mark.parametrize(
    "inside",
    [
        '<authentication><anonymousAuthentication enabled="false" /></authentication>',
        "<authorization>" + add(accessType="Deny", users="?") + "</authorization>",
        "<authorization>" + add(accessType="Allow", roles="admins") + "</authorization>",
        '<authorization><remove users="*" roles="" verbs="" /></authorization>',
        '<access sslFlags="Ssl, SslNegotiateCert, SslRequireCert" />',
    ],
)
def test_what_would_keep_somebody_out_is_never_passed_over(inside: str) -> None:
    assert "here everybody would come in" in error_of(with_security(inside))


@pytest.mark.parametrize(
    "inside",
    [
        '<authentication><anonymousAuthentication enabled="false" /></authentication>',
        "<authorization>" + add(accessType="Deny", users="*") + "</authorization>",
        '<access sslFlags="SslRequireCert" />',
        '<ipSecurity allowUnlisted="false" />',
        "<ipSecurity>" + add(ipAddress="10.0.0.1") + "</ipSecurity>",
        "<ipSecurity>" + add(ipAddress="10.0.0.1", allowed="false") + "</ipSecurity>",
    ],
)
def test_nor_where_only_a_part_of_the_app_is_closed(inside: str) -> None:
    location = f'<location path="admin"><system.webServer><security>{inside}</security></system.webServer></location>'
    content = with_security("").replace(b"</configuration>", location.encode() + b"</configuration>")
    assert "here everybody would come in" in error_of(content)


@pytest.mark.parametrize(
    "inside",
    [
        "<authorization>" + add(accessType="Allow", users="*") + "</authorization>",
        "<ipSecurity>" + add(ipAddress="10.0.0.1", allowed="true") + "</ipSecurity>",
        "<requestFiltering><filteringRules /></requestFiltering>",
    ],
)
def test_a_part_of_the_app_that_is_open_is_named_only(inside: str) -> None:
    location = f'<location path="public"><system.webServer><security>{inside}</security></system.webServer></location>'
    content = with_security("").replace(b"</configuration>", location.encode() + b"</configuration>")
    (told,) = warnings_of(content)
    assert 'the location "public"' in told


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        ('<authentication><anonymousAuthentication enabled="true" /></authentication>', ()),
        ('<authentication><basicAuthentication enabled="false" /></authentication>', ()),
        ('<authentication><basicAuthentication enabled="true" /></authentication>', ("basicAuthentication",)),
        ("<authorization><clear />" + add(accessType="Allow", users="*") + "</authorization>", ()),
        ('<access sslFlags="None" />', ()),
        ('<access sslFlags="Ssl" />', ('"Ssl"',)),
        ("<requestFiltering><filteringRules /></requestFiltering>", ("filteringRules",)),
        ('<requestFiltering allowHighBitCharacters="false" />', ('"false"',)),
        ("<applicationDependencies />", ("applicationDependencies",)),
    ],
)
def test_what_changes_nothing_for_visitors_is_named_at_most(inside: str, named: tuple[str, ...]) -> None:
    told = warnings_of(with_security(inside))
    assert [name for name in named if name in "".join(told)] == list(named)
    assert len(told) == len(named)


# ------------------------------------------------------------------------------------------------------------
# Whole settings


def load(folder: Path, content: bytes = section(), listen: tuple[str, ...] = ()) -> Settings:
    folder.mkdir(exist_ok=True)
    (folder / "web.config").write_bytes(content)
    return load_settings(folder / "web.config", ENVIRON, listen)


def test_settings_are_those_of_a_command_but_for_what_the_file_says(tmp_path: Path) -> None:
    folder = tmp_path / "my shop"
    found = load(folder, section(stdoutLogEnabled="true", startupTimeLimit="7"))
    (app,) = found.apps
    (other,) = settings_for_command(["serve"], folder, ENVIRON).apps
    assert app.name == "my-shop"
    assert (app.directory, app.startup_time_limit) == (folder, 7)
    assert app.stdout_log == str(folder / "aspnetcore-stdout")
    different = {name for name in (key.name for key in APP) if getattr(app, name) != getattr(other, name)}
    assert different == {"startup_time_limit", "stdout_log"}
    assert found.file == folder / "web.config"
    assert found.front.run_directory == folder / "run" == find_run_directory(folder / "web.config", ENVIRON)
    assert [one.url for one in found.front.listen] == ["http://127.0.0.1:8080"]
    assert found.front.reload_on_change is True


def test_the_longest_body_is_the_fronts(tmp_path: Path) -> None:
    assert load(tmp_path, limits('maxAllowedContentLength="12345"')).front.max_request_body == 12345


def test_listen_of_the_command_line(tmp_path: Path) -> None:
    assert [one.port for one in load(tmp_path, listen=("http://127.0.0.1:9000",)).front.listen] == [9000]
    with pytest.raises(InvalidSettings, match="--listen"):
        load(tmp_path, listen=("nowhere",))


def test_settings_go_between_processes_and_to_workers_without_secrets(tmp_path: Path) -> None:
    pairs = (("SECRET", "s3cr3t"), ("WITH_PORT", "%HTTP_PLATFORM_PORT%"))
    found = load(tmp_path, section(variables(*pairs), hostingModel="inprocess"))
    assert found.warnings
    assert from_json(to_json(found)) == found
    assert "s3cr3t" not in repr(found)
    for_workers = to_json(without_secrets(found))
    assert "s3cr3t" not in for_workers
    assert "WITH_PORT" not in for_workers


def test_a_port_that_the_front_has_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(tmp_path, section(variables(("ASPNETCORE_PORT", "8080"))))
    (error,) = caught.value.errors
    assert error.line == 2
    assert error.key.endswith('environmentVariable[@name="ASPNETCORE_PORT"]/@value')
    assert "8080, which [front] listen has already" in error.sentence


def test_errors_and_warnings_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    content = (CORPUS / "bad-values.config").read_bytes()
    with pytest.raises(InvalidSettings) as caught:
        load(tmp_path, content)
    lines = [error.line for error in caught.value.errors]
    assert lines == sorted(lines)
    assert all(error.file == str(tmp_path / "web.config") for error in caught.value.errors)


def test_a_file_that_is_not_there_or_too_long(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        load_settings(tmp_path / "web.config", ENVIRON)
    with pytest.raises(InvalidSettings, match="No such file"):
        find_run_directory(tmp_path / "web.config", ENVIRON)
    with pytest.raises(InvalidSettings, match="at most 250 KiB"):
        load(tmp_path, b" " * (LARGEST + 1))
    endless = tmp_path / "endless.config"
    endless.symlink_to("/dev/zero")
    with pytest.raises(InvalidSettings, match="at most 250 KiB"):
        load_settings(endless, ENVIRON)


def test_the_machine_is_looked_at_with_places_of_the_file(tmp_path: Path) -> None:
    found = load(tmp_path, section(processPath="no-such-program", hostingModel="inprocess"))
    sentences = [str(one) for one in check_machine(found, ENVIRON, addresses=False)]
    assert sentences[0].startswith("warning: ")
    assert "@hostingModel" in sentences[0]
    assert any(":2: configuration/system.webServer/aspNetCore/@processPath: read" in one for one in sentences)
    assert not any("apps." in one or "front." in one for one in sentences)


def test_the_plugin_is_told_the_file(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert f"config = {tmp_path}/web.config" in render_supervisord_conf(found, include=True)


# ------------------------------------------------------------------------------------------------------------
# Any file at all

PROGRAMS = [".\\x", "%HOME%\\x", "dotnet.exe", "a b", "{", "x\\y"]
WORDS = [".\\x", "%X%", "%HTTP_PLATFORM_PORT%", "&quot;a b", "{port}", "C:\\x", "", "a\\b.dll \\&quot;"]
FLAGS, MODELS = ["true", "FALSE"], ["inprocess", "OutOfProcess", ""]
PLAUSIBLE = {
    "processPath": PROGRAMS, "arguments": WORDS, "startupTimeLimit": ["0", "3600"], "shutdownTimeLimit": ["1"],
    "rapidFailsPerMinute": ["5", "10"], "requestTimeout": ["00:01:00", "360:00:00"], "stdoutLogEnabled": FLAGS,
    "stdoutLogFile": [".\\logs\\{x}", "C:\\x", "", "%X%"], "processesPerApplication": ["1", "2"],
    "forwardWindowsAuthToken": FLAGS, "disableStartUpErrorPage": FLAGS, "hostingModel": MODELS,
    "startupRetryCount": ["2", "3"], "maxAllowedContentLength": ["1", "4294967295"], "maxUrl": ["1"],
    "name": ["A", "a", "PORT", "Path", "ASPNETCORE_PORT", "ASPNETCORE_IIS_HTTPAUTH", "PORTICO_X"],
    "value": ["", "1", "5000", "%HOME%\\x", "{%HTTP_PLATFORM_PORT%}", "%X%"], "lockItem": ["true"],
    "path": ["*", "a/*", "*.x", "."], "verb": ["*", "GET", "GET,PUT"], "modules": ["AspNetCoreModuleV2", "x"],
    "inheritInChildApplications": FLAGS, "doAppInitAfterRestart": FLAGS, "resourceType": ["Unspecified", "File"],
}  # fmt: skip
PAIR = ("name", "value")
BELONGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # what must be there, what may be
    "aspNetCore": (("processPath",), (*KNOWN["aspNetCore"], "lockItem")),
    "httpPlatform": (("processPath",), KNOWN["httpPlatform"]),
    "environmentVariable": (PAIR, ()),
    "handlerSetting": (PAIR, ()),
    "file": (("path",), ()),
    "add": (("name", "path", "verb"), ("modules", "resourceType")),
    "remove": (("name",), ()),
    "requestLimits": ((), ("maxAllowedContentLength", "maxUrl")),
    "applicationInitialization": ((), ("doAppInitAfterRestart",)),
    "location": ((), ("path", "inheritInChildApplications")),
}
OF_A_SECTION = ("environmentVariables", "handlerSettings", "recycleOnFileChange")
BELOW: dict[str, tuple[str, ...]] = {
    "configuration": ("system.webServer", "location"),
    "location": ("system.webServer",),
    "system.webServer": (
        "handlers",
        "security",
        "applicationInitialization",
        "httpProtocol",
        "rewrite",
    ),  # and the section of the file
    "aspNetCore": OF_A_SECTION,
    "httpPlatform": OF_A_SECTION,
    "environmentVariables": ("environmentVariable", "clear"),
    "handlerSettings": ("handlerSetting", "clear"),
    "recycleOnFileChange": ("file",),
    "handlers": ("add", "remove", "clear"),
    "security": ("requestFiltering", "ipSecurity", "authorization"),
    "requestFiltering": ("requestLimits", "hiddenSegments", "verbs"),
    "hiddenSegments": ("clear",),
    "verbs": ("clear",),
    "ipSecurity": ("clear",),
    "authorization": ("clear",),
    "httpProtocol": ("customHeaders",),
    "customHeaders": ("clear",),
}
ANY = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters='<&"\ufffe\uffff')
)
ANYWHERE = sorted({*BELOW, *BELONGS, *PLAUSIBLE})


@st.composite
def trees(draw: st.DrawFn) -> str:
    """A web.config as it should be; in one of two, now and then something that does not belong there."""
    odd = draw(st.booleans())
    section = draw(st.sampled_from(["aspNetCore", "httpPlatform"]))

    def strange() -> bool:
        return odd and draw(st.integers(0, 15)) == 0

    def attribute(name: str) -> str:
        value = draw(ANY) if strange() else draw(st.sampled_from(PLAUSIBLE[name]))
        return f' {draw(st.sampled_from(ANYWHERE)) if strange() else name}="{value}"'

    def element(name: str) -> str:
        needed, possible = BELONGS.get(name, ((), ()))
        chosen = draw(st.sets(st.sampled_from(possible), max_size=4)) if possible else set()
        attributes = "".join(attribute(one) for one in sorted({*needed, *chosen}))
        inside = "".join(element(one) for one in children(name))
        return f"<{name}{attributes}>{inside}</{name}>\n"

    def children(name: str) -> list[str]:
        below = BELOW.get(name, ())
        several = name in ("environmentVariables", "handlerSettings", "handlers")
        found = draw(st.lists(st.sampled_from(below), max_size=3, unique=not several)) if below else []
        if name == "system.webServer":
            found.append(section)
        return [draw(st.sampled_from(ANYWHERE)) if strange() else one for one in found]

    return element("configuration")


def is_settings_or_errors(content: bytes, folder: Path) -> None:
    file = folder / "web.config"
    file.write_bytes(content)
    errors: tuple[SettingsError, ...] = ()
    try:
        found = load_settings(file, ENVIRON)
    except InvalidSettings as problem:
        errors = problem.errors
        found = None
    assert all(error.read and error.expected for error in errors)
    assert bool(errors) == (found is None)
    assert found is None or from_json(to_json(found)) == found


@pytest.mark.parametrize(
    "inside",
    [
        "<x/>" * 60_000,
        "<aspNetCore " + " ".join(f"a{number}='1'" for number in range(20_000)) + "/>",
        "<aspNetCore processPath='x' arguments='" + "%HOME%\\ " * 25_000 + "'/>",
        "<aspNetCore processPath='x' arguments='" + "\\" * 240_000 + "'/>",
        "<aspNetCore processPath='x' arguments='" + "%" * 240_000 + "'/>",
        "<aspNetCore processPath='x' arguments='" + "a\\" * 120_000 + "'/>",
        "<aspNetCore processPath='x'>" + variables(*[("A", "%B%")] * 4_000) + "</aspNetCore>",
        "<handlers>" + "<add nam='x' pth='y' vrb='z'/>" * 8_000 + "</handlers>",
        "<security><ipSecurity>"
        + "".join(f"<add ipAddress='10.{n >> 8}.{n & 255}.1' allowed='{n % 2 < 1}'/>" for n in range(4_000))
        + "</ipSecurity></security>",
    ],
    ids=[
        "elements",
        "attributes",
        "roots",
        "backslashes",
        "percent signs",
        "names",
        "variables",
        "guesses",
        "addresses",
    ],
)
@pytest.mark.timeout(30)  # a moment, were it not for what is quadratic
def test_a_file_made_to_take_long_does_not(inside: str) -> None:
    content = f"<configuration><system.webServer>{inside}</system.webServer></configuration>".encode()
    assert len(content) <= LARGEST
    found = read(content)
    assert found.errors or found.app["command"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@given(content=trees())
def test_any_tree_is_settings_or_errors(content: str, folder: Path) -> None:
    is_settings_or_errors(content.encode(), folder)


@given(content=st.binary())
def test_any_bytes_are_settings_or_errors(content: bytes, folder: Path) -> None:
    is_settings_or_errors(content, folder)


@given(st.sampled_from(CASES), st.integers(0, 4000), st.integers(0, 40), st.binary(max_size=8))
def test_any_damage_to_a_file_is_settings_or_errors(case: Path, at: int, cut: int, put: bytes) -> None:
    content = case.read_bytes()
    found = read(content[:at] + put + content[at + cut :])
    assert found.errors or found.app["command"]


def write_golden_files() -> None:
    for path in CASES:
        text = json.dumps(reading(path.read_bytes()), indent=2, ensure_ascii=False)
        golden(path).write_text(f"{text}\n")


if __name__ == "__main__":
    write_golden_files()
