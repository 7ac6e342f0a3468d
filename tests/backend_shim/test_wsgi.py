"""The WSGI guard: the rows of ANCM's own middleware tests, and what the app is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim import integrate
from backend_shim.pairing import Address, Pairing
from backend_shim.refusal import log_refused
from backend_shim.wsgi import WsgiGuard

TOKEN = "0a1b2c3d-0000-4000-8000-123456789abc"
FIELD = "HTTP_MS_ASPNETCORE_TOKEN"


class App:
    """A WSGI app that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.calls.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"hi"]


def request(method: str = "GET", path: str = "/", **more: str) -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(
        {"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1", "QUERY_STRING": ""}, **more
    )
    return environ


def call(app: Any, environ: dict[str, Any]) -> tuple[str, dict[str, str], bytes]:
    seen: list[tuple[str, list[tuple[str, str]]]] = []
    body = app(environ, lambda status, headers, *_: seen.append((status, headers)))
    try:
        content = b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()
    status, headers = seen[-1]
    return status, dict(headers), content


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pids that the app was told to stop; stopping itself is tried in test_processes and test_servers."""
    pids: list[int] = []
    monkeypatch.setattr("backend_shim.wsgi.stop_app", pids.append)
    return pids


def guarded(base: str = "/") -> tuple[WsgiGuard, App]:
    app = App()
    return WsgiGuard(app, Pairing(TOKEN, base, Address(port=1), pid=77)), app


def test_skipped_if_the_token_is_missing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASPNETCORE_TOKEN", raising=False)
    app = App()
    assert integrate(app) is app


def test_rejects_if_the_header_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    guard, app = guarded()
    with caplog.at_level(logging.WARNING, "portico"):
        status, headers, body = call(guard, request(path="/x\ny", QUERY_STRING="key=secret"))
    assert (status, headers, body) == ("400 Bad Request", {"Content-Length": "0"}, b"")
    assert app.calls == []
    assert caplog.messages == [r"refused without the pairing token: 'GET' '/x\ny'"]


def test_applied_twice_or_inside_another_guard_is_applied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASPNETCORE_TOKEN", TOKEN)
    monkeypatch.setenv("ASPNETCORE_APPL_PATH", "/shop")
    monkeypatch.setenv("ASPNETCORE_PORT", "1")
    app = App()
    once = integrate(app)
    assert integrate(once) is once

    def framework(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return once(environ, start_response)  # app.wsgi_app = integrate(app.wsgi_app), say

    around = integrate(framework)
    assert around is not framework
    assert call(around, request(path="/shop/shop/x", **{FIELD: TOKEN}))[0] == "200 OK"
    assert (app.calls[0]["SCRIPT_NAME"], app.calls[0]["PATH_INFO"]) == ("/shop", "/shop/x")
    assert call(around, request())[0] == "400 Bad Request"


@pytest.mark.parametrize("base", ["/", "/pathBase"])
@pytest.mark.parametrize("event", ["shutdown", "Shutdown", "shutdown ", " SHUTDOWN"])
@pytest.mark.parametrize("path", ["/iisintegration", "/IISIntegration"])
def test_shutdown(base: str, event: str, path: str, stopped: list[int]) -> None:
    guard, app = guarded(base)
    message = request("POST", base.rstrip("/") + path, HTTP_MS_ASPNETCORE_EVENT=event, **{FIELD: TOKEN})
    assert call(guard, message) == ("202 Accepted", {"Content-Length": "0"}, b"")
    assert (app.calls, stopped) == ([], [77])


@pytest.mark.parametrize("method", ["PUT", "TRACE", "HEAD", "GET", "DELETE", "OPTIONS", "post"])
def test_shutdown_with_the_wrong_method_is_the_apps(method: str, stopped: list[int]) -> None:
    guard, app = guarded()
    call(guard, request(method, "/iisintegration", HTTP_MS_ASPNETCORE_EVENT="shutdown", **{FIELD: TOKEN}))
    assert (len(app.calls), stopped) == (1, [])


@pytest.mark.parametrize(
    "path", ["/", "/path", "/path/iisintegration", "/iisintegration/", "/iisintegration2"]
)
def test_shutdown_with_the_wrong_path_is_the_apps(path: str, stopped: list[int]) -> None:
    guard, app = guarded()
    call(guard, request("POST", path, HTTP_MS_ASPNETCORE_EVENT="shutdown", **{FIELD: TOKEN}))
    assert (len(app.calls), stopped) == (1, [])


@pytest.mark.parametrize("event", ["event", "", "shutdown,shutdown", None])
def test_shutdown_with_the_wrong_event_is_the_apps(event: str | None, stopped: list[int]) -> None:
    guard, app = guarded()
    more = {} if event is None else {"HTTP_MS_ASPNETCORE_EVENT": event}
    call(guard, request("POST", "/iisintegration", **{FIELD: TOKEN}, **more))
    assert (len(app.calls), stopped) == (1, [])
    assert "HTTP_MS_ASPNETCORE_EVENT" not in app.calls[0]


def test_shutdown_without_the_token_is_refused(stopped: list[int]) -> None:
    guard, app = guarded()
    message = request("POST", "/iisintegration", HTTP_MS_ASPNETCORE_EVENT="shutdown")
    assert call(guard, message)[0] == "400 Bad Request"
    assert (app.calls, stopped) == ([], [])


names = st.sampled_from(
    [FIELD, "HTTP_MS-ASPNETCORE-TOKEN", "HTTP_ms_aspnetcore_token", "HTTP_MS_ASPNETCORE_TOKENS", "HTTP_X"]
)
values = st.sampled_from([TOKEN, "", "wrong", f"{TOKEN},{TOKEN}", f"{TOKEN}, wrong"])


@given(st.dictionaries(names, values))
def test_for_any_fields_only_one_exact_token_passes_and_the_app_never_sees_it(fields: dict[str, str]) -> None:
    guard, app = guarded()
    status, _, body = call(guard, request(**fields))
    tokens = [value for name, value in fields.items() if name not in ("HTTP_MS_ASPNETCORE_TOKENS", "HTTP_X")]
    if tokens == [TOKEN]:
        assert status == "200 OK"
        assert not [key for key in app.calls[0] if "ASPNETCORE" in key.upper()]
    else:
        assert (status, body, app.calls) == ("400 Bad Request", b"", [])


def test_the_certificate_is_for_the_app() -> None:
    guard, app = guarded()
    call(guard, request(HTTP_MS_ASPNETCORE_CLIENTCERT="MIIB", **{FIELD: TOKEN}))
    assert app.calls[0]["HTTP_MS_ASPNETCORE_CLIENTCERT"] == "MIIB"


def test_variables_cannot_pretend_to_be_the_seal() -> None:
    guard, app = guarded()
    assert call(guard, request(**{"portico.paired": "True"}))[0] == "400 Bad Request"
    assert app.calls == []


def test_the_caller_is_believed_for_one_hop() -> None:
    guard, app = guarded()
    fields = {
        "HTTP_X_FORWARDED_FOR": "198.51.100.1, [2001:db8::7]:443",
        "HTTP_X_FORWARDED_PROTO": "http, https",
    }
    call(guard, request(**{FIELD: TOKEN}, **fields, REMOTE_PORT="9", REMOTE_HOST="front"))
    environ = app.calls[0]
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("2001:db8::7", "443")
    assert environ["wsgi.url_scheme"] == "https"
    assert "REMOTE_HOST" not in environ


def test_nobody_forwarded_leaves_everything() -> None:
    guard, app = guarded()
    call(guard, request(**{FIELD: TOKEN}, REMOTE_PORT="9"))
    assert (app.calls[0]["REMOTE_ADDR"], app.calls[0]["REMOTE_PORT"]) == ("127.0.0.1", "9")


@pytest.mark.parametrize(
    ("script", "path", "expected"),
    [
        ("", "/Shop/x", ("/Shop", "/x")),
        ("", "/shop", ("/shop", "")),
        ("", "/other", ("", "/other")),
        ("/shop", "/shop/x", ("/shop", "/shop/x")),
        ("/outer", "/shop/x", ("/outer/shop", "/x")),
    ],
)
def test_application_path(script: str, path: str, expected: tuple[str, str]) -> None:
    guard, app = guarded("/shop")
    call(guard, request(path=path, SCRIPT_NAME=script, **{FIELD: TOKEN}))
    assert (app.calls[0]["SCRIPT_NAME"], app.calls[0]["PATH_INFO"]) == expected


def test_an_application_path_beyond_ascii() -> None:
    guard, app = guarded("/café")
    call(guard, request(path="/café/é".encode().decode("latin-1"), **{FIELD: TOKEN}))
    assert app.calls[0]["PATH_INFO"].encode("latin-1").decode() == "/é"


def test_the_fronts_own_question_is_refused_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    log_refused("GET", "/shop/iisintegration")
    log_refused("POST", "/shop/iisintegration")
    assert caplog.messages == ["refused without the pairing token: 'POST' '/shop/iisintegration'"]
