"""The module `client_certificate` behind real TLS: the certificate names the user, whom the app is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import Authority, Pair
from tests.kit.client import Response, Visitor, free_port
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun


class Site:
    def __init__(self, folder: Path) -> None:
        self.server = Authority(folder, "server-ca")
        self.clients = Authority(folder, "client-ca")
        self.own = self.server.issue("127.0.0.1", file="server")
        self.ada = self.clients.issue("ada@example.org", file="ada", common_name="Ada, Countess")
        self.robot = self.clients.issue("robot.example", file="robot", common_name="Ada, Countess")
        self.stranger = Authority(folder, "other-ca").issue("ada@example.org", file="stranger")
        self.url = f"https://127.0.0.1:{free_port()}"

    def config(self) -> str:
        fingerprint = hashlib.sha256(self.robot.der).digest().hex(":")
        authority = f'client_certificate = "optional"\nclient_ca = "{self.clients.file}"\n'
        config = front(listen=[self.url], workers=1) + f"[front.tls]\n{self.own.toml}{authority}\n"
        for name, options in (
            ("email", {"user": "email"}),
            ("open", {"user": "CN", "required": False}),
            ("robots", {"user": "fingerprints", "fingerprints": {fingerprint: "robot"}}),
            ("elsewhere", {"issuers": ["CN=Somebody Else"]}),
        ):
            config += app(name, "waitress-serve signed:wsgi", path=f"/{name}")
            config += f'[[apps.{name}.modules]]\nuse = "client_certificate"\n{toml(options)}\n\n'
        return config

    def ask(self, target: str, certificate: Pair | None = None) -> Response:
        context = self.server.context()
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        with Visitor(self.url, tls=context) as visitor:
            return visitor.get(target, [("MS-ASPNETCORE-CLIENTCERT", "MIIB"), ("Remote-User", "eve")])

    def user(self, target: str, certificate: Pair | None = None) -> str | int:
        answer = self.ask(target, certificate)
        if answer.status != 200:
            return answer.status
        told = answer.json().get("visitor")
        assert not told or told[1] == "ClientCertificate"
        return str(told[0]) if told else ""


def toml(options: dict[str, object]) -> str:
    lines = []
    for key, value in options.items():
        if isinstance(value, dict):
            lines += [f"{key}.{json.dumps(name)} = {json.dumps(item)}" for name, item in value.items()]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def site(module_folder: Path) -> Iterator[Site]:
    certificates = module_folder / "certificates"
    certificates.mkdir(mode=0o700)
    made = Site(certificates)
    with PorticoRun(module_folder, made.config()):
        yield made


def test_whom_a_certificate_names(site: Site) -> None:
    assert site.user("/email/", site.ada) == "ada@example.org"
    assert site.user("/email/", site.robot) == 403
    assert site.user("/open/", site.ada) == "Ada, Countess"
    assert site.user("/robots/", site.robot) == "robot"
    assert site.user("/robots/", site.ada) == 403
    assert site.user("/elsewhere/", site.ada) == 403


def test_without_a_certificate(site: Site) -> None:
    assert site.user("/email/") == 403
    assert site.user("/open/") == ""


def test_what_the_authority_has_not_signed_gets_nowhere(site: Site) -> None:
    with pytest.raises(OSError, match=r"unknown ca|UNKNOWN_CA|alert|reset"):
        site.user("/open/", site.stranger)
