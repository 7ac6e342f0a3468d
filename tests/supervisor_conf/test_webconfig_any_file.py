"""Any file at all is settings or errors, and soon."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.settings import (
    InvalidSettings,
    SettingsError,
    from_json,
    load_settings,
    to_json,
)
from supervisor_conf.webconfig_table import KNOWN
from supervisor_conf.webconfig_xml import LARGEST
from tests.kit.webconfig_readings import (
    CASES,
    ENVIRON,
    read,
    variables,
)

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
