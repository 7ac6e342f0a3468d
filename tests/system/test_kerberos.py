"""Kerberos from end to end: a real KDC, curl and a Python client as callers, apps of another user, and a second service
that is reached with what the caller has delegated."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import signal
import ssl
import stat
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import pytest

from tests.kit import environments, kerberos
from tests.kit.certificates import Authority
from tests.kit.client import Response, Visitor, free_port
from tests.kit.configs import app, front, with_apps
from tests.kit.kerberos import REALM, Realm, Ticket
from tests.kit.run import PorticoRun, myself
from tests.kit.until import wait_for_end, wait_until
from tests.kit.websocket import WebSocketVisitor
from tests.system.conftest import PEOPLE

gssapi = pytest.importorskip("gssapi", reason='needs pip install "portico[negotiate]"')
pytestmark = pytest.mark.skipif(
    bool(kerberos.MISSING),
    reason=f"needs {', '.join(kerberos.MISSING)} of Debian's krb5-kdc, krb5-admin-server, krb5-user",
)

ANN, BOB = f"ann@{REALM}", f"bob@{REALM}"
ROOT = os.geteuid() == 0
APP_USER = "www-data"  # neither the workers' user nor whoever starts Portico


@dataclass
class Place:
    """A run with its realm, two people's tickets, and another service."""

    run: PorticoRun
    realm: Realm
    ann: Ticket
    bob: Ticket
    other: str  # URL
    https: str
    authority: Authority
    owner: int  # uid of the apps

    def curl(self, ticket: Ticket, target: str, *options: str, host: str = "localhost") -> Response:
        """`curl --negotiate`, as a user types it; an own connection for each call."""
        port = self.run.url.rpartition(":")[2]
        url = target if target.startswith("http") else f"http://{host}:{port}{target}"
        common = ["curl", "-s", "-i", "--noproxy", "*", "--negotiate", "-u", ":"]
        done = subprocess.run(
            [*common, *options, url],
            env=os.environ | ticket.environment(),
            capture_output=True,
            timeout=60,
            check=True,
        )
        return last_response(done.stdout)


def last_response(raw: bytes) -> Response:
    """curl shows every response of the conversation."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    if lines[0].split()[1] == "401" and body.startswith(b"HTTP/"):
        return last_response(body)
    length = next(
        (int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), None
    )
    if length is not None and body[length:].startswith(b"HTTP/"):
        return last_response(body[length:])
    fields = tuple((line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines[1:])
    return Response(int(lines[0].split()[1]), fields, body)


APPS = {
    "wsgi": ("gunicorn -k gthread --threads 8 acting:wsgi", "port"),
    "asgi": ("uvicorn acting:asgi", "unix"),
    "given": ("gunicorn -k gthread --threads 4 acting:wsgi", "fd"),
}
DELEGATES = ("--delegation", "always")
CURL_HOSTS = {name: f"{name}.localhost" for name in APPS}


def negotiate(**options: object) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return "\n".join(["[[front.modules]]", 'use = "negotiate"', *lines, "", ""])


@pytest.fixture(scope="module", params=PEOPLE)
def place(request: pytest.FixtureRequest, servers_commands: Path) -> Iterator[Place]:
    person, users = myself(), {"user": APP_USER} if ROOT else {}
    if ROOT and request.param != "root":
        person, users = environments.ordinary_person(request.getfixturevalue("ordinary_commands")), {}
    with ExitStack() as stack:
        folder, keys = with_apps(environments.readable_folder()), environments.readable_folder()
        stack.callback(shutil.rmtree, folder)
        stack.callback(shutil.rmtree, keys)
        realm = stack.enter_context(Realm(keys))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in realm.environment().items():
            patched.setenv(name, value)
        realm.add_user("ann", "ann-secret")
        realm.add_user("bob", "bob-secret")
        names = ["HTTP/localhost", *(f"HTTP/{host}" for host in CURL_HOSTS.values())]
        for name in names:
            realm.add_service(name)
        keytab = realm.keytab(folder / "http.keytab", *names)
        person.owns(keytab)
        from tests.kit.kerberised import Kerberised

        other = stack.enter_context(Kerberised(realm, "second.localhost", keys / "second.keytab"))
        certificates = folder / "certificates"
        certificates.mkdir()
        authority = Authority(certificates)
        pair = authority.issue("localhost", "127.0.0.1", file="front")
        for path in (pair.certificate, pair.key):
            person.owns(path)
        https = f"https://127.0.0.1:{free_port()}"
        config = front(listen=["http://127.0.0.1:@PORT@", https]) + f"[front.tls]\n{pair.toml}\n\n"
        config += negotiate(keytab=str(keytab))
        for name, (command, transport) in APPS.items():
            config += app(
                name,
                f"{servers_commands}/{command}",
                hosts=[CURL_HOSTS[name]] if name != "wsgi" else [],
                transport=transport,
                forward_credentials=True,
                **users,
            )
        run = stack.enter_context(PorticoRun(folder, config, person=person, environment=realm.environment()))
        yield Place(
            run,
            realm,
            realm.login("ann", "ann-secret"),
            realm.login("bob", "bob-secret"),
            other.url,
            https,
            authority,
            pwd.getpwnam(users["user"]).pw_uid if users else person.uid,
        )


def token(ticket: Ticket, *, delegate: bool = False, host: str = "localhost", binding: bytes = b"") -> Any:
    """A Python client's context."""
    flags = gssapi.RequirementFlag.mutual_authentication
    flags |= gssapi.RequirementFlag.delegate_to_peer if delegate else 0
    return gssapi.SecurityContext(
        name=gssapi.Name(f"HTTP@{host}", gssapi.NameType.hostbased_service),
        mech=gssapi.OID.from_int_seq("1.3.6.1.5.5.2"),
        usage="initiate",
        creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{ticket.cache}"}),
        flags=flags,
        channel_bindings=gssapi.raw.ChannelBindings(application_data=binding) if binding else None,
    )


