"""The module `negotiate` in a whole worker, with tickets of a real KDC: who is let through, and as whom."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest
import structlog
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.keytab import read_keytab
from proxy.modules import Module, Visit
from proxy.pipeline import Chain, Pipeline
from proxy.streams import Stream
from supervisor_conf.module_settings import ModuleSettings
from supervisor_conf.settings import load_settings
from tests.kit import environments, kerberos
from tests.kit.kerberos import REALM, Realm, Ticket
from tests.kit.memory import MemorySocket
from tests.kit.memory_front import MemoryFront, memory_front
from tests.kit.until import wait_until

gssapi = pytest.importorskip("gssapi", reason='needs pip install "portico[negotiate]"')
pytestmark = pytest.mark.skipif(
    bool(kerberos.MISSING),
    reason=f"needs {', '.join(kerberos.MISSING)} of Debian's krb5-kdc, krb5-admin-server, krb5-user",
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SERVICE = "HTTP/localhost"


@dataclass
class Place:
    """A realm with two users, their tickets, and the keytab of the service."""

    realm: Realm
    keytab: Path
    ann: Ticket
    bob: Ticket


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = environments.readable_folder()
    with Realm(folder) as realm:
        realm.add_user("ann", "ann-secret")
        realm.add_user("bob", "bob-secret")
        realm.add_service(SERVICE)
        realm.add_service("HTTP/other")
        before = dict(os.environ)
        os.environ.update(realm.environment())
        keytab = realm.keytab(folder / "http.keytab", SERVICE)
        yield Place(realm, keytab, realm.login("ann", "ann-secret"), realm.login("bob", "bob-secret"))
        os.environ.clear()
        os.environ.update(before)


@dataclass
class HereContext:
    """What a module is given, with the test's folder; what blocks is done at once."""

    run_directory: Path
    forwards_credentials: bool = False
    clock: Callable[[], float] = time.monotonic
    app: str = ""
    number: int = 0
    workers: int = 1
    uid: int = field(default_factory=os.geteuid)
    log: Any = field(default_factory=structlog.get_logger)
    waits: Event | None = None

    def now(self) -> float:
        return self.clock()

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.waits is not None:
            self.waits.wait()
        return function(*arguments)


class Tap(Module):
    """Remembers who came as far as this."""

    def __init__(self) -> None:
        self.users: list[Any] = []

    def request(self, visit: Visit) -> None:
        self.users.append(visit.user)


class Front:
    """A worker with `negotiate` and a tap after it."""

    def __init__(self, memory: MemoryFront, module: Module, tap: Tap, context: HereContext) -> None:
        self.memory, self.module, self.tap, self.context = memory, module, tap, context

    def ask(
        self, visitor: MemorySocket, token: bytes | str | None = None, fields: str = "", answer: bytes = OK
    ) -> Answered:
        said = b64encode(token).decode() if isinstance(token, bytes) else token
        authorization = f"Authorization: Negotiate {said}\r\n" if said is not None else ""
        head = f"GET /a HTTP/1.1\r\nHost: localhost\r\n{authorization}{fields}\r\n"
        known, apps = len(self.tap.users), len(self.memory.apps)
        got = self.memory.ask(visitor, head.encode())
        seen = b"".join(app.recv_all() for app in self.memory.apps)
        if seen:
            assert len(self.memory.apps) <= apps + 1
            self.memory.apps[-1].send(answer)
            self.memory.settle()
            got += visitor.recv_all()
        return Answered(got, seen, self.tap.users[known:])

    def visit(self) -> MemorySocket:
        return self.memory.visit(family=socket.AF_INET)


@dataclass
class Answered:
    raw: bytes
    app_saw: bytes
    users: list[Any]

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def user(self) -> str | None:
        (identity,) = self.users
        return identity.user if identity is not None else None

    @property
    def offers(self) -> list[str]:
        return [value.decode() for value in re.findall(rb"\r\nWWW-Authenticate: ([^\r]*)", self.raw)]

    @property
    def token(self) -> bytes:
        (offer,) = self.offers
        return b64decode(offer.removeprefix("Negotiate "))


