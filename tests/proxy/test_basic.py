"""The module `basic` in a real worker, with files that the real htpasswd makes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.identity import KEY_LABEL, visitor_of
from backend_shim.identity import Visitor as Known
from backend_shim.pairing import Pairing
from proxy.modules import password_hashes
from proxy.modules.basic import challenge, is_basic, read_credentials
from proxy.pipeline import BadModule, made
from supervisor_conf.module_settings import shipped_module
from supervisor_conf.setting_kinds import Place
from tests.kit.client import Headers, Response, get
from tests.kit.memory_front import settings_of_memory
from tests.kit.raw_app import AppSide, Script, raw_app
from tests.kit.until import wait_until
from tests.kit.worker_process import WorkerProcess, worker_process

CHALLENGE = 'Basic realm="A \\"shop\\"", charset="UTF-8"'


def telling(seen: list[bytes]) -> Script:
    """Answers with the head of the request; 401 to whoever is not known at /private."""

    def tell(app: AppSide) -> None:
        while head := app.head():
            seen.append(head)
            private = head.startswith(b"GET /private") and b"IDENTITY" not in head
            own = b"WWW-Authenticate: Bearer\r\n" if b"/bearer" in head else b""
            status = b"401 Unauthorized" if private else b"200 OK"
            app.say(b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, own, len(head), head))

    return tell


def hashed(path: Path, *people: str, cost: int = 4) -> Path:
    """`people`: name:password."""
    path.touch()
    for person in people:
        user, _, password = person.partition(":")
        subprocess.run(
            ["htpasswd", "-bB", "-C", str(cost), str(path), user, password], check=True, capture_output=True
        )
    return path


@contextmanager
def front(
    folder: Path, options: str = "", people: tuple[str, ...] = ("ann:secret",), cost: int = 4
) -> Iterator[tuple[WorkerProcess, list[bytes]]]:
    """A worker, and the heads that its app has seen."""
    file = hashed(folder / "htpasswd", *people, cost=cost)
    table = f'[[front.modules]]\nuse = "basic"\nfile = "{file}"\nrealm = \'A "shop"\'\n{options}'
    seen: list[bytes] = []
    with worker_process(folder, front=table) as worker, raw_app(telling(seen)) as app:
        worker.publish(app.port)
        yield worker, seen


def ask(
    worker: WorkerProcess, credentials: str | bytes | None = None, target: str = "/", *fields: str
) -> Response:
    headers: Headers = [("Connection", "close")]
    if credentials is not None:
        raw = credentials.encode() if isinstance(credentials, str) else credentials
        headers.append(("Authorization", "Basic " + b64encode(raw).decode()))
    headers += [tuple(field.split(": ", 1)) for field in fields]  # type: ignore[misc]
    host, port = worker.address
    return get(f"http://{host}:{port}", target, headers)


def user_of(answer: Response) -> str:
    visitor = visitor_in(answer)
    assert visitor.scheme == ("Basic" if visitor.user else "")
    return visitor.user


def visitor_in(answer: Response) -> Known:
    """Whom the app was told of, as its shim would read it."""
    assert answer.status == 200, answer
    fields = dict(line.split(b": ", 1) for line in answer.body.split(b"\r\n")[1:] if b": " in line)
    if b"MS-ASPNETCORE-IDENTITY" not in fields:
        return Known()
    key = Pairing("t0ken", "/", None).key(KEY_LABEL)
    visitor = visitor_of([fields[b"MS-ASPNETCORE-IDENTITY"]], key, [fields[b"X-Request-ID"]])
    assert visitor is not None
    return visitor


def told(worker: WorkerProcess) -> list[dict[str, Any]]:
    """The lines of the event log so far."""
    return [json.loads(line) for line in (worker.folder / "portico.log").read_text().splitlines()]


# ------------------------------------------------------------------------------------------------------------
# Who is let in


def test_who_says_nothing_is_asked(tmp_path: Path) -> None:
    with front(tmp_path) as (worker, seen):
        answer = ask(worker)
        assert answer.status == 401
        assert answer.header("WWW-Authenticate") == CHALLENGE
        assert seen == []


def test_right_and_wrong(tmp_path: Path) -> None:
    with front(tmp_path, people=("ann:secret", "jörg:pässwörd")) as (worker, seen):
        answer = ask(worker, "ann:secret")
        assert user_of(answer) == "ann"
        assert b"Authorization" not in answer.body
        assert user_of(ask(worker, "jörg:pässwörd")) == "jörg"
        before = len(seen)
        for wrong in ("ann:Secret", "eve:secret", b"\xff:x", "ann"):
            refused = ask(worker, wrong)
            assert (refused.status, refused.header("WWW-Authenticate")) == (401, CHALLENGE)
        assert len(seen) == before


def test_a_password_is_hashed_once(tmp_path: Path) -> None:
    with front(tmp_path, cost=4) as (worker, _):
        assert user_of(ask(worker, "ann:secret")) == "ann"
        # What is known needs no hash: another file with another password forgets it, see below.
        hashed(tmp_path / "htpasswd", "ann:other")
        assert user_of(ask(worker, "ann:secret")) == "ann"
        wait_until(lambda: ask(worker, "ann:secret").status != 200, "the new file to count")
        assert user_of(ask(worker, "ann:other")) == "ann"
        assert [line["entries"] for line in told(worker) if line["event"] == "htpasswd.changed"] == [1]


def test_requests_with_one_password_at_once_are_one_check(tmp_path: Path) -> None:
    """A page with many pictures, at once after the sign-in; were each an attempt, the sixth would have to wait."""
    with front(tmp_path, cost=10) as (worker, _):
        answers: list[Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(ask(worker, "ann:secret"))) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [user_of(answer) for answer in answers] == ["ann"] * 20


def test_guesses_have_to_wait_and_the_known_do_not(tmp_path: Path) -> None:
    with front(tmp_path) as (worker, seen):
        assert user_of(ask(worker, "ann:secret")) == "ann"
        statuses = [ask(worker, f"ann:{n}") for n in range(9)]
        assert [answer.status for answer in statuses[:5]] == [401] * 5
        late = statuses[-1]
        assert late.status == 429
        assert int(late.header("Retry-After") or 0) >= 1
        assert late.header("WWW-Authenticate") is None
        assert user_of(ask(worker, "ann:secret")) == "ann"
        assert len(seen) == 2
        slowed = [line for line in told(worker) if line["event"] == "basic.slowed"]
        assert [line["client"] for line in slowed] == ["127.0.0.1"]
        assert "secret" not in (worker.folder / "portico.log").read_text()


# ------------------------------------------------------------------------------------------------------------
# Options


def test_not_required(tmp_path: Path) -> None:
    with front(tmp_path, "required = false") as (worker, _):
        assert user_of(ask(worker)) == ""
        assert user_of(ask(worker, "ann:secret")) == "ann"
        assert ask(worker, "ann:wrong").status == 401
        private = ask(worker, None, "/private")
        assert private.status == 401
        assert private.header("WWW-Authenticate") == CHALLENGE
        both = ask(worker, None, "/private/bearer")
        assert [value for name, value in both.headers if name == "www-authenticate"] == ["Bearer", CHALLENGE]
        bearer = ask(worker, None, "/", "Authorization: Bearer abc")
        assert user_of(bearer) == ""
        assert b"Authorization: Bearer abc\r\n" in bearer.body


def test_the_app_sees_the_password_only_if_it_is_to(tmp_path: Path) -> None:
    with front(tmp_path, "pass_authorization = true") as (worker, _):
        answer = ask(worker, "ann:secret")
        assert user_of(answer) == "ann"
        assert b"Authorization: Basic " + b64encode(b"ann:secret") in answer.body


def test_the_groups_of_a_file(tmp_path: Path) -> None:
    groups = tmp_path / "htgroup"
    groups.write_text("staff: ann bob\nshop: ann\n")
    with front(tmp_path, f'groups = "{groups}"', people=("ann:secret", "carl:five")) as (worker, _):
        assert visitor_in(ask(worker, "ann:secret")).groups == ("staff", "shop")
        assert visitor_in(ask(worker, "carl:five")).groups == ()
        groups.write_text("staff: carl\n")
        wait_until(lambda: visitor_in(ask(worker, "carl:five")).groups == ("staff",), "the new groups")
        assert visitor_in(ask(worker, "ann:secret")).groups == ()


def test_two_authorization_fields_are_none(tmp_path: Path) -> None:
    with front(tmp_path) as (worker, seen):
        second = "Authorization: Basic " + b64encode(b"ann:secret").decode()
        assert ask(worker, "ann:secret", "/", second).status == 401
        assert seen == []


def test_a_user_whom_another_module_knows_is_not_asked_again(tmp_path: Path) -> None:
    (tmp_path / "badge.py").write_text(
        "from proxy.modules import Identity, Module\n"
        "class Badge(Module):\n"
        "    def request(self, visit):\n"
        "        if visit.field('X-Badge'):\n"
        "            visit.authenticate(Identity('badge', 'Basic'))\n"
    )
    file = hashed(tmp_path / "htpasswd", "ann:secret")
    table = f'[[front.modules]]\nuse = "badge:Badge"\n[[front.modules]]\nuse = "basic"\nfile = "{file}"'
    with worker_process(tmp_path, front=table) as worker, raw_app(telling([])) as app:
        worker.publish(app.port)
        assert user_of(ask(worker, None, "/", "X-Badge: 1")) == "badge"
        assert ask(worker).status == 401


# ------------------------------------------------------------------------------------------------------------
# Words


@given(st.binary(max_size=60))
def test_any_bytes_are_credentials_or_none(raw: bytes) -> None:
    found = read_credentials("Basic " + b64encode(raw).decode())
    if found is not None:
        assert ":".join(found).encode() == raw


@pytest.mark.parametrize(
    "field",
    ["Basic", "Basic ", "Basic %", "Basic YTp", "Basic YTpi YTpi", "Basic " + b64encode(b"a\n:b").decode(),
     "Basic " + b64encode(b":b").decode(), "Basic " + b64encode(b" a:b").decode(),
     "Basic " + b64encode(b"a:b\0").decode(), "Basic " + b64encode(b"a:" + b"b" * 2000).decode()],
)  # fmt: skip
def test_what_is_no_name_and_password(field: str) -> None:
    assert is_basic(field)
    assert read_credentials(field) is None


def test_the_scheme_has_any_case_and_is_a_whole_word() -> None:
    assert read_credentials("bAsIc   YTpiOmM=") == ("a", "b:c")
    assert not is_basic("Basically YTpi")
    assert not is_basic("Bearer YTpi")


def test_a_realm_that_no_field_could_carry() -> None:
    assert challenge('a\\"b') == 'Basic realm="a\\\\\\"b", charset="UTF-8"'
    for realm in ("Café", "a\nb"):
        with pytest.raises(ValueError, match="the realm is not of printable ASCII"):
            challenge(realm)


def test_a_missing_library_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = hashed(tmp_path / "htpasswd", "ann:sesame")
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    password_hashes._bcrypt.cache_clear()
    settings = settings_of_memory()
    table = shipped_module("basic", {"file": str(file)}, Place(tmp_path))
    says = r"^the module basic does not start: [^/]*; pip install 'portico\[basic\]'$"
    with pytest.raises(BadModule, match=says):
        made(table, "", 0, settings, lambda: 0.0)
