"""ASP.NET Core as it stands: a real Kestrel with its own UseIISIntegration, neither of which knows of Portico.

What Microsoft's shim does with the environment, the token, the forwarded fields, the application path and the
shutdown message is what these tests see; `tests/kit/aspnetcore.py` says where the app comes from.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit import procfs
from tests.kit.certificates import Authority, Pair
from tests.kit.client import Headers, Response, Visitor, free_port
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until

TOKEN = "MS-ASPNETCORE-TOKEN"
EVENT = "MS-ASPNETCORE-EVENT"
PAGE = [("Accept", "text/html")]
INTEGRATION = "Microsoft.AspNetCore.Server.IISIntegration"
KESTREL = "Kestrel__Endpoints__Http__Url"
START_LIMIT = 6  # seconds, in which the app that never listens where it should comes to listen elsewhere


def published(folder: Path, program: Path) -> Path:
    """The app beside the fixture apps, where `app` looks for commands."""
    target = folder / "apps" / "Shop"
    os.link(program, target)
    return target


@dataclass(frozen=True, slots=True)
class Tls:
    """The `https://` address, and a visitor who has a certificate."""

    url: str
    authority: Authority
    server: Pair
    ann: Pair

    def told(self, target: str, certificate: Pair | None = None, headers: Headers | None = None) -> Any:
        context = self.authority.context()
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        with Visitor(self.url, tls=context) as visitor:
            return visitor.get(target, headers).json()


@pytest.fixture(scope="module")
def tls(module_folder: Path) -> Tls:
    folder = module_folder / "certificates"
    folder.mkdir(mode=0o700)
    authority = Authority(folder)
    server, ann = authority.issue("127.0.0.1", file="server"), authority.issue("ann@example.org", file="ann")
    return Tls(f"https://127.0.0.1:{free_port()}", authority, server, ann)


@pytest.fixture(scope="module")
def run(module_folder: Path, aspnetcore_app: Path, tls: Tls) -> Iterator[PorticoRun]:
    published(module_folder, aspnetcore_app)
    elsewhere = f"http://127.0.0.1:{free_port()}"
    listen = ["http://127.0.0.1:@PORT@", tls.url]
    config = front(listen=listen, drain_limit=5, max_request_body="64MiB")
    config += f"[front.tls]\n{tls.server.toml}\n"
    config += f'client_certificate = "optional"\nclient_ca = "{tls.authority.file}"\n\n'
    config += app("root", "./Shop")
    config += app("base", "./Shop", path="/pathBase")
    config += app("unix", "./Shop", path="/unix", transport="unix")
    config += app("endpoints", "./Shop", path="/endpoints", environment={KESTREL: elsewhere})
    config += app("slim", "./Shop --no-integration", path="/slim")
    config += app("strict", "./Shop --no-integration", path="/strict", require_pairing=True)
    named = {"ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": "newValue", "DOTNET_PORT": "1", "DOTNET_TOKEN": "other"}
    config += app("named", "./Shop", path="/named", environment=named)
    config += app("urls", f"./Shop --urls {elsewhere}", path="/urls", startup_time_limit=START_LIMIT)
    config += app("broken", "./Shop --broken", path="/broken")
    config += app("ends", "./Shop --exit 3", path="/ends")
    # A process that is killed leaves the socket of its diagnostics behind.
    with PorticoRun(module_folder, config, environment={"DOTNET_EnableDiagnostics": "0"}) as started:
        yield started


APPS = {"/": "root", "/pathBase": "base"}
at_each_base = pytest.mark.parametrize("base", APPS)


def below(base: str, path: str) -> str:
    return base.rstrip("/") + path


def told(run: PorticoRun, target: str, headers: Headers | None = None) -> Any:
    """What the app tells of a GET."""
    answer = run.get(target, headers)
    assert answer.status == 200, answer
    return answer.json()


class Straight:
    """The app's own port, past the front, with the token the front would send."""

    def __init__(self, run: PorticoRun, base: str) -> None:
        self.pid = told(run, base)["pid"]
        self.url = f"http://127.0.0.1:{procfs.environ(self.pid)['PORT']}"
        self.token = run.token_of(self.pid)

    def ask(self, method: str, target: str, *fields: tuple[str, str], token: bool = True) -> Response:
        own = [(TOKEN, self.token)] if token else []
        with Visitor(self.url) as visitor:
            return visitor.request(method, target, [*own, *fields])


# ------------------------------------------------------------------------------------------------------------
# What the app is given