@contextlib.contextmanager
def front_of(
    place: Place,
    folder: Path,
    context: HereContext | None = None,
    front: dict[str, object] | None = None,
    **options: object,
) -> Iterator[Front]:
    with memory_front(front=front) as memory:
        context = context or HereContext(folder)
        module = made(place.keytab, context, **options)
        tap = Tap()
        memory.pipeline = Pipeline(Chain([("negotiate", module), ("tap", tap)]), {"shop": Chain([])})
        memory.publish(1)
        yield Front(memory, module, tap, context)
        module.close()


def made(keytab: Path, context: HereContext, **options: object) -> Module:
    """As the worker makes it of what the configuration says."""
    from proxy.modules.negotiate import Negotiate

    return Negotiate(options_of(context.run_directory, keytab=str(keytab), **options), context)


def options_of(folder: Path, **options: object) -> dict[str, Any]:
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
    file = folder / "portico.toml"
    file.write_text(f'[[front.modules]]\nuse = "negotiate"\n{lines}\n[apps.shop]\ncommand = "true"\n')
    (table,) = load_settings(file, {}).front.modules
    assert isinstance(table, ModuleSettings)
    return table.values()


class Client:
    """Somebody with a ticket, who makes tokens for the service."""

    def __init__(
        self,
        ticket: Ticket,
        service: str = "HTTP@localhost",
        *,
        delegate: bool = False,
        dce: bool = False,
        binding: bytes = b"",
    ) -> None:
        flags = gssapi.RequirementFlag.mutual_authentication
        flags |= gssapi.RequirementFlag.delegate_to_peer if delegate else 0
        flags |= gssapi.RequirementFlag.dce_style if dce else 0
        credentials = gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{ticket.cache}"})
        self._context = gssapi.SecurityContext(
            name=gssapi.Name(service, gssapi.NameType.hostbased_service),
            mech=gssapi.OID.from_int_seq("1.3.6.1.5.5.2"),
            usage="initiate",
            creds=credentials,
            flags=flags,
            channel_bindings=gssapi.raw.ChannelBindings(application_data=binding) if binding else None,
        )

    def token(self, answer: bytes | None = None) -> bytes:
        token = self._context.step(answer)
        return token or b""

    @property
    def complete(self) -> bool:
        return bool(self._context.complete)


# ------------------------------------------------------------------------------------------------------------
# Who is let through


def test_without_a_ticket_the_request_goes_nowhere(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path) as front:
        answer = front.ask(front.visit())
    assert (answer.status, answer.offers, answer.app_saw, answer.users) == (401, ["Negotiate"], b"", [])


def test_a_ticket_says_who_asks_and_the_server_proves_itself(place: Place, tmp_path: Path) -> None:
    client = Client(place.ann)
    with front_of(place, tmp_path) as front:
        answer = front.ask(front.visit(), client.token())
    assert (answer.status, answer.user) == (200, f"ann@{REALM}")
    assert answer.users[0].scheme == "Negotiate"
    assert b"authorization" not in answer.app_saw.lower()
    client.token(answer.token)
    assert client.complete


def test_each_request_shows_its_own_ticket(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path) as front:
        visitor = front.visit()
        assert front.ask(visitor, Client(place.ann).token()).status == 200
        assert front.ask(visitor).status == 401
        assert front.ask(visitor, Client(place.bob).token()).user == f"bob@{REALM}"


def test_a_token_is_good_once_in_all_workers(place: Place, tmp_path: Path) -> None:
    token = Client(place.ann).token()
    with front_of(place, tmp_path) as one, front_of(place, tmp_path) as other:
        assert one.ask(one.visit(), token).status == 200
        for front in (one, other):
            again = front.ask(front.visit(), token)
            assert (again.status, again.users) == (401, [])
            assert b"this token has been used before" in again.raw


