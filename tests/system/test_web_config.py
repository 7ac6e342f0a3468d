"""`portico run web.config`: the file of IIS, with a real program behind it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from tests.kit import procfs
from tests.kit.client import Visitor, free_port, get
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.kit.webconfigs import deploy, run_web_config, web_config

# As `dotnet publish` writes it, byte order mark and line ends included; the program is another one
PUBLISHED = """\
<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <location path="." inheritInChildApplications="false">
    <system.webServer>
      <handlers>
        <add name="aspNetCore" path="*" verb="*" modules="AspNetCoreModuleV2" resourceType="Unspecified" />
      </handlers>
      <aspNetCore processPath={program} arguments={arguments} stdoutLogEnabled="true"\
 stdoutLogFile=".\\logs\\stdout" hostingModel="inprocess"{more}
    </system.webServer>
  </location>
</configuration>
<!--ProjectGuid: 8b5bde08-4d26-4f5c-9d55-4d7b0d7a2f0e-->"""

PREDECESSOR = """\
<configuration>
  <system.webServer>
    <handlers>
      <add name="httpPlatformHandler" path="*" verb="GET" modules="httpPlatformHandler" resourceType="Unspecified" />
    </handlers>
    <httpPlatform processPath={program} arguments=".\\wsgiref_app.py %HTTP_PLATFORM_PORT%" stdoutLogEnabled="true">
      <environmentVariables>
        <environmentVariable name="PORT" value="%HTTP_PLATFORM_PORT%" />
        <environmentVariable name="GREETING" value="at {{%HTTP_PLATFORM_PORT%}} of %TEST_OWNER%" />
      </environmentVariables>
    </httpPlatform>
  </system.webServer>
