"""The ASGI guard: HTTP, WebSocket and lifespan."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.asgi import AsgiGuard
from backend_shim.guard import guard, is_asgi
from backend_shim.pairing import Address, Pairing
from backend_shim.wsgi import WsgiGuard

TOKEN = "0a1b2c3d-0000-4000-8000-123456789abc"
PAIRED = (b"ms-aspnetcore-token", TOKEN.encode())
Message = dict[str, Any]


class App:
    """An ASGI app that keeps the scopes it was called with."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "app"})


def call(app: Any, scope: dict[str, Any]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def http(*headers: tuple[bytes, bytes], method: str = "GET", path: str = "/", **more: Any) -> dict[str, Any]:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "scheme": "http",
        "headers": list(headers),
    }
    return {**scope, "client": ("127.0.0.1", 5), **more}


def websocket(*headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "websocket", "path": "/ws", "scheme": "ws", "headers": list(headers), **more}


def guarded(base: str = "/") -> tuple[AsgiGuard, App]:
    app = App()
    return AsgiGuard(app, Pairing(TOKEN, base, Address(port=1), pid=77)), app


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pids that the app was told to stop; stopping itself is tried in test_processes and test_servers."""
    pids: list[int] = []
    monkeypatch.setattr("backend_shim.asgi.stop_app", pids.append)
    return pids


def empty(kind: str, status: int) -> list[Message]:
    return [
        {"type": f"{kind}.start", "status": status, "headers": [(b"content-length", b"0")]},
        {"type": f"{kind}.body", "body": b""},
    ]


def test_http_without_the_token_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    guarded_app, app = guarded()
    assert call(guarded_app, http(path="/x", query_string=b"key=secret")) == empty("http.response", 400)
    assert app.scopes == []
    assert caplog.messages == ["refused without the pairing token: 'GET' '/x'"]


names = st.sampled_from(
    [b"ms-aspnetcore-token", b"Ms-AspNetCore-Token", b"ms_aspnetcore_token", b"ms-aspnetcore-x", b"x"]
)
values = st.sampled_from([TOKEN.encode(), b"", b"wrong", TOKEN.encode() + b" ", b"\xff"])


@given(st.lists(st.tuples(names, values), max_size=4))
def test_for_any_fields_only_one_exact_token_passes_and_the_app_never_sees_it(
    fields: list[tuple[bytes, bytes]],
) -> None:
    guarded_app, app = guarded()
    sent = call(guarded_app, http(*fields))
    tokens = [value for name, value in fields if name not in (b"ms-aspnetcore-x", b"x")]
    if tokens == [TOKEN.encode()]:
        assert sent == [{"type": "app"}]
        assert {name for name, _ in app.scopes[0]["headers"]} <= {b"x"}
    else:
        assert (sent, app.scopes) == (empty("http.response", 400), [])


def test_a_websocket_is_denied_with_400_where_the_server_can() -> None:
    guarded_app, app = guarded()
    denial: dict[str, Any] = {"websocket.http.response": {}}
    assert call(guarded_app, websocket(extensions=denial, http_version="2")) == empty(
        "websocket.http.response", 400
    )
    start, body = call(guarded_app, websocket(extensions=denial, http_version="1.1"))
    assert start["headers"] == [(b"content-length", b"0"), (b"connection", b"close")]
    assert (start["status"], body["body"]) == (400, b"")
    assert app.scopes == []


@pytest.mark.parametrize("more", [{}, {"extensions": None}, {"extensions": {}}])
def test_a_websocket_is_closed_where_it_cannot(more: dict[str, Any]) -> None:
    guarded_app, app = guarded()
    assert call(guarded_app, websocket(**more)) == [{"type": "websocket.close"}]
    assert app.scopes == []


def test_a_websocket_with_the_token() -> None:
    guarded_app, app = guarded()
    fields = (PAIRED, (b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"192.0.2.7:80"))
    assert call(guarded_app, websocket(*fields)) == [{"type": "app"}]
    assert (app.scopes[0]["scheme"], app.scopes[0]["client"]) == ("wss", ("192.0.2.7", 80))


def test_lifespan_passes() -> None:
    guarded_app, app = guarded()
    scope = {"type": "lifespan"}
    assert call(guarded_app, scope) == [{"type": "app"}]
    assert app.scopes[0] is scope


def test_an_unknown_kind_of_connection_needs_the_token_too() -> None:
    guarded_app, app = guarded()
    with pytest.raises(RuntimeError, match="webtransport"):
        call(guarded_app, {"type": "webtransport", "headers": []})
    assert app.scopes == []


def test_the_servers_own_scope_is_left_alone() -> None:
    guarded_app, _ = guarded("/shop")
    scope = http(PAIRED, (b"x-forwarded-for", b"192.0.2.7"), path="/shop/x")
    before = {key: list(value) if key == "headers" else value for key, value in scope.items()}
    call(guarded_app, scope)
    assert scope == before


@pytest.mark.parametrize("base", ["/", "/pathBase"])
@pytest.mark.parametrize("event", [b"shutdown", b"Shutdown", b"shutdown "])
def test_shutdown(base: str, event: bytes, stopped: list[int]) -> None:
    guarded_app, app = guarded(base)
    path = base.rstrip("/") + "/iisintegration"
    message = http(PAIRED, (b"ms-aspnetcore-event", event), method="POST", path=path)
    assert call(guarded_app, message) == empty("http.response", 202)
    assert (app.scopes, stopped) == ([], [77])


@pytest.mark.parametrize("change", [{"method": "GET"}, {"path": "/x/iisintegration"}, {"path": "/"}])
def test_another_message_is_the_apps(change: dict[str, str], stopped: list[int]) -> None:
    guarded_app, app = guarded()
    message = {"method": "POST", "path": "/iisintegration", **change}
    assert call(guarded_app, http(PAIRED, (b"ms-aspnetcore-event", b"shutdown"), **message)) == [
        {"type": "app"}
    ]
    assert (len(app.scopes), stopped) == (1, [])


@pytest.mark.parametrize("event", [b"event", b""])
def test_another_event_is_the_apps(event: bytes, stopped: list[int]) -> None:
    guarded_app, app = guarded()
    call(guarded_app, http(PAIRED, (b"ms-aspnetcore-event", event), method="POST", path="/iisintegration"))
    assert (len(app.scopes), stopped) == (1, [])


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "/Shop/x", ("/Shop", "/Shop/x")),
        ("", "/other", ("", "/other")),
        ("/shop", "/shop/x", ("/shop", "/shop/x")),  # hypercorn --root-path
        ("/shop", "/shop/shop/x", ("/shop", "/shop/x")),  # uvicorn --root-path
        ("/outer", "/outer/shop/x", ("/outer/shop", "/outer/shop/x")),
    ],
)
def test_application_path(root: str, path: str, expected: tuple[str, str]) -> None:
    guarded_app, app = guarded("/shop")
    call(guarded_app, http(PAIRED, path=path, root_path=root, raw_path=path.encode()))
    scope = app.scopes[0]
    assert (scope["root_path"], scope["path"]) == expected
    assert scope["raw_path"] == scope["path"].encode()


def test_the_last_line_and_its_last_entry_tell_the_caller() -> None:
    guarded_app, app = guarded()
    call(
        guarded_app,
        http(PAIRED, (b"x-forwarded-for", b"203.0.113.1"), (b"x-forwarded-for", b"203.0.113.2, 192.0.2.7")),
    )
    assert app.scopes[0]["client"] == ("192.0.2.7", 0)
    assert app.scopes[0]["scheme"] == "http"


async def function(scope: Any, receive: Any, send: Any) -> None: ...


def returns_awaitable(scope: Any, receive: Any, send: Any) -> Any: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (function, True),
        (App(), True),
        (functools.partial(function), True),
        (returns_awaitable, True),
        (wsgi, False),
        (WsgiClass, False),
        (functools.partial(wsgi), False),
        (lambda *arguments: None, False),
        (len, True),
    ],
)
def test_kinds(app: Callable[..., Any], expected: bool) -> None:
    assert is_asgi(app) is expected
    kind = AsgiGuard if expected else WsgiGuard
    assert isinstance(guard(app, Pairing(TOKEN, "/", None)), kind)


def test_a_scope_cannot_pretend_to_be_sealed() -> None:
    guard, app = guarded()
    assert call(guard, http(**{"portico.paired": True}))[0]["status"] == 400
    assert app.scopes == []


def test_a_field_of_ours_in_another_spelling_never_reaches_the_app() -> None:
    """A framework that takes `_` for `-` would read it as the certificate."""
    guard, app = guarded()
    call(
        guard, http(PAIRED, (b"ms_aspnetcore_clientcert", b"forged"), (b"ms-aspnetcore-clientcert", b"true"))
    )
    (scope,) = app.scopes
    assert scope["headers"] == [(b"ms-aspnetcore-clientcert", b"true")]