@at_each_base
def test_the_environment_is_what_ancm_gives(run: PorticoRun, tls: Tls, base: str) -> None:
    pid = told(run, base)["pid"]
    environment = procfs.environ(pid)
    ours = {name: value for name, value in environment.items() if name.startswith(("ASPNETCORE_", "HTTP_PL"))}
    token, port = ours.pop("ASPNETCORE_TOKEN"), environment["PORT"]
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    assert ours == {
        "ASPNETCORE_PORT": port,
        "ASPNETCORE_APPL_PATH": base,
        "ASPNETCORE_URLS": f"http://127.0.0.1:{port}",
        "ASPNETCORE_ANCM_HTTPS_PORT": tls.url.rpartition(":")[2],
        "ASPNETCORE_IIS_HTTPAUTH": "anonymous;",
        "ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED": "true",
        "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES": INTEGRATION,
        "HTTP_PLATFORM_PORT": port,
        "HTTP_PLATFORM_APPL_PATH": base,
    }
    assert procfs.listening({pid}) == {("127.0.0.1", int(port))}


def test_its_folder_is_the_working_directory_and_the_content_root(run: PorticoRun) -> None:
    facts = told(run, "/")
    assert facts["directory"] == facts["root"] == str(run.directory / "apps")
    assert facts["arguments"] == []


# ------------------------------------------------------------------------------------------------------------
# What it makes of a request


def test_the_visitor_is_who_asked_the_front(run: PorticoRun) -> None:
    """ForwardedHeadersMiddleware takes the last hop and keeps what the connection said in X-Original-*."""
    forged = [("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-Proto", "https"), ("X-Original-For", "8.8.8.8")]
    facts = told(run, "/a", [*forged, ("X-Forwarded-Host", "evil.example"), ("Host", "shop.example:81")])
    assert (facts["remote"], facts["scheme"], facts["host"]) == ("127.0.0.1", "http", "shop.example:81")
    fields = dict(facts["headers"])
    assert fields["X-Original-Proto"] == "http"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", fields["X-Original-For"])
    assert "X-Forwarded-For" not in fields
    assert fields["X-Forwarded-Host"] == "shop.example:81"
    assert not {"9.9.9.9", "8.8.8.8", "evil.example"} & set(fields.values())


def test_https_ends_at_the_front_and_the_app_knows(run: PorticoRun, tls: Tls) -> None:
    assert run.url
    facts = tls.told("/x")
    assert (facts["scheme"], facts["remote"], facts["certificate"]) == ("https", "127.0.0.1", None)
    assert dict(facts["headers"])["X-Original-Proto"] == "http"


def test_a_client_certificate_is_the_connections(run: PorticoRun, tls: Tls) -> None:
    """`Connection.ClientCertificate`, from MS-ASPNETCORE-CLIENTCERT, which no visitor can say."""
    thumbprint = hashlib.sha1(tls.ann.der).hexdigest().upper()
    assert tls.told("/x", tls.ann)["certificate"] == thumbprint
    forged = [("MS-ASPNETCORE-CLIENTCERT", b64encode(tls.ann.der).decode())]
    assert tls.told("/x", headers=forged)["certificate"] is None
    assert told(run, "/x", forged)["certificate"] is None
    straight = Straight(run, "/")
    assert straight.ask("GET", "/x", *forged).json()["certificate"] == thumbprint
    broken = straight.ask("GET", "/x", ("MS-ASPNETCORE-CLIENTCERT", "bm90IGEgY2VydGlmaWNhdGU="))
    assert broken.json()["certificate"] is None
    wait_until(lambda: "Failed to read the client certificate" in run.log_of("root"), "the shim's warning")


@pytest.mark.parametrize(
    ("target", "base", "path", "query"),
    [
        ("/pathBase", "/pathBase", "", ""),
        ("/pathBase/", "/pathBase", "/", ""),
        ("/PathBase/Path", "/PathBase", "/Path", ""),
        ("/pathBase/Path/%3F%3F?query", "/pathBase", "/Path/??", "?query"),
        ("/Query/%3FPath?query?", "", "/Query/?Path", "?query?"),
        ("/pathBase//Path", "/pathBase", "//Path", ""),
        ("/pathBase/a%2Fb", "/pathBase", "/a%2Fb", ""),
        ("/pathBase2/Path", "", "/pathBase2/Path", ""),
    ],
)
def test_the_path_base_keeps_its_case_and_the_path_its_bytes(
    run: PorticoRun, target: str, base: str, path: str, query: str
) -> None:
    facts = told(run, target)
    assert (facts["base"], facts["path"], facts["query"]) == (base, path, query)