def test_a_ticket_for_another_key(place: Place, tmp_path: Path) -> None:
    place.realm.add_service("HTTP/renewed")
    keytab = place.realm.keytab(tmp_path / "old.keytab", "HTTP/renewed")
    place.realm.change_key("HTTP/renewed")
    old = Place(place.realm, keytab, place.ann, place.bob)
    with front_of(old, tmp_path) as front:
        answer = front.ask(front.visit(), Client(place.ann, "HTTP@renewed").token())
        other = front.ask(front.visit(), Client(place.ann, "HTTP@other").token())
    assert (answer.status, answer.users, other.status, other.users) == (401, [], 401, [])
    assert b"keytab holds no key for the ticket, or an older one" in answer.raw
    assert b"keytab holds no key for the ticket, or an older one" in other.raw


def test_a_keytab_with_a_wrong_key(place: Place, tmp_path: Path) -> None:
    """Of the right name and version, as somebody has who was given another realm's."""
    wrong = bytearray(place.keytab.read_bytes())
    for key in read_keytab(bytes(wrong)):
        assert key.encryption in (17, 18)  # the secret's last byte is before the version at the entry's end
    position = 2
    while position < len(wrong):
        position += 4 + int.from_bytes(wrong[position : position + 4], "big")
        wrong[position - 5] ^= 1
    (tmp_path / "wrong.keytab").write_bytes(wrong)
    (tmp_path / "wrong.keytab").chmod(0o600)
    other = Place(place.realm, tmp_path / "wrong.keytab", place.ann, place.bob)
    with front_of(other, tmp_path) as front:
        answer = front.ask(front.visit(), Client(place.ann).token())
    assert (answer.status, answer.users) == (401, [])
    assert b"not made with a key of this server" in answer.raw


def test_an_expired_ticket(tmp_path: Path) -> None:
    folder = environments.readable_folder()
    with Realm(folder, skew=1) as realm, pytest.MonkeyPatch.context() as patched:
        for name, value in realm.environment().items():
            patched.setenv(name, value)
        realm.add_user("ann", "password")
        realm.add_service(SERVICE)
        keytab = realm.keytab(folder / "http.keytab", SERVICE)
        ticket = realm.login("ann", "password", lifetime="4s")
        token, made_at = Client(ticket).token(), time.time()
        wait_until(lambda: time.time() > made_at + 6, "the ticket's end, and the skew of the clocks")
        with front_of(Place(realm, keytab, ticket, ticket), tmp_path) as front:
            answer = front.ask(front.visit(), token)
    assert (answer.status, answer.users, answer.offers) == (401, [], ["Negotiate"])
    assert b"the ticket has expired" in answer.raw


def test_ntlm_is_refused_in_words(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path) as front:
        visitor = front.visit()
        answer = front.ask(visitor, b"NTLMSSP\0\1\0\0\0" + bytes(24))
        assert (answer.status, answer.offers, answer.users) == (401, ["Negotiate"], [])
        assert b"your browser offers NTLM" in answer.raw
        assert (
            front.ask(visitor, Client(place.ann).token()).status == 200
        )  # the connection is as good as before


def test_another_mechanism_than_kerberos_is_refused(place: Place, tmp_path: Path) -> None:
    iakerb = bytes.fromhex("06062b0601050205") + bytes(20)
    with front_of(place, tmp_path) as front:
        answer = front.ask(front.visit(), b"\x60" + bytes([len(iakerb)]) + iakerb)
    assert (answer.status, answer.users) == (401, [])
    assert b"only Kerberos is accepted here" in answer.raw


@pytest.mark.parametrize("said", ["!", "YII", "YIIC YIIC", "=", "é", "A" * 100_000])
def test_what_is_no_token_is_refused(place: Place, tmp_path: Path, said: str) -> None:
    with front_of(place, tmp_path) as front:
        answer = front.ask(front.visit(), said)
    assert answer.status in (400, 431)
    assert answer.users == []


