"""TLS from outside: curl, openssl and Python's own clients against a real front, whose certificates come and go.

Tests that bear the name of a row of ANCM's tests say so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as websocket

from tests.kit import procfs
from tests.kit.certificates import Authority, Pair
from tests.kit.client import Response, Visitor, exchange, free_port
from tests.kit.configs import app, front, with_apps
from tests.kit.environments import readable_folder
from tests.kit.load import Load
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.system.apps.wire import content

UVICORN = "uvicorn --log-level warning"
HOST = "127.0.0.1"
HEADER_TIMEOUT = 3  # seconds
MIB = 1 << 20
NAME = "ASPNETCORE_ANCM_HTTPS_PORT"


class Site:
    """One front with TLS. `server` and `clients` are authorities."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        certificates = folder / "certificates"
        certificates.mkdir(mode=0o700)
        self.server = Authority(certificates, "server-ca")
        self.clients = Authority(certificates, "client-ca")
        self.first = self.server.issue("a.example", HOST, file="a")
        self.second = self.server.issue("b.example", "*.b.example", file="b")
        self.visitor = self.clients.issue("ada@example.org", file="ada", common_name="Ada, Countess")
        self.port = free_port()
        self.url = f"https://{HOST}:{self.port}"
        self.run: PorticoRun

    def tls(self, **keys: object) -> str:
        lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
        second = f"[[front.tls.certificates]]\n{self.second.toml}\n"
        return "\n".join(["[front.tls]", self.first.toml, *lines, "", second])

    def start(self, *apps: str, tls: dict[str, object] | None = None, **keys: object) -> PorticoRun:
        listen = [f"http://{HOST}:@PORT@", self.url, *keys.pop("more", ())]  # type: ignore[misc]
        config = front(listen=listen, header_timeout=HEADER_TIMEOUT, **keys) + self.tls(**(tls or {}))
        self.run = PorticoRun(self.folder, config + "".join(apps))
        return self.run

    def context(self, certificate: Pair | None = None) -> ssl.SSLContext:
        context = self.server.context()
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        return context

    def ask(
        self, target: str, certificate: Pair | None = None, fields: list[tuple[str, str]] | None = None
    ) -> Response:
        with Visitor(self.url, tls=self.context(certificate)) as visitor:
            return visitor.get(target, fields)

    def told(self, target: str, certificate: Pair | None = None, **fields: str) -> dict[str, Any]:
        sent = [(name.replace("_", "-"), value) for name, value in fields.items()]
        found: dict[str, Any] = self.ask(target, certificate, sent).json()
        return found

    def shown(self, name: str | None = None) -> bytes:
        """The certificate, in DER, that a client is shown who asks for this name."""
        context = ssl.create_default_context(cafile=str(self.server.file))
        context.check_hostname = False
        with (
            socket.create_connection((HOST, self.port), 20) as plain,
            context.wrap_socket(plain, server_hostname=name) as encrypted,
        ):
            return encrypted.getpeercert(binary_form=True) or b""

    def curl(self, *arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", str(self.server.file)]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def s_client(self, *arguments: str, say: str = "") -> str:
        """What openssl tells of a handshake and what follows."""
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{HOST}:{self.port}", *arguments],
            input=say, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        return done.stdout + done.stderr


def _site() -> Iterator[Site]:
    folder = with_apps(readable_folder())
    yield Site(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Asks for certificates of clients, and takes none as well."""
    for made in _site():
        apps = (
            app("asgi", f"{UVICORN} certified:asgi"),
            app("wsgi", "gunicorn certified:wsgi", path="/wsgi"),
            app("wire", f"{UVICORN} wire:asgi", path="/wire", environment={NAME: "4711"}),
        )
        tls = {"client_certificate": "optional", "client_ca": str(made.clients.file)}
        with made.start(*apps, tls=tls):
            yield made


@pytest.fixture
def own_site() -> Iterator[Site]:
    yield from _site()


# ------------------------------------------------------------------------------------------------------------
# Visitors


def test_HttpsHelloWorld_and_SendHTTPSRequestTest(site: Site) -> None:
    for target in ("/", "/wsgi/"):
        told = json.loads(site.curl(f"{site.url}{target}"))
        assert (told["scheme"], told["proto"]) == ("https", "https")
    plain = json.loads(site.curl(f"{site.run.url}/"))
    assert (plain["scheme"], plain["proto"]) == ("http", "http")


def test_the_terminal_names_every_address(site: Site) -> None:
    assert f"Portico serves {site.url}" in site.run.output


def test_AncmHttpsPortCanBeOverriden(site: Site) -> None:
    assert site.told("/")["https_port"] == str(site.port)
    site.ask("/wire/")
    assert procfs.environ(site.run.pid_of("wire"))[NAME] == "4711"


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("a.example", "first"),
        ("B.EXAMPLE", "second"),
        ("www.b.example", "second"),
        ("x.www.b.example", "first"),
        ("nobody.example", "first"),
        (None, "first"),
    ],
)
def test_a_certificate_is_chosen_by_name(site: Site, name: str | None, which: str) -> None:
    assert site.shown(name) == getattr(site, which).der


def test_both_versions_of_now_are_spoken_and_no_older_one(site: Site) -> None:
    for version in ("TLSv1.2", "TLSv1.3"):
        option = "-" + version.lower().replace(".", "_").replace("v", "")
        assert f"Protocol  : {version}" in site.s_client(option) or f"New, {version}" in site.s_client(option)
    for version in ("-tls1", "-tls1_1"):
        said = site.s_client(version, "-cipher", "ALL:@SECLEVEL=0")
        assert "alert protocol version" in said
        assert "Cipher is (NONE)" in said


def test_nothing_weak_is_agreed_upon(site: Site) -> None:
    said = site.s_client("-tls1_2")
    assert "Compression: NONE" in said
    assert "Secure Renegotiation IS supported" in said
    assert "Server Temp Key: " in said  # ephemeral: yesterday's traffic stays closed
    for weak in ("aNULL", "eNULL", "kRSA", "3DES", "RC4", "CAMELLIA", "SHA1+RSA"):
        said = site.s_client("-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0")
        assert "Cipher is (NONE)" in said or "no cipher match" in said, weak


def test_a_client_cannot_renegotiate(site: Site) -> None:
    said = site.s_client("-tls1_2", say="R\n")
    assert "no renegotiation" in said


def test_http_1_1_is_agreed_upon_and_nothing_else(site: Site) -> None:
    assert "ALPN protocol: http/1.1" in site.s_client("-alpn", "h2,http/1.1")
    assert "No ALPN negotiated" in site.s_client("-alpn", "h2")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_a_session_is_resumed_by_the_worker_that_began_it(site: Site, version: ssl.TLSVersion) -> None:
    """Two workers, each with ticket keys of its own: where the other one accepts, the handshake is a whole one."""
    context = site.server.context(maximum_version=version)
    session: ssl.SSLSession | None = None
    resumed = 0
    for _ in range(40):
        with (
            socket.create_connection((HOST, site.port), 20) as plain,
            context.wrap_socket(plain, server_hostname="a.example", session=session) as encrypted,
        ):
            encrypted.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := encrypted.recv(65536):
                answer += data
            assert answer.startswith(b"HTTP/1.1 200 ")
            resumed += bool(encrypted.session_reused)
            session = session or encrypted.session
        if resumed > 3:
            return
    raise AssertionError(f"resumed {resumed} times")


def test_plain_http_is_answered_readably_and_costs_nobody_else_anything(site: Site) -> None:
    with Visitor(site.url, tls=site.context()) as other:
        other.get("/")
        answer = exchange(site.url, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"use https://" in answer
        assert other.get("/").status == 200


def test_a_handshake_on_the_plain_port_is_no_request(site: Site) -> None:
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"
    assert exchange(site.run.url, hello).startswith(b"HTTP/1.1 400 ")


def test_a_slow_handshake_is_cut_off(site: Site) -> None:
    with socket.create_connection((HOST, site.port), 20) as slow:
        slow.sendall(b"\x16\x03\x01")
        assert slow.recv(100) == b""
    told = wait_until(lambda: site.run.events("tls.refused", reason="slow"), "a line about the slow one")
    assert told[0]["client"] == HOST


def test_failures_are_counted_and_not_told_one_by_one(site: Site) -> None:
    for _ in range(30):
        assert exchange(site.url, b"\x16\x03\x01\x00\x05hello")  # an alert
    kinds = {(event["by"], event["reason"]) for event in site.run.events("tls.refused")}
    assert len(site.run.events("tls.refused")) == len(kinds)  # within a minute, one a worker and reason


def test_big_bodies_go_both_ways(site: Site) -> None:
    size = 20 * MIB
    sent = content(size)
    with Visitor(site.url, tls=site.context()) as visitor:
        told = visitor.request("POST", "/wire/tell", body=sent).json()
        assert (told["length"], told["sha256"]) == (size, hashlib.sha256(sent).hexdigest())
        assert visitor.get(f"/wire/fixed?size={size}").body == sent
        assert visitor.get(f"/wire/stream?size={size}&step=70000").body == sent


def test_an_upload_by_curl(site: Site) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content(5 * MIB))
        file.flush()
        told = json.loads(site.curl("--upload-file", file.name, f"{site.url}/wire/tell"))
    assert told["sha256"] == hashlib.sha256(content(5 * MIB)).hexdigest()


def test_a_websocket_over_tls(site: Site) -> None:
    url = site.url.replace("https", "wss") + "/wire/echo"
    with websocket(url, ssl=site.context(), max_size=None) as talk:
        for message in ("hello", "x" * MIB):
            talk.send(message)
            assert talk.recv(20) == message


# ------------------------------------------------------------------------------------------------------------
# Certificates of clients


@pytest.mark.parametrize("target", ["/", "/wsgi/"])
def test_HttpsClientCert_GetCertInformation(site: Site, target: str) -> None:
    told = site.told(target, site.visitor)
    assert base64.b64decode(told["field"]) == site.visitor.der
    assert ssl.PEM_cert_to_DER_cert(told["certificate"]) == site.visitor.der


@pytest.mark.parametrize("target", ["/", "/wsgi/"])
def test_HttpsNoClientCert(site: Site, target: str) -> None:
    told = site.told(target)
    assert told["field"] is None
    assert not told["certificate"]


@pytest.mark.parametrize("target", ["/", "/wsgi/"])
@pytest.mark.parametrize("certified", [True, False])
def test_FilterOutMSRequestHeaders(site: Site, target: str, certified: bool) -> None:
    """A client cannot say that it has a certificate, or another one than it has."""
    forged = base64.b64encode(site.second.der).decode()
    names = ("MS-ASPNETCORE-CLIENTCERT", "ms_aspnetcore_clientcert", "mS-ASPNETCORE", "MS-ASPNETCORE-f")
    told = site.told(target, site.visitor if certified else None, **dict.fromkeys(names, forged))
    assert told["field"] == (base64.b64encode(site.visitor.der).decode() if certified else None)
    assert [name.lower().replace("_", "-") for name in told["names"]] in (
        [["ms-aspnetcore-clientcert"], ["http-ms-aspnetcore-clientcert"]] if certified else [[]]
    )


def test_a_certificate_of_somebody_else_is_refused(site: Site) -> None:
    stranger = site.server.issue("eve@example.org", file="eve", common_name="Eve")
    with pytest.raises(OSError, match=r"alert|reset|closed|EOF"):
        site.ask("/", stranger)
    assert site.told("/")["field"] is None


def test_ClientCertificateMappingTest(own_site: Site) -> None:
    """Required: without one there is no connection; ANCM's site answers 403.7. Over plain HTTP, which the front does
    not serve here, 403.4: a redirect is the front's word for it."""
    tls = {"client_certificate": "required", "client_ca": str(own_site.clients.file), "redirect": 308}
    with own_site.start(app("asgi", f"{UVICORN} certified:asgi"), tls=tls) as run:
        assert base64.b64decode(own_site.told("/", own_site.visitor)["field"]) == own_site.visitor.der
        for certificate in (None, own_site.server.issue("x@example.org", file="x")):
            with pytest.raises(OSError, match=r"alert|reset|closed|EOF"):
                own_site.ask("/", certificate)
        assert run.get("/").status == 308


# ------------------------------------------------------------------------------------------------------------
# From http:// to https://


def test_HttpsRedirectionWorks_and_MultipleHttpsPortsProduceNoEnvVar(own_site: Site) -> None:
    other = free_port()
    tls = {"redirect": 307, "hsts": "365d", "hsts_subdomains": True}
    more = [f"https://{HOST}:{other} proxy_protocol"]
    asgi = app("asgi", f"{UVICORN} certified:asgi")
    with own_site.start(asgi, tls=tls, more=more, trusted_proxies=[f"{HOST}/32"]) as run:
        answer = run.get("/a/b?c=d")
        assert (answer.status, answer.header("location")) == (307, f"https://{HOST}:{own_site.port}/a/b?c=d")
        assert answer.header("strict-transport-security") is None
        followed = own_site.ask("/a/b?c=d")
        assert followed.header("strict-transport-security") == "max-age=31536000; includeSubDomains"
        assert followed.json()["https_port"] is None
        assert procfs.environ(run.pid_of("asgi")).get(NAME) is None
        assert own_site.ask("/", fields=[("Host", "a/b")]).header("strict-transport-security")
        # The PROXY protocol comes before the handshake.
        with socket.create_connection((HOST, other), 20) as plain:
            plain.sendall(b"PROXY TCP4 192.0.2.9 127.0.0.1 5555 443\r\n")
            with own_site.context().wrap_socket(plain, server_hostname=HOST) as encrypted:
                encrypted.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert b'"for": "192.0.2.9"' in b"".join(iter(lambda: encrypted.recv(65536), b""))


@pytest.mark.skipif(os.geteuid() != 0, reason="ports below 1024 are for root")
def test_the_usual_ports_are_bound_by_root_and_served_by_somebody_else(own_site: Site) -> None:
    host = "127.0.0.9"
    own_site.first = own_site.server.issue("a.example", HOST, host, file="a")
    own_site.port, own_site.url = 443, f"https://{host}:443"
    tls = {"redirect": 308}
    more = [f"http://{host}:80"]
    with own_site.start(app("asgi", f"{UVICORN} certified:asgi"), tls=tls, more=more) as run:
        assert (
            own_site.curl("--head", f"http://{host}/x").splitlines()[0] == "HTTP/1.1 308 Permanent Redirect"
        )
        told = json.loads(own_site.curl("--location", f"http://{host}/x"))
        assert (told["scheme"], told["https_port"]) == ("https", "443")
        assert all(0 not in procfs.uids(pid) for pid in run.workers().values())


# ------------------------------------------------------------------------------------------------------------
# Renewal


def replaced(site: Site, names: tuple[str, ...] = ("a.example", HOST)) -> Pair:
    """As an ACME client does: new files in the place of the old ones, one after the other."""
    fresh = site.server.issue(*names, file="fresh")
    os.replace(fresh.certificate, site.first.certificate)
    os.replace(fresh.key, site.first.key)
    return site.first


def every_worker_shows(site: Site, der: bytes) -> bool:
    """Twenty handshakes in a row: both workers take part."""
    return all(site.shown() == der for _ in range(20))


def test_a_certificate_is_renewed_under_load_without_a_failed_request(own_site: Site) -> None:
    context = own_site.server.context()
    with own_site.start(app("asgi", f"{UVICORN} certified:asgi")) as run:
        first = own_site.first.der
        own_site.ask("/")
        with (
            Visitor(own_site.url, tls=own_site.context()) as patient,
            Load(own_site.url, "/", clients=3, tls=context) as steady,
            Load(own_site.url, "/", clients=3, keep_alive=False, tls=context) as fresh,
        ):
            patient.get("/")
            for _ in range(3):
                fresh.wait_for_more(20)
                der = replaced(own_site).der
                assert der != first
                wait_until(lambda der=der: every_worker_shows(own_site, der), "the new certificate")  # type: ignore[misc]
            steady.wait_for_more(20)
            fresh.wait_for_more(20)
            # The connection is the one of before the first renewal.
            assert patient.get("/").status == 200
            assert isinstance(patient.socket, ssl.SSLSocket)
            assert patient.socket.getpeercert(binary_form=True) == first
        assert (steady.failures, fresh.failures) == ([], [])
        workers = run.workers()
        assert len(workers) == 2
        if os.geteuid() == 0:
            assert all(0 not in procfs.uids(pid) for pid in workers.values())


def test_a_renewed_certificate_that_does_not_fit_is_refused_and_the_old_one_stays(own_site: Site) -> None:
    with own_site.start(app("asgi", f"{UVICORN} certified:asgi")) as run:
        good = own_site.first.der
        other = own_site.server.issue("a.example", HOST, file="other")
        os.replace(other.certificate, own_site.first.certificate)
        sentence = (
            f'front.tls.key: read "{own_site.first.key}"; expected the private key of the first certificate'
        )
        run.wait_for_output(sentence)
        assert every_worker_shows(own_site, good)
        refused = run.app("reload")
        assert refused.status == 1
        assert sentence in refused.err
        checked = run.command("check")
        assert (checked.status, sentence in checked.err) == (1, True)
        for pid in run.workers().values():
            procfs.kill(pid)
        wait_until(lambda: _new_workers_show(own_site, good), "workers that were given the old certificate")
        assert own_site.run.events("tls.old-certificates-stay")
        der = replaced(own_site).der
        wait_until(lambda: every_worker_shows(own_site, der), "the certificate that fits")


def _new_workers_show(site: Site, der: bytes) -> bool:
    try:
        return site.shown() == der
    except OSError:
        return False  # not there yet


def test_app_reload_takes_a_renewed_certificate_at_once(own_site: Site) -> None:
    with own_site.start(app("asgi", f"{UVICORN} certified:asgi")) as run:
        workers = run.workers()
        der = replaced(own_site).der
        done = run.app("reload")
        assert done.status == 0, done.said
        wait_until(lambda: every_worker_shows(own_site, der), "the new certificate")
        assert run.workers() == workers
        own_site.second = own_site.server.issue("c.example", file="c")
        text = (own_site.folder / "portico.toml").read_text()
        (own_site.folder / "portico.toml").write_text(text.replace("/b.", "/c."))
        done = run.app("reload")
        assert (done.status, "changed in [front]: tls" in done.out) == (0, True)
        assert own_site.shown("c.example") == own_site.second.der


def test_a_key_is_in_no_file_no_log_and_no_argument(own_site: Site) -> None:
    with own_site.start(app("asgi", f"{UVICORN} certified:asgi")) as run:
        own_site.ask("/")
        replaced(own_site)
        lines = own_site.first.key.read_text().split("\n")
        secret = lines[1].encode()
        wait_until(lambda: own_site.run.events("tls.renewed", process="keeper"), "a renewal")
        found = [path for path in run.files() if secret in path.read_bytes()]
        assert found == [own_site.first.key]
        for process in run.survivors():
            assert secret not in procfs._bytes(process.pid, "environ")
            assert secret not in procfs._bytes(process.pid, "cmdline")
        assert secret.decode() not in run.output


def test_a_recycled_front_loses_no_handshake(own_site: Site) -> None:
    context = own_site.server.context()
    with (
        own_site.start(app("asgi", f"{UVICORN} certified:asgi")) as run,
        Load(own_site.url, "/", clients=4, keep_alive=False, tls=context) as load,
    ):
        load.wait_for_more(20)
        assert run.app("recycle", "portico-front").status == 0
        load.wait_for_more(20)
    assert load.failures == []


def test_an_expired_certificate_is_a_warning(own_site: Site) -> None:
    own_site.first = own_site.server.issue("a.example", HOST, file="old", days=-2)
    with own_site.start(app("asgi", f"{UVICORN} certified:asgi")) as run:
        assert "warning: " in run.output
        assert "expected a certificate that has not expired, as this one on " in run.output
        assert run.get("/").status == 200