def test_bodies_may_be_as_long_as_the_front_allows(run: PorticoRun) -> None:
    """The shim lifts Kestrel's own limit of 30,000,000 bytes: one place decides."""
    with Visitor(run.url) as visitor:
        assert visitor.request("POST", "/length", body=bytes(30_000_001)).text == "30000001"
        assert visitor.request("POST", "/echo", [("Transfer-Encoding", "chunked")], b"told").text == "told"


def test_the_app_has_the_upgrade_feature(run: PorticoRun) -> None:
    """The shim takes it away where ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED says false."""
    assert told(run, "/")["upgradable"] is True


def test_a_visitor_who_leaves_aborts_the_request(run: PorticoRun) -> None:
    told(run, "/")
    with Visitor(run.url) as visitor:
        visitor.send("GET", "/silent")
        wait_until(lambda: "/silent" in run.log_of("root"), "the request in the app")
    wait_until(lambda: "the visitor has gone" in run.log_of("root"), "RequestAborted")


# ------------------------------------------------------------------------------------------------------------
# The token


@at_each_base
def test_without_the_token_it_answers_400_and_nothing_else(run: PorticoRun, base: str) -> None:
    straight = Straight(run, base)
    other = straight.token.swapcase() if straight.token != straight.token.upper() else "x" * 64
    for fields in ((), ((TOKEN, other),), ((TOKEN, straight.token), (TOKEN, straight.token))):
        answer = straight.ask("GET", below(base, "/exit?9"), *fields, token=False)
        assert (answer.status, answer.body) == (400, b"")
    assert told(run, base)["pid"] == straight.pid
    wait_until(lambda: "guarded" in run.app("status").out, "the guard in app status")


def test_the_token_that_the_shim_writes_to_its_log_is_not_in_ours(run: PorticoRun) -> None:
    """IISMiddleware logs the token it expects whenever it refuses a request, Portico's own question included."""
    straight = Straight(run, "/")
    straight.ask("GET", "/", token=False)
    said = "does not match the expected pairing token"
    wait_until(lambda: run.log_of("root").count(said) >= 2, "two refusals in the app's log")
    everything = b"".join(path.read_bytes() for path in run.files())
    assert straight.token.encode() not in everything
    assert straight.token not in run.app("log", "root").said
    assert "'[pairing token]', request rejected" in run.log_of("root")


# ------------------------------------------------------------------------------------------------------------
# Its end


@at_each_base
@pytest.mark.parametrize("event", ["shutdown", "Shutdown"])
def test_the_shutdown_message_ends_it_well(run: PorticoRun, base: str, event: str) -> None:
    straight = Straight(run, base)
    answer = straight.ask("POST", below(base, "/IISIntegration"), (EVENT, event))
    assert (answer.status, answer.body) == (202, b"")
    wait_for_end(straight.pid)
    assert told(run, base)["pid"] != straight.pid


@at_each_base
def test_what_is_no_shutdown_message_is_the_apps(run: PorticoRun, base: str) -> None:
    straight = Straight(run, base)
    message = below(base, "/iisintegration")
    assert straight.ask("POST", message, (EVENT, "other")).status == 200
    assert straight.ask("POST", message).status == 200
    assert straight.ask("GET", message, (EVENT, "shutdown")).status == 200
    assert straight.ask("POST", below(base, "/x/iisintegration"), (EVENT, "shutdown")).status == 200
    assert straight.ask("DEBUG", below(base, "/")).json()["method"] == "DEBUG"  # no debugger is attached
    with Visitor(run.url) as visitor:  # the front takes it from whoever is not the front
        answer = visitor.request("POST", message, [(EVENT, "shutdown"), (TOKEN, straight.token)])
        assert answer.status == 200
    assert told(run, base)["pid"] == straight.pid


def test_a_recycle_ends_it_gracefully_with_its_request_answered(run: PorticoRun) -> None:
    before = told(run, "/pathBase")["pid"]
    answers: list[Response] = []
    sleeper = threading.Thread(target=lambda: answers.append(run.get("/pathBase/sleep?1500")))
    sleeper.start()
    run.wait_for_sleepers(app="base")
    assert run.app("recycle", "base").status == 0
    assert told(run, "/pathBase")["pid"] != before
    sleeper.join()
    assert answers[0].json()["pid"] == before
    wait_for_end(before)
    wait_until(lambda: run.log_of("base").count("the app has stopped") >= 1, "its own last words")
    log = next((run.directory / "logs" / "base").glob(f"*_{before}.log")).read_text()
    assert log.index("the app is stopping") < log.index("the app has stopped")
    events = (run.run_directory / "portico.log").read_text().splitlines()
    assert any('"app.shutdown-message"' in line and '"accepted":true' in line for line in events)