def test_two_tokens_are_refused(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path) as front:
        other = f"Authorization: Negotiate {b64encode(Client(place.bob).token()).decode()}\r\n"
        answer = front.ask(front.visit(), Client(place.ann).token(), other)
    assert (answer.status, answer.users) == (400, [])


def test_no_bytes_are_somebody(place: Place, tmp_path: Path) -> None:
    """Whatever is sent, nobody is authenticated, nothing of ours breaks, and who has a ticket is served after it."""
    good = Client(place.ann).token()
    with front_of(place, tmp_path) as front:

        @settings(max_examples=200)
        @given(
            st.binary(max_size=200)
            | st.builds(
                lambda cut, junk: good[:cut] + junk, st.integers(0, len(good) - 1), st.binary(max_size=30)
            )
            | st.builds(lambda at, bit: bent(good, at, bit), st.integers(0, len(good) - 1), st.integers(0, 7))
        )
        def check(token: bytes) -> None:
            answer = front.ask(front.visit(), token)
            assert (answer.status, answer.app_saw) == (401, b"") or answer.user == f"ann@{REALM}"

        check()
        assert front.ask(front.visit(), Client(place.ann).token()).status == 200


def bent(token: bytes, at: int, bit: int) -> bytes:
    """A bit may not matter (a hint of SPNEGO's): then it is still ann who is let through, and nobody else."""
    return token[:at] + bytes([token[at] ^ 1 << bit]) + token[at + 1 :]


