"""web.config files as `dotnet publish` writes them, and a run of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tests.kit.client import free_port
from tests.kit.run import PorticoRun

_FILE = """\
<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <location path="." inheritInChildApplications="false">
    <system.webServer>
      <handlers>
        <add name="aspNetCore" path="*" verb="*" modules="AspNetCoreModuleV2" resourceType="Unspecified" />
      </handlers>
      <aspNetCore {attributes}>
{environment}{inside}
      </aspNetCore>
{beside}
    </system.webServer>
  </location>
</configuration>
<!--ProjectGuid: 8b5bde08-4d26-4f5c-9d55-4d7b0d7a2f0e-->"""


def web_config(
    program: str,
    arguments: str = "",
    *,
    environment: Mapping[str, str] | None = None,
    inside: str = "",
    beside: str = "",
    **attributes: str,
) -> str:
    """`inside`: XML within `aspNetCore`; `beside`: XML within `system.webServer`."""
    named = {"processPath": program, "arguments": arguments, "hostingModel": "outofprocess"} | attributes
    entries = "".join(
        f"<environmentVariable name={quoteattr(name)} value={quoteattr(value)} />\n"
        for name, value in (environment or {}).items()
    )
    return _FILE.format(
        attributes=" ".join(f"{name}={quoteattr(value)}" for name, value in named.items()),
        environment=f"<environmentVariables>\n{entries}</environmentVariables>" if entries else "",
        inside=inside,
        beside=beside,
    )


def deploy(folder: Path, text: str) -> Path:
    """Write it with a byte order mark and the line ends of Windows."""
    file = folder / "web.config"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    return file


def run_web_config(folder: Path, **environment: str) -> PorticoRun:
    """`portico run web.config` in its folder, which names no address."""
    arguments = ["run", "web.config", "--listen", f"http://127.0.0.1:{free_port()}"]
    return PorticoRun(folder, arguments=arguments, environment=environment)
