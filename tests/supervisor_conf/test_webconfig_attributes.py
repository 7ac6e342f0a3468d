"""The attributes of `aspNetCore` and `httpPlatform`, and the settings of its handler."""

from __future__ import annotations

import pytest

from supervisor_conf.webconfig_table import ATTRIBUTES, HANDLER_SETTINGS, KNOWN
from tests.kit.webconfig_readings import (
    error_of,
    good,
    handler_setting,
    section,
    warnings_of,
)

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
