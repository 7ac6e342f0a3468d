"""Who the visitor is, from a password to the apps of docs/identity.md, which run here as they stand there."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_shim.identity import KEY_LABEL
from backend_shim.pairing import Pairing
from proxy.identity import Identity, signed
from tests.kit import procfs
from tests.kit.client import Headers, Response, exchange, get
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.properties.heads import any_dash

PAGE = Path(__file__).resolve().parents[2] / "docs" / "identity.md"
PEOPLE = {"ann": "sécret", "Жанна": "открой"}


def blocks() -> dict[str, str]:
    """The code of the page by the file name in its first line."""
    found = re.findall(
        r"^```\w+\n(?:#|//) (\S+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return dict(found)


def htpasswd(folder: Path) -> Path:
    file = folder / "htpasswd"
    file.touch(0o600)
    for name, password in PEOPLE.items():
        subprocess.run(
            ["htpasswd", "-bB", "-C", "4", str(file), name, password], check=True, capture_output=True
        )
    return file


def basic(file: Path, where: str = "front", **options: object) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"file": str(file), **options}.items()]
    return "\n".join([f"[[{where}.modules]]", 'use = "basic"', *lines, "", ""])


def authorization(name: str, password: str | None = None) -> Headers:
    raw = f"{name}:{PEOPLE.get(name) if password is None else password}".encode()
    return [("Authorization", f"Basic {base64.b64encode(raw).decode()}")]


# ------------------------------------------------------------------------------------------------------------
# The apps of the page


@pytest.fixture(scope="module")
def documented(module_folder: Path) -> Iterator[PorticoRun]:
    apps = module_folder / "apps"
    code = blocks()
    for name in ("flask_app.py", "fastapi_app.py", "node_app.js"):
        (apps / name).write_text(code[name])
    (apps / "said.py").write_text(code["settings.py"])
    database = {"DATABASE": str(module_folder / "people.sqlite")}
    config = front(workers=1) + basic(htpasswd(module_folder), required=False, realm="Shop")
    config += app("flask", "flask --app flask_app run", path="/flask")
    config += app("fastapi", "uvicorn fastapi_app:app", path="/fastapi")
    config += app("node", "node node_app.js", path="/node", remote_user_header="X-Remote-User")
    config += app("wsgi", "waitress-serve people_wsgi:application", path="/wsgi", environment=database)
    database = {"DATABASE": str(module_folder / "people_too.sqlite")}
    config += app("asgi", "uvicorn people_asgi:application", path="/asgi", environment=database)
    with PorticoRun(module_folder, config) as run:
        yield run


APPS = ["flask", "fastapi", "node", "wsgi", "asgi"]


def body(answer: Response) -> str:
    assert answer.status == 200, answer
    return answer.text


@pytest.mark.parametrize("name", APPS)
def test_the_app_knows_who_signed_in_and_nobody_else(documented: PorticoRun, name: str) -> None:
    nobody = body(documented.get(f"/{name}/"))
    assert "ann" not in nobody
    assert "stranger" in nobody or '"known": false' in nobody
    assert "ann" in body(documented.get(f"/{name}/", authorization("ann")))
    for field in ("Remote-User", "remote_user", "X-Remote-User", "X-Remote.User", "MS-ASPNETCORE-IDENTITY"):
        assert body(documented.get(f"/{name}/", [(field, "ann")])) == nobody


@pytest.mark.parametrize("name", APPS)
def test_the_app_s_401_makes_a_browser_ask(documented: PorticoRun, name: str) -> None:
    asked = documented.get(f"/{name}/private")
    assert (asked.status, asked.header("WWW-Authenticate")) == (401, 'Basic realm="Shop", charset="UTF-8"')
    assert "ann" in body(documented.get(f"/{name}/private", authorization("ann")))


def test_flask_is_told_the_scheme(documented: PorticoRun) -> None:
    assert body(documented.get("/flask/private", authorization("ann"))) == "hello ann, known by Basic"


def test_fastapi_has_starlettes_scopes(documented: PorticoRun) -> None:
    told = documented.get("/fastapi/private", authorization("ann")).json()
    assert told == {"hello": "ann", "scopes": ["authenticated"]}


def test_django_has_a_user_of_its_own_either_way(documented: PorticoRun) -> None:
    for kind in ("wsgi", "asgi"):
        told = documented.get(f"/{kind}/", authorization("ann")).json()
        assert told == {"user": "ann", "known": True, "kind": kind}


@pytest.mark.parametrize("name", ["flask", "fastapi", "node", "wsgi"])
def test_a_name_that_is_not_ascii(documented: PorticoRun, name: str) -> None:
    told = documented.get(f"/{name}/", authorization("Жанна"))
    text = json.dumps(told.json(), ensure_ascii=False) if name in ("fastapi", "wsgi") else told.text
    assert "Жанна" in text


def test_curl_signs_in(documented: PorticoRun) -> None:
    def curl(*words: str) -> str:
        command = ["curl", "--silent", "--max-time", "20", *words, f"{documented.url}/flask/private"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert curl("--user", f"ann:{PEOPLE['ann']}") == "hello ann, known by Basic"
    assert curl("--anyauth", "--user", f"ann:{PEOPLE['ann']}") == "hello ann, known by Basic"
    assert "401" in curl("--user", "ann:wrong", "--write-out", "%{http_code}")


# ------------------------------------------------------------------------------------------------------------
# What nobody can forge


@pytest.fixture(scope="module", params=["true", "false"], ids=["quick", "judge"])
def signed_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PorticoRun]:
    from tests.system.conftest import _folder

    for folder in _folder():
        config = front(workers=1, quick_lane=request.param == "true")
        config += app("wsgi", "waitress-serve signed:wsgi", path="/wsgi")
        config += app("asgi", "uvicorn --log-level warning signed:asgi", path="/asgi")
        config += app("plain", "waitress-serve signed:wsgi", path="/plain")
        for name in ("wsgi", "asgi"):
            config += basic(htpasswd(folder), f"apps.{name}", required=False)
        with PorticoRun(folder, config) as run:
            yield run


WHO = [b"ms-aspnetcore-identity", b"remote-user", b"x-remote-user", b"auth-type", b"x-request-id"]
LEAK = signed(Identity("eve", "Basic"), b"a-token", b"an-id", 2**40).decode()
claims = st.tuples(
    st.sampled_from(WHO).flatmap(any_dash).map(lambda name: name.decode()), st.sampled_from(["eve", LEAK])
)


@settings(max_examples=25)
@given(st.lists(claims, min_size=1, max_size=4), st.sampled_from(["wsgi", "asgi", "plain"]), st.booleans())
def test_no_bytes_from_a_client_reach_the_app_as_identity(
    signed_run: PorticoRun, fields: Headers, name: str, signs_in: bool
) -> None:
    said = [*fields, *(authorization("ann") if signs_in else [])]
    told = signed_run.get(f"/{name}/", said).json()
    known = signs_in and name != "plain"
    assert told.get("visitor") == (["ann", "Basic", [], ""] if known else None)
    who = {key: value for key, value in told["facts"].items() if is_about_visitors(key)}
    if not known:
        assert not who
    elif name == "wsgi":
        assert who == {"REMOTE_USER": "ann", "AUTH_TYPE": "Basic", "HTTP_REMOTE_USER": "ann"}
    else:
        assert who == {"remote-user": "ann"}
    if name == "asgi":
        assert told["facts"]["scope user"] == str((known, "ann" if known else ""))


def is_about_visitors(key: str) -> bool:
    folded = re.sub(r"[^a-z0-9]", "-", key.lower()).removeprefix("http-")
    ours = ("remote-user", "x-remote-user", "ms-aspnetcore-identity", "krb5ccname")
    return folded in ours or (folded == "auth-type" and not key.startswith("HTTP_") and key.isupper())


class Straight:
    """Past the front, with its words: what an attacker with a leaked token could do, and one without."""

    def __init__(self, run: PorticoRun, name: str) -> None:
        told = run.get(f"/{name}/").json()
        self.pid = told["pid"]
        environment = procfs.environ(self.pid)
        self.token = environment["ASPNETCORE_TOKEN"]
        self.url = f"http://127.0.0.1:{environment['PORT']}"
        self.target = f"/{name}/"

    def ask(self, *fields: tuple[str, str]) -> Response:
        return get(self.url, self.target, [("MS-ASPNETCORE-TOKEN", self.token), *fields])


@pytest.mark.parametrize("name", ["wsgi", "asgi"])
def test_a_signed_field_is_of_one_generation_one_request_and_one_time(
    signed_run: PorticoRun, name: str
) -> None:
    app = Straight(signed_run, name)
    ann = Identity("ann", "Basic")
    request_id = ("X-Request-ID", "id-1")

    def field(token: str = app.token, until: int = 2**40) -> tuple[str, str]:
        return "MS-ASPNETCORE-IDENTITY", signed(ann, token.encode(), b"id-1", until).decode()

    assert app.ask(field(), request_id).json()["visitor"][0] == "ann"
    for fields in (
        [field()],
        [field(), ("X-Request-ID", "id-2")],
        [field("another-token"), request_id],
        [field(until=1), request_id],
        [field(), field(), request_id],
    ):
        refused = app.ask(*fields)
        assert (refused.status, refused.body) == (400, b"")
    assert "visitor" not in app.ask(request_id).json()
    without_token = get(app.url, app.target, [field(), request_id])
    assert (without_token.status, without_token.body) == (400, b"")
    log = signed_run.app("log", name).out
    for why in (
        "it belongs to another request",
        "its signature is not of this app's front",
        "it has expired",
    ):
        assert f"refused with an identity that cannot be believed ({why}): 'GET' '/{name}/'" in log


def test_what_one_start_was_told_is_nothing_to_the_next(signed_run: PorticoRun) -> None:
    before = Straight(signed_run, "wsgi")
    assert signed_run.app("recycle", "wsgi").status == 0
    wait_until(lambda: signed_run.get("/wsgi/").json()["pid"] != before.pid, "another process")
    after = Straight(signed_run, "wsgi")
    assert after.token != before.token
    old = signed(Identity("ann", "Basic"), before.token.encode(), b"id-1", 2**40).decode()
    assert after.ask(("MS-ASPNETCORE-IDENTITY", old), ("X-Request-ID", "id-1")).status == 400
    assert Pairing(before.token, "/", None).key(KEY_LABEL) != Pairing(after.token, "/", None).key(KEY_LABEL)


def test_the_trailer_of_a_request_says_nothing_either(signed_run: PorticoRun) -> None:
    raw = exchange(
        signed_run.url,
        b"POST /asgi/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: Remote-User\r\n\r\n1\r\nx\r\n0\r\nRemote-User: eve\r\nMS-ASPNETCORE-IDENTITY: eve\r\n\r\n",
    )
    assert raw.startswith(b"HTTP/1.1 200")
    assert b"eve" not in raw


# ------------------------------------------------------------------------------------------------------------
# What is wrong is said before it is met

WRONG = {
    "an MD5 hash": (
        "ann:$apr1$abc$def\n",
        "htpasswd, line 1: ann has an MD5 hash, which is guessed too quickly",
    ),
    "no hash at all": ("# people\nann:sesame\n", "htpasswd, line 2: ann has a password in plain text"),
    "no file": (None, "htpasswd cannot be read: No such file or directory; htpasswd -cB "),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_says_what_is_wrong_with_the_file(folder: Path, case: str) -> None:
    text, sentence = WRONG[case]
    if text is not None:
        (folder / "htpasswd").write_text(text)
    run = PorticoRun(folder, front() + basic(folder / "htpasswd") + app("shop", "waitress-serve signed:wsgi"))
    checked = run.command("check")
    assert checked.status == 1
    assert sentence in checked.said
    assert "sesame" not in checked.said


def test_a_reload_with_a_wrong_file_leaves_the_old_one_in_force(folder: Path) -> None:
    file = htpasswd(folder)
    config = front(workers=1) + basic(file) + app("shop", "waitress-serve signed:wsgi")
    with PorticoRun(folder, config) as run:
        assert run.get("/", authorization("ann")).status == 200
        new = folder / "new"
        new.write_text("ann:sesame\n")
        new.rename(file)
        done = run.app("reload")
        assert done.status == 1
        assert "htpasswd, line 1: ann has a password in plain text" in done.said
        assert run.get("/", authorization("ann")).status == 200
        file.unlink()
        htpasswd(folder)
        subprocess.run(["htpasswd", "-bB", str(file), "bob", "builder"], check=True, capture_output=True)
        done = run.app("reload")
        assert done.status == 0, done.said
        assert run.get("/", authorization("bob", "builder")).json()["visitor"][0] == "bob"
