"""Whom the shim believes the visitor to be, and where the frameworks find it. The test plays the front."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.authentication import has_required_scope
from starlette.requests import HTTPConnection

from backend_shim.asgi import AsgiGuard
from backend_shim.pairing import Address, Pairing
from backend_shim.wsgi import WsgiGuard
from tests.backend_shim.test_asgi import App as AsgiApp
from tests.backend_shim.test_asgi import call as call_asgi
from tests.backend_shim.test_asgi import empty, http, websocket
from tests.backend_shim.test_wsgi import App as WsgiApp
from tests.backend_shim.test_wsgi import call as call_wsgi
from tests.backend_shim.test_wsgi import request

TOKEN = "0a1b2c3d-0000-4000-8000-123456789abc"
REQUEST_ID = "f00-1"
ANN = {"user": "ann", "scheme": "Basic", "groups": ["staff", "übung"], "id": REQUEST_ID}


def identity(token: str = TOKEN, until: float | None = None, **said: Any) -> str:
    """The field as the front makes it, from its description alone."""
    known = {**ANN, "until": time.time() + 60 if until is None else until, **said}
    content = base64.urlsafe_b64encode(json.dumps(known).encode()).rstrip(b"=")
    key = hmac.new(token.encode(), b"portico identity", hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(hmac.new(key, content, hashlib.sha256).digest()).rstrip(b"=")
    return f"{content.decode()}.{signature.decode()}"


def pairing(knows_visitors: bool = False) -> Pairing:
    return Pairing(TOKEN, "/", Address(port=1), 77, knows_visitors)


def wsgi(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The status, and the environ that the app was given."""
    app = WsgiApp()
    environ = request(HTTP_MS_ASPNETCORE_TOKEN=TOKEN, HTTP_X_REQUEST_ID=REQUEST_ID, **fields)
    status, _, _ = call_wsgi(WsgiGuard(app, pairing()), environ)
    return status, app.calls[0] if app.calls else {}


def scope_of(
    *fields: tuple[bytes, bytes], knows_visitors: bool = False, make: Any = http
) -> dict[str, Any] | None:
    """The scope that the app was given; None: it was refused."""
    app = AsgiApp()
    ours = ((b"ms-aspnetcore-token", TOKEN.encode()), (b"x-request-id", REQUEST_ID.encode()))
    sent = call_asgi(AsgiGuard(app, pairing(knows_visitors)), make(*ours, *fields))
    if not app.scopes:
        assert sent in (empty("http.response", 400), [{"type": "websocket.close"}])
        return None
    return app.scopes[0]


def field(value: str) -> tuple[bytes, bytes]:
    return b"ms-aspnetcore-identity", value.encode()


# ------------------------------------------------------------------------------------------------------------
# A known visitor


def test_wsgi_finds_the_user_where_cgi_puts_it() -> None:
    status, environ = wsgi({"HTTP_MS_ASPNETCORE_IDENTITY": identity()})
    assert status == "200 OK"
    assert (environ["REMOTE_USER"], environ["AUTH_TYPE"]) == ("ann", "Basic")
    visitor = environ["portico.identity"]
    assert (visitor.user, visitor.scheme, visitor.groups) == ("ann", "Basic", ("staff", "übung"))
    assert "portico.credentials" not in environ
    assert "KRB5CCNAME" not in environ
    assert not [key for key in environ if "IDENTITY" in key]


def test_wsgi_finds_delegated_credentials_in_the_request_alone() -> None:
    _, environ = wsgi({"HTTP_MS_ASPNETCORE_IDENTITY": identity(credentials="FILE:/run/x/1.ccache")})
    assert environ["portico.credentials"] == environ["KRB5CCNAME"] == "FILE:/run/x/1.ccache"
    assert environ["portico.identity"].credentials == "FILE:/run/x/1.ccache"


@pytest.mark.parametrize("make", [http, websocket])
def test_asgi_finds_the_user_where_starlette_puts_it(make: Any) -> None:
    scope = scope_of(field(identity(credentials="FILE:/x")), make=make)
    assert scope is not None
    connection = HTTPConnection(scope) if make is http else None
    user = scope["user"]
    assert (user.is_authenticated, user.display_name, user.identity) == (True, "ann", "ann")
    if connection is not None:
        assert connection.user is user
        assert has_required_scope(connection, ["authenticated", "group:staff"])
        assert not has_required_scope(connection, ["group:admins"])
    assert scope["portico.identity"] is user
    assert scope["portico.credentials"] == scope["KRB5CCNAME"] == "FILE:/x"
    assert (b"remote-user", b"ann") in scope["headers"]
    assert not [name for name, _ in scope["headers"] if b"identity" in name.lower()]


def test_a_name_that_is_not_ascii() -> None:
    _, environ = wsgi({"HTTP_MS_ASPNETCORE_IDENTITY": identity(user="Жанна")})
    assert environ["REMOTE_USER"] == "Жанна"
    assert environ["HTTP_REMOTE_USER"].encode("latin-1").decode() == "Жанна"
    scope = scope_of(field(identity(user="Жанна")))
    assert scope is not None
    assert scope["user"].identity == "Жанна"
    assert dict(scope["headers"])[b"remote-user"].decode() == "Жанна"