@pytest.mark.parametrize(
    ("target", "words"), [("/exit?7", "exit status 7"), ("/failfast", "killed by SIGABRT")]
)
def test_how_it_died_is_told(run: PorticoRun, target: str, words: str) -> None:
    before = told(run, "/")["pid"]
    assert run.get(target).status == 502
    wait_for_end(before)
    wait_until(lambda: words in run.app("why", "root").out, f"{words!r} in app why")
    assert told(run, "/")["pid"] != before


def test_after_a_kill_the_first_request_is_served(run: PorticoRun) -> None:
    before = told(run, "/")["pid"]
    os.kill(before, signal.SIGKILL)
    wait_for_end(before)
    assert told(run, "/")["pid"] != before


# ------------------------------------------------------------------------------------------------------------
# Apps that are set up otherwise


def test_endpoints_of_its_own_configuration_give_way(run: PorticoRun) -> None:
    """`Kestrel:Endpoints`, as ConfigureKestrel's Listen: UseIISIntegration prefers the URL of the host."""
    facts = told(run, "/endpoints")
    assert facts["base"] == "/endpoints"
    wait_until(lambda: "Overriding endpoints" in run.log_of("endpoints"), "Kestrel's own warning")


def test_a_unix_socket_is_a_url_to_kestrel(run: PorticoRun) -> None:
    """No port, so no integration: the file's mode is the guard."""
    facts = told(run, "/unix/x")
    assert (facts["base"], facts["path"], facts["remote"]) == ("", "/unix/x", None)


def test_variables_of_the_other_prefix_and_foreign_assemblies_change_nothing(run: PorticoRun) -> None:
    facts = told(run, "/named/x")
    assert facts["base"] == "/named"
    environment = procfs.environ(facts["pid"])
    assert environment["ASPNETCORE_HOSTINGSTARTUPASSEMBLIES"] == "newValue"
    assert "guarded" in status_of(run, "named")
    assert "not guarded" not in status_of(run, "named")


def test_an_app_without_the_integration_listens_to_the_url_and_is_served_unguarded(run: PorticoRun) -> None:
    facts = told(run, "/slim/x")
    assert (facts["base"], facts["path"]) == ("", "/slim/x")
    assert dict(facts["headers"])["X-Forwarded-Proto"] == "http"
    assert dict(facts["headers"])[TOKEN] == run.token_of(facts["pid"])
    wait_until(lambda: "not guarded" in status_of(run, "slim"), "«not guarded» in app status")


def test_require_pairing_refuses_an_app_without_the_integration(run: PorticoRun) -> None:
    refused = run.get("/strict/x", PAGE)
    assert refused.status == 502
    assert "token" in refused.text


def test_an_app_with_urls_of_its_own_is_found_out(run: PorticoRun) -> None:
    """UseUrls beats the shim: it never listens on the port that it was given."""
    answers: list[Response] = []
    visitor = threading.Thread(target=lambda: answers.append(run.get("/urls/", PAGE)))
    visitor.start()
    run.wait_for_output("urls: listens on 127.0.0.1:")
    said = run.app("why", "urls").out  # on a slow machine the start has been given up meanwhile
    assert "a start is under way" in said or "the start failed" in said
    visitor.join()
    (refused,) = answers
    why = run.app("why", "urls").out
    assert refused.status == 502
    address = re.search(r"Now listening on: http://(127\.0\.0\.1:(\d+))", why)
    assert address, why
    for text in (refused.text, why):
        assert address[1] in text
        assert f"port = {address[2]}" in text


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("broken", ("SIGABRT", "InvalidOperationException: the app's own mistake")),
        ("ends", ("exit status 3",)),
    ],
)
def test_a_start_that_fails_is_told(run: PorticoRun, app: str, words: tuple[str, ...]) -> None:
    refused = run.get(f"/{app}/", PAGE)
    assert refused.status == 502
    why = run.app("why", app).out
    for word in words:
        assert word in why
        assert word in refused.text.replace("&#39;", "'").replace("&#x27;", "'")


def status_of(run: PorticoRun, app: str) -> str:
    """The lines of `app status` for one app."""
    return run.app("status", app).out