</configuration>
"""

SERVER = ".\\wsgiref_app.py %HTTP_PLATFORM_PORT%"


def write(folder: Path, text: str) -> None:
    """Beside the fixture apps, as a deployed app has it."""
    (folder / "apps" / "web.config").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())


def published(arguments: str, environment: str = "") -> str:
    more = (
        f">\n<environmentVariables>{environment}</environmentVariables>\n</aspNetCore>"
        if environment
        else " />"
    )
    program = quoteattr(sys.executable)
    return PUBLISHED.format(program=program, arguments=quoteattr(arguments), more=more)


def run(folder: Path, *arguments: str, **environment: str) -> PorticoRun:
    """In the folder of the file, which names no address."""
    url = f"http://127.0.0.1:{free_port()}"
    made = PorticoRun(
        folder / "apps", arguments=["run", *arguments, "--listen", url], environment=environment
    )
    made.run_directory = folder / "apps" / "run"
    return made


@pytest.mark.parametrize("named", [True, False], ids=["web.config named", "web.config found"])
def test_a_published_file_runs_as_it_is(folder: Path, named: bool) -> None:
    write(
        folder,
        published(r".\wsgiref_app.py 0", '<environmentVariable name="GREETING" value="%TEST_OWNER%" />'),
    )
    with run(folder, *(["web.config"] if named else []), TEST_OWNER="ann") as running:
        assert "it is run out of process" in running.output
        answer = running.get("/facts")
        assert answer.status == 200
        facts = answer.json()
        assert facts["directory"] == str(folder / "apps")
        assert facts["environment"]["GREETING"] == "ann"
        pid = running.pid_of("apps")
        assert pid == facts["pid"]
        ((host, port),) = procfs.listening({pid, *procfs.descendants(pid)})
        refused = get(f"http://{host}:{port}", "/facts")
        assert (refused.status, refused.body) == (400, b"")
        (log,) = (folder / "apps" / "logs").glob("stdout*")
        assert re.fullmatch(rf"stdout_\d{{14}}_{pid}\.log", log.name)
        wait_until(lambda: '"GET /facts' in log.read_text(), "the app's own access line in its log")
        assert "apps" in running.command("status", "--config", "web.config").out


def test_the_port_stands_in_arguments_and_environment_of_the_predecessor(folder: Path) -> None:
    write(folder, PREDECESSOR.format(program=quoteattr(sys.executable)).replace("{{", "{").replace("}}", "}"))
    with run(folder, TEST_OWNER="ann") as running:
        facts = running.get("/facts").json()
        port = facts["environment"]["HTTP_PLATFORM_PORT"]
        assert facts["environment"]["GREETING"] == f"at {{{port}}} of ann"
        assert facts["environment"]["PORT"] == port
        ((_, listening),) = procfs.listening({facts["pid"]})
        assert str(listening) == port
        assert list((folder / "apps").glob(f"httpplatform-stdout_*_{facts['pid']}.log"))


def test_a_configured_port_is_the_one_the_app_listens_on(folder: Path) -> None:
    port = free_port()
    environment = f'<environmentVariable name="ASPNETCORE_PORT" value="{port}" />'
    write(folder, published(r".\wsgiref_app.py 0", environment))
    with run(folder) as running:
        assert running.get("/facts").json()["environment"]["ASPNETCORE_PORT"] == str(port)


def test_a_configured_token_starts_nothing(folder: Path) -> None:
    environment = '<environmentVariable name="ASPNETCORE_TOKEN" value="f2b7a9d0" />'
    write(folder, published(r".\wsgiref_app.py 0", environment))
    running = run(folder)
    ended = running.command(*running.arguments)
    assert ended.status == 2
    assert "web.config:9: " in ended.err
    assert "the token is new at every start and never configured" in ended.err
    assert "f2b7a9d0" not in ended.said
    assert not running.run_directory.exists()


@pytest.mark.parametrize("bare", [True, False])
def test_a_failed_start_is_told_unless_its_page_is_disabled(folder: Path, bare: bool) -> None:
    attributes = f'disableStartUpErrorPage="{str(bare).lower()}" hostingModel'
    write(folder, published('-c "exit(3)"').replace("hostingModel", attributes))
    with run(folder) as running:
        answer = running.get("/")
    assert answer.status == 502
    assert ("exit status 3" in answer.text) is not bare


# ------------------------------------------------------------------------------------------------------------
# Modules of IIS before the app


def test_request_filtering_and_custom_headers(folder: Path) -> None:
    site = folder / "apps"
    filtering = """<requestFiltering>
      <verbs><add verb="TRACE" allowed="false" /></verbs>
      <fileExtensions><add fileExtension=".bak" allowed="false" /></fileExtensions>
      <hiddenSegments><add segment="private" /></hiddenSegments>
      <requestLimits maxUrl="100" maxQueryString="20" />
    </requestFiltering>"""
    headers = '<customHeaders><add name="X-Frame-Options" value="DENY" /></customHeaders>'
    beside = f"<security>{filtering}</security><httpProtocol>{headers}</httpProtocol>"
    deploy(site, web_config(sys.executable, SERVER, beside=beside))
    with run_web_config(site) as run:
        with Visitor(run.url) as visitor:
            answers = {
                target: visitor.get(target)
                for target in ("/", "/a.bak", "/Private/x", "/%70rivate", "/" + "a" * 100, "/?" + "a" * 21)
            }
        assert [answer.status for answer in answers.values()] == [200, 404, 404, 404, 414, 414]
        assert {answer.header("x-frame-options") for answer in answers.values()} == {"DENY"}
        with Visitor(run.url) as visitor:
            assert visitor.request("TRACE", "/").status == 405


def test_an_app_for_some_is_not_run_for_all(folder: Path) -> None:
    anonymous = '<authentication><anonymousAuthentication enabled="false" /></authentication>'
    text = web_config(sys.executable, SERVER, beside=f"<security>{anonymous}</security>")
    deploy(folder / "apps", text)
    running = run_web_config(folder / "apps")
    ended = running.command(*running.arguments)
    assert ended.status == 2
    assert "here everybody would come in" in ended.err
    assert not running.run_directory.exists()