# ------------------------------------------------------------------------------------------------------------
# Nobody


def test_without_the_field_nobody_is_known_whatever_else_says_so() -> None:
    elsewhere = {"REMOTE_USER": "eve", "AUTH_TYPE": "x", "KRB5CCNAME": "/tmp/eve", "HTTP_REMOTE_USER": "eve"}
    status, environ = wsgi(elsewhere)
    assert status == "200 OK"
    assert not {*elsewhere, "portico.identity", "portico.credentials"} & set(environ)
    scope = scope_of((b"remote-user", b"eve"), (b"Remote_User", b"eve"))
    assert scope is not None
    assert not {"user", "auth", "portico.identity", "portico.credentials", "KRB5CCNAME"} & set(scope)
    assert [name for name, _ in scope["headers"]] == [b"x-request-id"]


def test_where_the_front_looks_who_asks_starlette_finds_an_anonymous_user() -> None:
    scope = scope_of(knows_visitors=True)
    assert scope is not None
    connection = HTTPConnection(scope)
    assert (connection.user.is_authenticated, connection.user.display_name) == (False, "")
    assert not has_required_scope(connection, ["authenticated"])
    assert "portico.identity" not in scope


def test_the_environment_says_whether_the_front_looks_who_asks() -> None:
    environ = {"ASPNETCORE_TOKEN": TOKEN, "ASPNETCORE_APPL_PATH": "/", "ASPNETCORE_PORT": "1"}
    for schemes, known in ((None, False), ("", False), ("Basic", True)):
        more = {} if schemes is None else {"PORTICO_AUTHENTICATION": schemes}
        found = Pairing.from_environ({**environ, **more})
        assert found is not None
        assert found.knows_visitors is known


# ------------------------------------------------------------------------------------------------------------
# What is not believed

UNBELIEVABLE = {
    "of another generation": (identity(token="another-token"), "its signature is not of this app's front"),
    "of another request": (identity(id="f00-2"), "it belongs to another request"),
    "of an earlier time": (identity(until=time.time() - 1), "it has expired"),
    "without a signature": (identity().partition(".")[0], "its signature is not of this app's front"),
    "with an empty one": (identity().partition(".")[0] + ".", "its signature is not of this app's front"),
    "padded": (identity() + "=", "its signature is not of this app's front"),
    "empty": ("", "its signature is not of this app's front"),
    "twice in one line": (f"{identity()},{identity()}", "its signature is not of this app's front"),
}


@pytest.mark.parametrize("case", UNBELIEVABLE)
def test_a_field_that_does_not_fit_is_refused_and_told(case: str, caplog: pytest.LogCaptureFixture) -> None:
    value, why = UNBELIEVABLE[case]
    assert wsgi({"HTTP_MS_ASPNETCORE_IDENTITY": value}) == ("400 Bad Request", {})
    assert scope_of(field(value)) is None
    line = f"refused with an identity that cannot be believed ({why}): 'GET' '/'"
    assert caplog.messages == [line, line]


def test_two_fields_are_refused() -> None:
    assert scope_of(field(identity()), field(identity())) is None
    assert scope_of(field(identity()), (b"MS_ASPNETCORE_Identity", identity().encode())) is None
    assert wsgi({"HTTP_MS_ASPNETCORE_IDENTITY": identity(), "HTTP_MS-ASPNETCORE_IDENTITY": identity()})[0][
        :3
    ] == ("400")


def test_a_request_with_two_ids_is_refused() -> None:
    assert scope_of(field(identity()), (b"X-Request-Id", REQUEST_ID.encode())) is None


def test_a_websocket_is_refused_too() -> None:
    assert scope_of(field(identity(id="other")), make=websocket) is None


@pytest.mark.parametrize("missing", ["user", "scheme", "groups", "id", "until"])
def test_what_is_signed_and_still_cannot_be_read_is_refused(missing: str) -> None:
    known = {**ANN, "until": time.time() + 60}
    del known[missing]
    content = base64.urlsafe_b64encode(json.dumps(known).encode()).rstrip(b"=")
    key = hmac.new(TOKEN.encode(), b"portico identity", hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(hmac.new(key, content, hashlib.sha256).digest()).rstrip(b"=")
    assert scope_of(field(f"{content.decode()}.{signature.decode()}")) is None


def test_the_token_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    app = AsgiApp()
    fields = (field(identity()), (b"x-request-id", REQUEST_ID.encode()))
    assert call_asgi(AsgiGuard(app, pairing()), http(*fields)) == empty("http.response", 400)
    assert caplog.messages == ["refused without the pairing token: 'GET' '/'"]


VALID = identity(until=2**40)


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_no_byte_of_it_can_be_changed(at: int, byte: int) -> None:
    raw = bytearray(VALID.encode())
    changed = raw[at] != byte
    raw[at] = byte
    scope = scope_of((b"ms-aspnetcore-identity", bytes(raw)))
    assert (scope is None) == changed
