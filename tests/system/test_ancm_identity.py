"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): who the visitor is, as far as that needs no Windows.

Each test bears the name of its row.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.kit import kerberos
from tests.kit.ancm import row, told
from tests.kit.client import Headers
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun

SERVICE = "HTTP/shop.example"
WINDOWS = not kerberos.MISSING and find_spec("gssapi") is not None
windows = pytest.mark.skipif(
    not WINDOWS, reason="needs Debian's krb5-kdc, krb5-admin-server, krb5-user, and portico[negotiate]"
)
SIGNED_IN: Headers = [("Authorization", "Basic " + base64.b64encode(b"ann:secret").decode())]


def module(name: str, use: str, file: Path, key: str, *, required: bool) -> str:
    return (
        f'[[apps.{name}.modules]]\nuse = "{use}"\n{key} = {json.dumps(str(file))}\n'
        f"required = {str(required).lower()}\n\n"
    )


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    people = module_folder / "htpasswd"
    subprocess.run(
        ["htpasswd", "-cbB", "-C", "4", str(people), "ann", "secret"], check=True, capture_output=True
    )
    names = ["basic", "basic-anonymous"]
    if WINDOWS:
        names += ["windows-basic-anonymous", "windows-anonymous", "windows"]
        with kerberos.Realm(module_folder) as realm:
            realm.add_service(SERVICE)
            keytab = realm.keytab(module_folder / "keytab", SERVICE)
    config = front(workers=1)
    for name in names:
        config += row(name)
        required = "anonymous" not in name
        if "basic" in name:
            config += module(name, "basic", people, "file", required=required)
        if "windows" in name:
            config += module(name, "negotiate", keytab, "keytab", required=required)
    config += row("anonymous")
    config += app("site", "waitress-serve signed:wsgi", path="/site")
    config += module("site", "basic", people, "file", required=False)
    if WINDOWS:
        config += module("site", "negotiate", keytab, "keytab", required=False)
    with PorticoRun(module_folder, config) as started:
        yield started


@pytest.mark.parametrize(
    "name",
    [
        "anonymous",
        "basic-anonymous",
        "basic",
        pytest.param("windows-anonymous", marks=windows),
        pytest.param("windows-basic-anonymous", marks=windows),
    ],
)
def test_environment_variables_test_i_i_s_http_auth_follows_the_modules(run: PorticoRun, name: str) -> None:
    answer = run.get(f"/{name}/", SIGNED_IN if name == "basic" else None)
    words = answer.json()["environment"]["ASPNETCORE_IIS_HTTPAUTH"]
    assert words == name.replace("-", ";") + ";"


@windows
def test_ntlm_authentication_and_windows_auth_test_without_credentials(run: PorticoRun) -> None:
    assert run.get("/site/anonymous").status == 200
    restricted = run.get("/site/restricted")
    assert restricted.status == 401
    offered = [value.split(" ")[0] for name, value in restricted.headers if name == "www-authenticate"]
    assert sorted(offered) == ["Basic", "Negotiate"]
    assert run.get("/site/forbidden").status == 403
    closed = run.get("/windows/")
    assert (closed.status, closed.header("WWW-Authenticate")) == (401, "Negotiate")


def test_basic_auth_test(run: PorticoRun) -> None:
    """ANCM does not say who it is out of process; Portico does."""
    site = run.get("/site/restricted", SIGNED_IN)
    assert site.status == 200
    assert site.json()["visitor"] == ["ann", "Basic", [], ""]
    assert "HTTP_AUTHORIZATION" not in site.json()["facts"]
    assert run.get("/site/forbidden", SIGNED_IN).status == 403
    wrong: Headers = [("Authorization", "Basic " + base64.b64encode(b"ann:other").decode())]
    assert run.get("/site/anonymous", wrong).status == 401
    assert "environment" in told(run, "/basic-anonymous/")