def shown(context: Any) -> list[tuple[str, str]]:
    return [("Authorization", f"Negotiate {b64encode(context.step()).decode()}")]


# ------------------------------------------------------------------------------------------------------------
# Who asks


def test_without_a_ticket(place: Place) -> None:
    answer = place.run.get("/facts")
    assert (answer.status, answer.header("WWW-Authenticate")) == (401, "Negotiate")
    assert place.curl(place.realm.without_ticket(), "/facts").status == 401
    log = (place.run.run_directory / "portico.log").read_text()
    assert "request.failed" not in log  # it is how every conversation begins


def test_curl_with_a_ticket(place: Place) -> None:
    for ticket, name in ((place.ann, ANN), (place.bob, BOB)):
        answer = place.curl(ticket, "/facts")
        assert answer.status == 200
        said = answer.json()
        assert (said["user"], said["scheme"], said["authorization"]) == (name, "Negotiate", None)
        assert (said["cache"], said["file"], said["uid"]) == ("", None, place.owner)
        assert (answer.header("WWW-Authenticate") or "").startswith("Negotiate ")


def test_a_python_client_and_the_server_s_proof(place: Place) -> None:
    context = token(place.ann)
    with Visitor(place.run.url) as visitor:
        answer = visitor.request("GET", "/facts", shown(context))
        assert answer.json()["user"] == ANN
        context.step(b64decode((answer.header("WWW-Authenticate") or "").removeprefix("Negotiate ")))
        assert context.complete
        assert visitor.request("GET", "/facts").status == 401  # a ticket for each request


def test_nobody_says_who_he_is_but_with_a_ticket(place: Place) -> None:
    forged = [
        ("Remote-User", BOB),
        ("X-Remote-User", BOB),
        ("MS-ASPNETCORE-IDENTITY", "e30.x"),
        ("MS_ASPNETCORE_IDENTITY", "e30.x"),
    ]
    assert place.run.get("/facts", forged).status == 401
    assert place.run.get("/facts", forged + shown(token(place.ann))).json()["user"] == ANN


def test_a_captured_token_is_of_no_use(place: Place) -> None:
    captured = shown(token(place.ann))
    assert place.run.get("/facts", captured).status == 200
    for _ in range(4):  # whichever worker takes it
        assert place.run.get("/facts", captured).status == 401


def test_an_upgraded_connection_is_somebody_s(place: Place) -> None:
    host = CURL_HOSTS["asgi"]
    bare = WebSocketVisitor(place.run.url, "/ws", headers=[("Host", host)])
    assert bare.answer.status_code == 401
    bare.socket.close()
    context = token(place.ann, delegate=True, host=host)
    with WebSocketVisitor(place.run.url, "/ws", headers=[("Host", host), *shown(context)]) as visitor:
        assert visitor.answer.status_code == 101
        said = json.loads(visitor.text())
        path = Path(said["cache"].removeprefix("FILE:"))
        assert said["user"] == ANN
        assert path.exists()  # as long as the connection lasts
    wait_until(lambda: not path.exists(), "the end of the cache, with the connection")


