"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): what an app finds in its environment.

Each test bears the name of its row.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import procfs
from tests.kit.ancm import of_iis, row, told, web_config
from tests.kit.client import free_port
from tests.kit.configs import front
from tests.kit.run import PorticoRun

LONG = "".join(chr(ord("a") + number % 26) for number in range(1000))
ASSEMBLIES = "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES"
OURS = "Microsoft.AspNetCore.Server.IISIntegration"
OF_THE_SYSTEM = {"TEST_SYSTEM": "kept", ASSEMBLIES: "Asm1", "TEST_BOTH": "system"}


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    config = front()
    config += row("plain")
    config += row("one", environment={"ANCMTestFoo": "foo"})
    config += row("known", environment={"ASPNETCORE_URLS": "http://127.0.0.1:1"})
    config += row("long", environment={"LONG": LONG})
    config += row("own", environment={ASSEMBLIES: "newValue", "TEST_BOTH": "configured"})
    with PorticoRun(module_folder, config, environment=OF_THE_SYSTEM) as started:
        yield started


def environment(run: PorticoRun, app: str) -> dict[str, str]:
    found: dict[str, str] = told(run, f"/{app}/")["environment"]
    return found


def names(run: PorticoRun, app: str) -> set[str]:
    return set(told(run, f"/{app}/")["names"])


def test_environment_variables_test_the_number_is_stable_and_grows_by_one(run: PorticoRun) -> None:
    plain = names(run, "plain")
    assert names(run, "plain") == plain
    assert names(run, "one") - plain == {"ANCMTestFoo"}
    assert plain - names(run, "one") == set()
    assert environment(run, "one")["ANCMTestFoo"] == "foo"


def test_environment_variables_test_a_name_that_is_set_anyway_adds_none(run: PorticoRun) -> None:
    assert names(run, "known") == names(run, "plain")
    assert environment(run, "known")["ASPNETCORE_URLS"] == "http://127.0.0.1:1"


def test_environment_variables_test_what_is_there(run: PorticoRun) -> None:
    expected = {"PORT", "APPL_PATH", "TOKEN", "IIS_HTTPAUTH", "HOSTINGSTARTUPASSEMBLIES"}
    assert {f"ASPNETCORE_{name}" for name in expected} <= names(run, "plain")
    found = environment(run, "plain")
    assert found["ASPNETCORE_APPL_PATH"] == "/plain"
    pid = told(run, "/plain/")["pid"]
    assert ("127.0.0.1", int(found["ASPNETCORE_PORT"])) in procfs.listening({pid})
    assert len(run.token_of(pid)) >= 32
    assert run.token_of(pid) != run.token_of(told(run, "/one/")["pid"])


def test_environment_variables_test_what_is_inherited_stays(run: PorticoRun) -> None:
    """In place of PROCESSOR_ARCHITECTURE, USERNAME, USERDOMAIN and USERPROFILE."""
    found = environment(run, "plain")
    assert found["TEST_SYSTEM"] == "kept"
    assert found["PATH"].endswith(run.environment["PATH"])
    if os.geteuid() == 0:
        assert found["HOME"] == pwd.getpwuid(0).pw_dir


def test_environment_variables_test_i_i_s_http_auth(run: PorticoRun) -> None:
    assert environment(run, "plain")["ASPNETCORE_IIS_HTTPAUTH"] == "anonymous;"


def test_web_config_appends_hosting_startup(run: PorticoRun) -> None:
    assert environment(run, "plain")[ASSEMBLIES] == f"Asm1;{OURS}"


def test_web_config_overrides_hosting_startup(run: PorticoRun) -> None:
    assert environment(run, "own")[ASSEMBLIES] == "newValue"


def test_web_config_overrides_global_environment_variables(run: PorticoRun) -> None:
    assert environment(run, "plain")["TEST_BOTH"] == "system"
    assert environment(run, "own")["TEST_BOTH"] == "configured"


def test_get_long_environment_variable_out_of_process(run: PorticoRun) -> None:
    assert environment(run, "long")["LONG"] == LONG


# ------------------------------------------------------------------------------------------------------------
# In a web.config


def seen(folder: Path, variables: dict[str, str], **of_the_system: str) -> Any:
    with of_iis(folder, web_config("python", "row.py", variables), **of_the_system) as run:
        return told(run, "/")["environment"]


def test_auth_header_environment_variable_removed(folder: Path) -> None:
    """A value of the user's never reaches the app: the name is the front's to set. What is set at another place of
    the file's, or expanded there, does."""
    variables = {
        "ASPNETCORE_IIS_HTTPAUTH": "ignoredValue",
        "EXPANDED": "%TEST_OWNER%'s",
        "BOTH": "configured",
        "EMPTY": "",
        "ASPNETCORE_PORT": "",
    }
    found = seen(folder, variables, TEST_OWNER="ann", BOTH="system", EMPTY="system")
    assert found["ASPNETCORE_IIS_HTTPAUTH"] == "anonymous;"
    # WebConfigExpandsVariables
    assert found["EXPANDED"] == "ann's"
    assert (found["BOTH"], found["EMPTY"]) == ("configured", "")
    # EnvVarInWebConfig_Empty
    assert 10_000 <= int(found["ASPNETCORE_PORT"]) <= 32_767


def test_prefer_environment_variables_over_web_config_when_configured(folder: Path) -> None:
    found = seen(folder, {"BOTH": "configured"}, BOTH="system", ANCM_PREFER_ENVIRONMENT_VARIABLES="1")
    assert found["BOTH"] == "system"


@pytest.mark.parametrize("above", [False, True], ids=["of ANCM's range", "above it"])
def test_env_var_in_web_config_valid(folder: Path, above: bool) -> None:
    """Any port that can be listened on, 48001 and more too, which ANCM refuses."""
    port = next(port for port in iter(free_port, 0) if above == (port > 48_000))
    found = seen(folder, {"ASPNETCORE_PORT": str(port)})
    assert found["ASPNETCORE_PORT"] == found["PORT"] == str(port)


@pytest.mark.parametrize("port", ["noninteger", "65536", "-1"])
def test_env_var_in_web_config_invalid(folder: Path, port: str) -> None:
    """An error with its line before anything starts, in place of a 502."""
    run = of_iis(folder, web_config("python", "row.py", {"ASPNETCORE_PORT": port}))
    ended = run.command(*run.arguments)
    assert ended.status == 2
    assert "web.config:1:" in ended.err
    assert port in ended.err