def test_only_so_many_tokens_are_judged_at_once(place: Place, tmp_path: Path) -> None:
    from proxy.modules.negotiate import MOST_AT_ONCE

    context = HereContext(tmp_path, waits=Event())
    with front_of(place, tmp_path, context) as front:
        tokens = [b64encode(Client(place.ann).token()).decode() for _ in range(MOST_AT_ONCE)]
        visitors = [front.visit() for _ in tokens]
        for visitor, token in zip(visitors, tokens, strict=True):
            visitor.send(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Negotiate {token}\r\n\r\n".encode())
        front.memory.settle()
        late = front.ask(front.visit(), Client(place.ann).token())
        assert late.status == 503
        assert b"\r\nRetry-After: 1\r\n" in late.raw
        assert context.waits is not None
        context.waits.set()
        gevent.sleep(0)
        front.memory.settle()
        assert len(front.tap.users) == MOST_AT_ONCE


# ------------------------------------------------------------------------------------------------------------
# Bound to a TLS connection (RFC 5929)


@pytest.mark.parametrize(
    ("option", "end_point", "bound_to", "status"),
    [
        ("offered", b"mine", b"mine", 200),
        ("offered", b"mine", b"yours", 401),
        ("offered", b"mine", b"", 200),
        ("offered", b"", b"mine", 200),  # nothing of ours to hold against it
        ("required", b"mine", b"mine", 200),
        ("required", b"mine", b"yours", 401),
        ("required", b"mine", b"", 401),
        ("required", b"", b"mine", 401),
        ("off", b"mine", b"yours", 200),
    ],
)
def test_a_token_may_be_bound_to_its_connection(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    end_point: bytes,
    bound_to: bytes,
    status: int,
) -> None:
    monkeypatch.setattr(Stream, "end_point", end_point)
    binding = b"tls-server-end-point:" + bound_to if bound_to else b""
    with front_of(place, tmp_path, channel_binding=option) as front:
        answer = front.ask(front.visit(), Client(place.ann, binding=binding).token())
    assert (answer.status, len(answer.users)) == (status, int(status == 200))


# ------------------------------------------------------------------------------------------------------------
# Connections


def test_a_connection_may_be_whose_ticket_was_shown_on_it(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path, persist="connection") as front:
        visitor, stranger = front.visit(), front.visit()
        assert front.ask(visitor, Client(place.ann).token()).user == f"ann@{REALM}"
        assert front.ask(visitor).user == f"ann@{REALM}"
        assert front.ask(stranger).status == 401
        assert front.ask(visitor, fields="Authorization: Basic YTpi\r\n").status == 401
        assert front.ask(visitor, Client(place.bob).token()).user == f"bob@{REALM}"
        assert front.ask(visitor).user == f"bob@{REALM}"
        assert front.ask(visitor, b"nonsense").status == 401
        assert front.ask(visitor).status == 401


def test_a_connection_is_nobody_s_when_the_ticket_has_ended(place: Place, tmp_path: Path) -> None:
    now = time.monotonic()
    context = HereContext(tmp_path, clock=lambda: now)
    with front_of(place, tmp_path, context, persist="connection") as front:
        visitor = front.visit()
        assert front.ask(visitor, Client(place.ann).token()).status == 200
        now += 3600 - 60
        assert front.ask(visitor).status == 200
        now += 3600
        assert front.ask(visitor).status == 401


@pytest.mark.parametrize("mark", ["Via: 1.1 proxy", "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"])
def test_a_proxy_s_connection_is_nobody_s(place: Place, tmp_path: Path, mark: str) -> None:
    with front_of(place, tmp_path, persist="connection") as front:
        visitor = front.visit()
        assert front.ask(visitor, Client(place.ann).token(), f"{mark}\r\n").user == f"ann@{REALM}"
        assert front.ask(visitor, fields=f"{mark}\r\n").status == 401
        assert front.ask(visitor).status == 401


def test_a_trusted_proxy_s_connection_is_nobody_s(place: Place, tmp_path: Path) -> None:
    """Whether it tells of itself or not."""
    trusts: dict[str, object] = {"trusted_proxies": ("192.0.2.0/24",)}
    with front_of(place, tmp_path, front=trusts, persist="connection") as front:
        visitor = front.visit()
        assert front.ask(visitor, Client(place.ann).token()).user == f"ann@{REALM}"
        assert front.ask(visitor).status == 401
        first = front.ask(visitor, Client(place.ann, dce=True).token())
        assert (first.status, first.offers) == (401, ["Negotiate"])


def test_a_unix_socket_s_connection_is_nobody_s(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path, persist="connection") as front:
        visitor = front.memory.visit()
        assert front.ask(visitor, Client(place.ann).token()).status == 200
        assert front.ask(visitor).status == 401


def test_a_handshake_of_several_messages(place: Place, tmp_path: Path) -> None:
    client = Client(place.ann, dce=True)
    with front_of(place, tmp_path) as front:
        visitor = front.visit()
        first = front.ask(visitor, client.token())
        assert (first.status, first.users) == (401, [])
        last = front.ask(visitor, client.token(first.token))
        assert (last.status, last.user) == (200, f"ann@{REALM}")


def test_a_handshake_does_not_go_on_elsewhere(place: Place, tmp_path: Path) -> None:
    client = Client(place.ann, dce=True)
    now = time.monotonic()
    context = HereContext(tmp_path, clock=lambda: now)
    with front_of(place, tmp_path, context) as front:
        first = front.ask(front.visit(), client.token())
        second = client.token(first.token)
        assert front.ask(front.visit(), second).status == 401  # on another connection

        proxy = front.visit()
        passed = front.ask(proxy, Client(place.ann, dce=True).token(), "Via: 1.1 proxy\r\n")
        assert (passed.status, passed.offers) == (401, ["Negotiate"])
        assert b"cannot pass a proxy" in passed.raw

        slow, visitor = Client(place.ann, dce=True), front.visit()
        first = front.ask(visitor, slow.token())
        now += 31
        assert front.ask(visitor, slow.token(first.token)).status == 401

        broken, visitor = Client(place.ann, dce=True), front.visit()
        first = front.ask(visitor, broken.token())
        assert front.ask(visitor).status == 401  # says nothing: it is over
        assert front.ask(visitor, broken.token(first.token)).status == 401
        assert front.tap.users == []


# ------------------------------------------------------------------------------------------------------------
# Names, and what is not required


def test_names_may_be_told_without_their_realm(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path, strip_realm=True) as front:
        assert front.ask(front.visit(), Client(place.ann).token()).user == "ann"


def test_a_realm_that_is_not_admitted(place: Place, tmp_path: Path) -> None:
    with front_of(place, tmp_path, realms=["OTHER.TEST"]) as front:
        answer = front.ask(front.visit(), Client(place.ann).token())
    assert (answer.status, answer.users) == (403, [])


def test_one_service_of_several_in_the_keytab(place: Place, tmp_path: Path) -> None:
    both = place.realm.keytab(tmp_path / "both.keytab", SERVICE, "HTTP/other")
    several = Place(place.realm, both, place.ann, place.bob)
    for principal, status in (("", 200), (f"HTTP/other@{REALM}", 200), (f"{SERVICE}@{REALM}", 401)):
        with front_of(several, tmp_path, principal=principal) as front:
            answer = front.ask(front.visit(), Client(place.ann, "HTTP@other").token())
        assert (answer.status, len(answer.users)) == (status, int(status == 200)), principal


def test_where_no_ticket_is_required(place: Place, tmp_path: Path) -> None:
    unknown = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
    with front_of(place, tmp_path, required=False) as front:
        visitor = front.visit()
        assert front.ask(visitor).user is None
        assert front.ask(visitor, Client(place.ann).token()).user == f"ann@{REALM}"
        bearer = front.ask(visitor, fields="Authorization: Bearer x\r\n")
        assert b"Authorization: Bearer x" in bearer.app_saw
        assert front.ask(visitor, answer=unknown).offers == ['Basic realm="x"', "Negotiate"]
        assert front.ask(visitor, b"nonsense").status == 401


# ------------------------------------------------------------------------------------------------------------
# Delegation


def test_what_is_delegated_is_taken_where_somebody_wants_it(place: Place, tmp_path: Path) -> None:
    for wanted in (False, True):
        with front_of(place, tmp_path, HereContext(tmp_path, forwards_credentials=wanted)) as front:
            plain = front.ask(front.visit(), Client(place.ann).token())
            answer = front.ask(front.visit(), Client(place.ann, delegate=True).token())
        assert plain.users[0].credentials == b""
        assert bool(answer.users[0].credentials) is wanted
    cache = tmp_path / "cache"
    cache.write_bytes(answer.users[0].credentials)
    listed = subprocess.run(["klist", "-c", str(cache)], capture_output=True, text=True, check=True).stdout
    assert f"Default principal: ann@{REALM}" in listed
    assert f"krbtgt/{REALM}@{REALM}" in listed
    assert "credentials" not in repr(answer.users[0])
    assert not list((tmp_path / "kerberos").glob("*.ticket"))


# ------------------------------------------------------------------------------------------------------------
# Keytabs that do not work


def test_what_does_not_work_is_said_in_a_sentence(place: Place, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a text")
    (tmp_path / "text").chmod(0o600)
    (tmp_path / "cut").write_bytes(place.keytab.read_bytes()[:-5])
    (tmp_path / "cut").chmod(0o600)
    (tmp_path / "open").write_bytes(place.keytab.read_bytes())
    (tmp_path / "open").chmod(0o644)
    cases: list[tuple[Path, dict[str, object], str]] = [
        (tmp_path / "none", {}, "none cannot be read: No such file or directory"),
        (tmp_path, {}, "cannot be read: Is a directory"),
        (tmp_path / "text", {}, "text is no keytab: it does not begin as a keytab does"),
        (tmp_path / "cut", {}, "cut is no keytab: it is cut off in the middle of an entry"),
        (tmp_path / "open", {}, "open can be read by every user of this machine: chmod 600"),
        (
            place.keytab,
            {"principal": f"HTTP/x@{REALM}"},
            f"holds no key of HTTP/x@{REALM}, only of {SERVICE}@{REALM}",
        ),
        (place.keytab, {"strip_realm": True, "realms": ["A", "B"]}, r"strip_realm wants one realm.*\(A, B\)"),
    ]
    for keytab, options, says in cases:
        with pytest.raises(ValueError, match=says):
            made(keytab, HereContext(tmp_path), **options)