def test_the_key_is_nobody_else_s(place: Place) -> None:
    """Neither the file nor a worker's descriptors can be read by another process, of the workers' own user either."""
    keytab = (place.run.directory / "http.keytab").stat()
    assert (stat.S_IMODE(keytab.st_mode), keytab.st_uid) == (0o600, place.run.person.uid)
    for worker in place.run.workers().values() if place.run.person.uid == 0 else ():
        assert pwd.getpwnam("nobody").pw_uid == int(status_of(worker)["Uid"].split()[1])
        tried = subprocess.run(["ls", f"/proc/{worker}/fd"], user="nobody", capture_output=True)
        assert tried.returncode != 0
        assert b"Permission denied" in tried.stderr


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2] for line in lines}


# ------------------------------------------------------------------------------------------------------------
# Over TLS


def test_curl_over_tls(place: Place) -> None:
    port = place.https.rpartition(":")[2]
    answer = place.curl(
        place.ann,
        f"https://localhost:{port}/act?url={place.other}",
        "--cacert",
        str(place.authority.file),
        *DELEGATES,
    )
    assert (answer.json()["user"], answer.json()["other"]) == (ANN, ANN)


def test_a_token_is_for_the_tls_connection_that_it_was_made_for(place: Place) -> None:
    """RFC 5929: the client binds it to the certificate that it was shown."""
    with Visitor(place.https, tls=place.authority.context()) as visitor:
        assert isinstance(visitor.socket, ssl.SSLSocket)
        shown_to_me = visitor.socket.getpeercert(binary_form=True)
        assert shown_to_me is not None
        right = b"tls-server-end-point:" + hashlib.sha256(shown_to_me).digest()
        wrong = b"tls-server-end-point:" + hashlib.sha256(b"the certificate of somebody between").digest()
        refused = visitor.request("GET", "/facts", shown(token(place.ann, binding=wrong)))
        assert refused.status == 401
        assert "made for another TLS connection" in refused.text
        for binding in (right, b""):
            answer = visitor.request("GET", "/facts", shown(token(place.ann, binding=binding)))
            assert answer.json()["user"] == ANN


# ------------------------------------------------------------------------------------------------------------
# What is delegated


@pytest.mark.parametrize("name", list(APPS))
def test_an_app_acts_as_its_caller(place: Place, name: str) -> None:
    target = f"/act?url={place.other}"
    said = place.curl(place.ann, target, *DELEGATES, host=CURL_HOSTS[name]).json()
    assert (said["user"], said["other"]) == (ANN, ANN)
    assert said["file"] == {
        "mode": 0o600,
        "uid": place.owner,
        "folder_mode": 0o700,
        "folder_uid": place.owner,
    }
    assert (said["file_after"], said["in_environment"]) == (True, False)
    path = Path(said["cache"].removeprefix("FILE:"))
    assert path.is_relative_to(place.run.run_directory / "credentials" / name)
    wait_until(lambda: not path.exists(), "the end of the cache, with the request")


def test_without_delegation_the_app_is_nobody_there(place: Place) -> None:
    said = place.curl(place.ann, f"/act?url={place.other}").json()
    assert (said["user"], said["cache"], said["other"]) == (ANN, "", "")


def test_a_ticket_that_is_not_forwardable_is_not_delegated(place: Place) -> None:
    ticket = place.realm.login("ann", "ann-secret", forwardable=False)
    said = place.curl(ticket, "/facts", *DELEGATES).json()
    assert (said["user"], said["cache"]) == (ANN, "")


def test_two_users_at_once_are_two_users(place: Place) -> None:
    tickets = [(place.ann, ANN), (place.bob, BOB)] * 6
    caches = set()

    def ask(one: tuple[Ticket, str]) -> None:
        ticket, name = one
        said = place.curl(ticket, f"/act?url={place.other}", *DELEGATES).json()
        assert (said["user"], said["other"]) == (name, name)
        caches.add(said["cache"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, tickets))
    assert len(caches) == len(tickets)
    left = place.run.run_directory / "credentials"
    wait_until(lambda: not [path for path in left.rglob("*") if path.is_file()], "the end of all caches")


