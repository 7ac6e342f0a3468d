"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): what an app finds in its environment.

Each test bears the name of its row. What a web.config says about it: test_ancm_config_rows.py.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.ancm import row, told
from tests.kit.client import free_port
from tests.kit.configs import front
from tests.kit.run import PorticoRun
from tests.kit.webconfigs import deploy, run_web_config, web_config


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    config = front()
    config += row("plain")
    config += row("one", environment={"ANCMTestFoo": "foo"})
    config += row("known", environment={"ASPNETCORE_URLS": "http://127.0.0.1:1"})
    with PorticoRun(module_folder, config, environment={"TEST_SYSTEM": "kept"}) as started:
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


# ------------------------------------------------------------------------------------------------------------
# In a web.config


@pytest.mark.parametrize("above", [False, True], ids=["of ANCM's range", "above it"])
def test_env_var_in_web_config_valid(folder: Path, above: bool) -> None:
    """Any port that can be listened on, 48001 and more too, which ANCM refuses."""
    port = next(port for port in iter(free_port, 0) if above == (port > 48_000))
    deploy(folder / "apps", web_config("python", "row.py", environment={"ASPNETCORE_PORT": str(port)}))
    with run_web_config(folder / "apps") as run:
        found = told(run, "/")["environment"]
        assert found["ASPNETCORE_PORT"] == found["PORT"] == str(port)


def test_env_var_in_web_config_empty(folder: Path) -> None:
    deploy(folder / "apps", web_config("python", "row.py", environment={"ASPNETCORE_PORT": ""}))
    with run_web_config(folder / "apps") as run:
        assert 10_000 <= int(told(run, "/")["environment"]["ASPNETCORE_PORT"]) <= 32_767


@pytest.mark.parametrize("port", ["noninteger", "65536", "-1"])
def test_env_var_in_web_config_invalid(folder: Path, port: str) -> None:
    """An error with its line before anything starts, in place of a 502."""
    deploy(folder / "apps", web_config("python", "row.py", environment={"ASPNETCORE_PORT": port}))
    run = run_web_config(folder / "apps")
    ended = run.command(*run.arguments)
    assert ended.status == 2
    assert re.search(r"web\.config:\d+: ", ended.err)
    assert port in ended.err
