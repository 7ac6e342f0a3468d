"""Rows of ANCM's own tests about configuration and environment, from outside: `portico run web.config`.

Each test bears the name of its row. Where Portico decides otherwise, the docstring says so.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.client import Visitor, exchange
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.kit.webconfigs import deploy, run_web_config, web_config

SERVER = ".\\wsgiref_app.py %HTTP_PLATFORM_PORT%"
INTEGRATION = "Microsoft.AspNetCore.Server.IISIntegration"
ASSEMBLIES = "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES"
LIMIT = 30_000_000  # IIS's own maxAllowedContentLength
PAGE = [("Accept", "text/html")]
LONG = "value of a long variable " * 20
LINK = "https://wiki.example.com/shop?a=1&b=2"
MIXED = "彡⾔"


@pytest.fixture(scope="module")
def configured(module_folder: Path) -> Iterator[PorticoRun]:
    """One run that several rows look at."""
    environment = {
        "GREETING": "of web.config",
        "EXPANDED": "%TEST_OWNER% of %test_unset%",
        "LONG": LONG,
        "EMPTY": "",
        ASSEMBLIES: "Asm2",
        "ASPNETCORE_IIS_HTTPAUTH": "ignoredValue",
    }
    limits = f'<requestLimits maxAllowedContentLength="{LIMIT}" />'
    beside = f"<security><requestFiltering>{limits}</requestFiltering></security>"
    folder = module_folder / "apps"
    deploy(folder, web_config(sys.executable, SERVER, environment=environment, beside=beside))
    inherited = {"GREETING": "global", "TEST_OWNER": "ann", ASSEMBLIES: "Asm1", "INHERITED": "kept"}
    with run_web_config(folder, **inherited) as started:
        yield started


@pytest.fixture(scope="module")
def preferred(module_folder: Path) -> Iterator[PorticoRun]:
    """One whose environment goes before its web.config."""
    folder = module_folder / "preferred"
    shutil.copytree(module_folder / "apps", folder, ignore=shutil.ignore_patterns("run", "logs", "tmp"))
    environment = {"GREETING": "of web.config", "OWN": "of web.config"}
    deploy(folder, web_config(sys.executable, SERVER, environment=environment))
    inherited = {"ANCM_PREFER_ENVIRONMENT_VARIABLES": "1", "GREETING": "global", ASSEMBLIES: "Asm1"}
    with run_web_config(folder, **inherited) as started:
        yield started


def environment_of(run: PorticoRun) -> dict[str, str]:
    """What the app has."""
    facts = run.get("/facts").json()
    return procfs.environ(facts["pid"])


def refused(folder: Path, text: str) -> str:
    """What `portico run` says of a file that it refuses; nothing was started."""
    deploy(folder, text)
    run = run_web_config(folder)
    ended = run.command(*run.arguments)
    assert ended.status == 2, ended
    assert not run.run_directory.exists()
    return ended.err


# ------------------------------------------------------------------------------------------------------------
# Environment


def test_web_config_overrides_global_environment_variables(configured: PorticoRun) -> None:
    environment = environment_of(configured)
    assert environment["GREETING"] == "of web.config"
    assert environment["INHERITED"] == "kept"
    assert environment["EMPTY"] == ""


def test_web_config_expands_variables(configured: PorticoRun) -> None:
    """A name that is not set stays as it is written, as on Windows, with a warning."""
    assert environment_of(configured)["EXPANDED"] == "ann of %test_unset%"
    assert "%test_unset%, which is not set" in configured.output


def test_prefer_environment_variables_over_web_config_when_configured(preferred: PorticoRun) -> None:
    environment = environment_of(preferred)
    assert (environment["GREETING"], environment["OWN"]) == ("global", "of web.config")


def test_web_config_appends_hosting_startup(preferred: PorticoRun) -> None:
    """In the process's environment alone: appended to."""
    assert environment_of(preferred)[ASSEMBLIES] == f"Asm1;{INTEGRATION}"


def test_web_config_overrides_hosting_startup(configured: PorticoRun) -> None:
    """In the web.config: as written."""
    assert environment_of(configured)[ASSEMBLIES] == "Asm2"


def test_auth_header_environment_variable_removed(configured: PorticoRun) -> None:
    assert environment_of(configured)["ASPNETCORE_IIS_HTTPAUTH"] == "anonymous;"
    assert "no ASPNETCORE_IIS_HTTPAUTH, since Portico sets it at every start" in configured.output


def test_get_long_environment_variable_out_of_process(configured: PorticoRun) -> None:
    assert len(LONG) > 300
    assert environment_of(configured)["LONG"] == LONG


def test_environment_variable_for_launcher_path_is_preferred(folder: Path) -> None:
    site = folder / "apps"
    deploy(site, web_config("nonexistent", SERVER))
    with run_web_config(site, ANCM_LAUNCHER_PATH=sys.executable) as run:
        assert run.get("/facts").status == 200
        assert "ANCM_LAUNCHER_PATH of the environment, which goes before it" in run.output