def test_nothing_of_it_is_left_or_told(place: Place) -> None:
    """The format's first bytes, and a ticket's, in any file of the run: logs, rendered files, what was thrown away."""
    place.curl(place.ann, "/facts", *DELEGATES)
    for path in place.run.files():
        content = path.read_bytes()
        assert b"krbtgt" not in content, path
        assert b"BQQAAAAAAAEAAAAB" not in content, path  # b"\x05\x04" and the header, as it travels
    assert [path.name for path in (place.run.run_directory / "kerberos").iterdir()] == ["replays"]


@pytest.mark.parametrize("who", ["worker", "keeper", "app"])
def test_a_cache_goes_with_whoever_goes(place: Place, who: str) -> None:
    run, go_on = place.run, place.run.directory / f"go-on-{who}"
    with ThreadPoolExecutor(1) as pool:
        headers = shown(token(place.ann, delegate=True))
        before = run.log_of("wsgi").count("a request holds")
        asked = pool.submit(quietly, run, f"/hold?until={go_on}", headers)
        wait_until(lambda: run.log_of("wsgi").count("a request holds") > before, "a request with a cache")
        path = Path(run.log_of("wsgi").rpartition("a request holds FILE:")[2].split()[0])
        assert path.exists()
        victims = {"worker": run.workers().values(), "keeper": [run.keeper()], "app": [run.pid_of("wsgi")]}[
            who
        ]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
            wait_for_end(victim)
        wait_until(lambda: not path.exists(), f"the end of the cache, with the {who}")
        go_on.touch()
        asked.result(30)
    wait_until(
        lambda: quietly(run, "/facts", shown(token(place.ann, delegate=True))) == 200, "an answer afterwards"
    )


def quietly(run: PorticoRun, target: str, headers: list[tuple[str, str]]) -> int:
    try:
        return run.get(target, headers).status
    except (OSError, h11.RemoteProtocolError):
        return 0


def test_a_ticket_for_a_whole_connection(place: Place, folder: Path) -> None:
    """With the ways of IIS: one ticket for the connection, and an app that takes who comes without."""
    keytab = folder / "http.keytab"
    keytab.write_bytes((place.run.directory / "http.keytab").read_bytes())
    keytab.chmod(0o600)
    module = negotiate(keytab="http.keytab", persist="connection", strip_realm=True)
    command = "gunicorn -k gthread --threads 4 acting:wsgi"
    with (
        PorticoRun(
            folder, front() + module + app(command=command), environment=place.realm.environment()
        ) as run,
        Visitor(run.url) as visitor,
        Visitor(run.url) as other,
    ):
        assert visitor.request("GET", "/facts").status == 401
        for fields in (shown(token(place.ann)), [], []):
            assert visitor.request("GET", "/facts", fields).json()["user"] == "ann"
        assert other.request("GET", "/facts").status == 401
        assert visitor.request("GET", "/facts", [("Via", "1.1 somebody")]).status == 401
        assert visitor.request("GET", "/facts", shown(token(place.bob))).json()["user"] == "bob"
        assert visitor.request("GET", "/facts").json()["user"] == "bob"


# ------------------------------------------------------------------------------------------------------------
# What does not work is said before anything starts


def test_a_keytab_that_does_not_work(place: Place, folder: Path) -> None:
    good = (place.run.directory / "http.keytab").read_bytes()
    cases = [
        (good[:-7], 0o600, {}, "is no keytab: it is cut off in the middle of an entry"),
        (b"not a keytab", 0o600, {}, "is no keytab: it does not begin as a keytab does"),
        (good, 0o644, {}, "can be read by every user of this machine: chmod 600"),
        (
            good,
            0o600,
            {"principal": f"HTTP/nowhere@{REALM}"},
            f"holds no key of HTTP/nowhere@{REALM}, only of",
        ),
        (None, 0o600, {}, "cannot be read: No such file or directory"),
        (good, 0o600, {"principal": "HTTP/no-realm"}, "a service with its realm"),
        (good, 0o600, {"persist": "ever"}, "one of request, connection"),
    ]
    keytab = folder / "http.keytab"
    for content, mode, options, says in cases:
        keytab.unlink(missing_ok=True)
        if content is not None:
            keytab.write_bytes(content)
            keytab.chmod(mode)
        run = PorticoRun(folder, front() + negotiate(keytab="http.keytab", **options) + app())
        ended = run.command("check")
        assert ended.status in (1, 2)
        assert says in ended.err
        assert "portico.toml:" in ended.err
        assert not (folder / "run").exists()