def test_environment_variable_for_launcher_args_is_preferred(folder: Path) -> None:
    site = folder / "apps"
    deploy(site, web_config(sys.executable, "nonexistent.py"))
    with run_web_config(site, ANCM_LAUNCHER_ARGS=SERVER) as run:
        facts = run.get("/facts").json()
        assert procfs.argv(facts["pid"])[1:] == ("./wsgiref_app.py", procfs.environ(facts["pid"])["PORT"])


# ------------------------------------------------------------------------------------------------------------
# The command


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("dotnet", ".\\Shop.dll"),
        ("dotnet.exe", "./Shop.dll"),
        ("%TEST_FOLDER%\\dotnet", "%TEST_NAME%.dll"),
        (".\\bin\\dotnet", '".\\Shop.dll"'),
    ],
)
def test_process_path_and_arguments(folder: Path, aspnetcore_app: Path, program: str, arguments: str) -> None:
    """With a real ASP.NET Core app; `dotnet` is a command that runs the runtime at hand."""
    site = folder / "Shop"
    (site / "bin").mkdir(parents=True)
    (site / "Shop.dll").touch()
    command = site / "bin" / "dotnet"
    command.write_text(f'#!/bin/sh\nexec {aspnetcore_app} "$@"\n')
    command.chmod(0o755)
    text = web_config(program, arguments, hostingModel="InProcess", stdoutLogFile=".\\logs\\stdout")
    deploy(site, text)
    path = f"{command.parent}:{os.environ['PATH']}"
    named = {"TEST_FOLDER": str(command.parent), "TEST_NAME": "Shop", "DOTNET_EnableDiagnostics": "0"}
    run = run_web_config(site, **named)
    run.environment["PATH"] = path
    with run:
        facts = run.get("/x").json()
        assert facts["arguments"] == ["./Shop.dll" if "%" not in arguments else "Shop.dll"]
        assert facts["directory"] == facts["root"] == str(site)
        assert "it is run out of process" in run.output
        assert not list((site / "logs").glob("stdout*"))  # stdoutLogEnabled is false
        status = run.command("status").out
        assert "Shop" in status
        assert " guarded" in status


def test_startup_invalid_configuration(folder: Path) -> None:
    """ANCM answers 500 and logs event 1034; Portico names the line and starts nothing."""
    site = folder / "apps"
    good = web_config(sys.executable, SERVER)
    for wrong, phrase in [
        (
            good.replace("processPath", "lockItem"),
            "@processPath: read nothing; expected the program to start",
        ),
        (good.replace(sys.executable, ""), '@processPath: read ""; expected the program to start'),
        (
            good.replace("outofprocess", "outOfProc"),
            'read "outOfProc"; expected one of inprocess, outofprocess',
        ),
        (
            good.replace("hostingModel", "hostingMode"),
            "an unknown attribute; expected a known attribute, perhaps",
        ),
        (good.replace("hostingModel", 'startupTimeLimit="3601" hostingModel'), "from 0 to 3600"),
        (
            good.replace("hostingModel", 'requestTimeout="00:00:60" hostingModel'),
            "minutes and seconds from 00 to 59",
        ),
        (good.replace("hostingModel", 'startupRetryCount="3" hostingModel'), "no startupRetryCount"),
        (
            good.replace(
                "</aspNetCore>", "<environmentVariables><add /></environmentVariables></aspNetCore>"
            ),
            "clear",
        ),
        (good.replace("</aspNetCore>", "</aspNetCore><aspNetCore />"), "a second section of this name"),
        (good.replace("<configuration>", "<configuration", 1), "well-formed XML"),
        (good.replace("<configuration>", '<!DOCTYPE x [<!ENTITY a "b">]><configuration>'), "a DOCTYPE"),
    ]:
        said = refused(site, wrong)
        assert phrase in said
        assert "web.config:" in said


# ------------------------------------------------------------------------------------------------------------
# Limits and pages


def test_max_request_body_size(configured: PorticoRun) -> None:
    """413, where IIS says 404.13 for its own limit."""
    with Visitor(configured.url) as visitor:
        assert visitor.request("POST", "/length", body=bytes(LIMIT)).json() == {"length": LIMIT}
    head = f"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    assert exchange(configured.url, head.encode()).startswith(b"HTTP/1.1 413 ")


def test_includes_additional_error_page_text_out_of_process(folder: Path) -> None:
    site = folder / "apps"
    deploy(site, web_config(sys.executable, "-c exit(3)"))
    with run_web_config(site, ANCM_ADDITIONAL_ERROR_PAGE_LINK=LINK) as run:
        page = run.get("/", PAGE)
        assert page.status == 502
        assert "502.5" in page.text
        assert 'href="https://wiki.example.com/shop?a=1&amp;b=2"' in page.text
        assert page.text.endswith("</html>\n")


@pytest.mark.parametrize("disabled", [True, False])
def test_disable_start_up_error_page(folder: Path, disabled: bool) -> None:
    """A bare 502 without a body of ours; the event names the failure either way."""
    site = folder / "apps"
    text = web_config(sys.executable, "bogus.py", disableStartUpErrorPage=str(disabled).lower())
    deploy(site, text)
    with run_web_config(site) as run:
        page = run.get("/", PAGE)
        assert page.status == 502
        assert ("502.5" in page.text) is not disabled
        assert ("bogus" in page.text) is not disabled
        failed = run.events("app.start-failed")
        assert [event["ancm"] for event in failed] == [1000, 1020]
        assert "bogus" in run.command("ctl", "app", "why", "apps", "--json").out


def test_a_process_path_that_does_not_exist_starts_nothing(folder: Path) -> None:
    """ANCM answers 502.5 to every request; `portico run` says it once and ends."""
    site = folder / "apps"
    deploy(site, web_config("bogus", "bogus"))
    run = run_web_config(site)
    ended = run.command(*run.arguments)
    assert ended.status == 1
    assert '@processPath: read "bogus"; expected a program on the PATH' in ended.err


# ------------------------------------------------------------------------------------------------------------
# Logs


def test_check_utf_8_file(folder: Path) -> None:
    """Folder and content that are not ASCII; the app ends at once."""
    site = folder / "apps"
    code = f"print('{MIXED}'); exit(3)"
    text = web_config(sys.executable, f'-X utf8 -c "{code}"', stdoutLogEnabled="true")
    deploy(site, text.replace("stdoutLogEnabled", f'stdoutLogFile=".\\{MIXED}\\stdout" stdoutLogEnabled'))
    with run_web_config(site) as run:
        page = run.get("/", PAGE)
        assert page.status == 502
        assert MIXED in page.text
        logs = sorted((site / MIXED).glob("stdout_*.log"))
        assert [log.read_bytes() for log in logs] == [f"{MIXED}\n".encode()] * 2  # one for each attempt
        failed = run.events("app.start-failed")
        assert "exit status 3" in failed[-1]["summary"]


@pytest.mark.parametrize("file", ["Q:\\std", "\\\\server\\logs\\std"])
def test_invalid_file_path_for_logs_server_still_runs(folder: Path, file: str) -> None:
    site = folder / "apps"
    deploy(site, web_config(sys.executable, SERVER, stdoutLogEnabled="true", stdoutLogFile=file))
    with run_web_config(site) as run:
        assert run.get("/").status == 200
        assert "the app runs without a log" in run.output


def test_invalid_file_path_for_logs_a_file_in_place_of_the_folder(folder: Path) -> None:
    """StdoutLogEnabledTest: a plain file named `logs`; event 1004."""
    site = folder / "apps"
    (site / "logs").touch()
    deploy(site, web_config(sys.executable, SERVER, stdoutLogEnabled="true", stdoutLogFile=".\\logs\\std"))
    with run_web_config(site) as run:
        assert run.get("/").status == 200
        problems = run.events("app.log-problem")
        assert problems[0]["ancm"] == 1004


def test_disable_redirection_no_logs(folder: Path) -> None:
    """Portico always captures: the setting is named, and what the app printed is in the report."""
    site = folder / "apps"
    setting = '<handlerSetting name="enableOutOfProcessConsoleRedirection" value="false" />'
    inside = f"<handlerSettings>{setting}</handlerSettings>"
    deploy(site, web_config(sys.executable, '-c "print(5 * 5); exit(3)"', inside=inside))
    with run_web_config(site) as run:
        assert run.get("/").status == 502
        assert "output is always captured" in run.output
        assert "| 25" in run.command("ctl", "app", "why", "apps").out


# ------------------------------------------------------------------------------------------------------------
# Initialization


def test_application_preload_starts_app_and_initialization_page_is_requested(folder: Path) -> None:
    site = folder / "apps"
    pages = '<add initializationPage="/warm?first=1" /><add initializationPage="/facts" />'
    beside = f'<applicationInitialization doAppInitAfterRestart="true">{pages}</applicationInitialization>'
    deploy(site, web_config(sys.executable, SERVER, beside=beside, stdoutLogEnabled="true"))
    with run_web_config(site):

        def said() -> str:
            return "".join(log.read_text() for log in site.glob("aspnetcore-stdout_*.log"))

        wait_until(lambda: '"GET /facts HTTP/1.1" 200' in said(), "both pages asked, though nobody came")
        assert said().index("/warm?first=1") < said().index("/facts")


# ------------------------------------------------------------------------------------------------------------
# Bytes


def test_latin_1(folder: Path, aspnetcore_app: Path) -> None:
    """The front passes obs-text on unread (RFC 9110 5.5); what it means is the app's: Kestrel answers 400."""
    site = folder / "Shop"
    site.mkdir()
    os.link(aspnetcore_app, site / "Shop")
    deploy(site, web_config(".\\Shop"))
    with run_web_config(site, DOTNET_EnableDiagnostics="0") as run:
        request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Name: %b\r\n\r\n"
        refused = exchange(run.url, request % "é".encode("latin-1"))
        assert refused.startswith(b"HTTP/1.1 400 ")
        assert b"Server: Kestrel" in refused
        told = exchange(run.url, request % "é".encode()).partition(b"\r\n\r\n")[2]
        assert '["X-Name","é"]' in told.decode()
