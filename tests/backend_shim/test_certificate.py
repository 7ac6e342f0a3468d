"""The visitor's certificate, as WSGI and ASGI apps find it."""

from __future__ import annotations

import base64
import logging
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.asgi import AsgiGuard
from backend_shim.certificate import Chain, pem_of
from backend_shim.pairing import Address, Pairing
from tests.backend_shim.test_asgi import App as AsgiApp
from tests.backend_shim.test_asgi import call as call_asgi
from tests.backend_shim.test_asgi import http, websocket
from tests.backend_shim.test_wsgi import FIELD, TOKEN, guarded, request
from tests.backend_shim.test_wsgi import App as WsgiApp
from tests.backend_shim.test_wsgi import call as call_wsgi

DER = b"0\x82" + bytes(range(256)) * 3
TOLD = base64.b64encode(DER).decode()
PAIRED = (b"ms-aspnetcore-token", TOKEN.encode())
HTTPS = (b"x-forwarded-proto", b"https")


@given(st.binary(max_size=200))
def test_the_pem_is_what_openssl_reads(rest: bytes) -> None:
    pem = pem_of(base64.b64encode(b"0" + rest).decode())
    assert ssl.PEM_cert_to_DER_cert(pem) == b"0" + rest
    assert max(map(len, pem.splitlines())) <= 64


@pytest.mark.parametrize("field", ["", "AAAA", "!!!", "MI", "Zürich"])
def test_what_is_no_certificate_is_logged_and_the_request_goes_on(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "portico"):
        assert pem_of(field) == ""
    assert caplog.messages == ["Failed to read the client certificate."]


def environ_of(**more: str) -> dict[str, Any]:
    guard, app = guarded()
    assert call_wsgi(guard, request(**{FIELD: TOKEN}, **more))[0] == "200 OK"
    return app.calls[0]


def test_a_wsgi_app_finds_it_where_mod_ssl_puts_it() -> None:
    environ = environ_of(HTTP_MS_ASPNETCORE_CLIENTCERT=TOLD, HTTP_X_FORWARDED_PROTO="https")
    assert ssl.PEM_cert_to_DER_cert(environ["SSL_CLIENT_CERT"]) == DER
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["HTTP_MS_ASPNETCORE_CLIENTCERT"] == TOLD


@pytest.mark.parametrize("field", [{}, {"HTTP_MS_ASPNETCORE_CLIENTCERT": "nonsense"}])
def test_without_one_nothing_of_the_process_is_taken_for_it(field: dict[str, str]) -> None:
    environ = environ_of(SSL_CLIENT_CERT="of os.environ", SSL_CLIENT_VERIFY="SUCCESS", **field)
    assert "SSL_CLIENT_CERT" not in environ
    assert "SSL_CLIENT_VERIFY" not in environ


def scope_of(scope: dict[str, Any]) -> dict[str, Any]:
    app = AsgiApp()
    call_asgi(AsgiGuard(app, Pairing(TOKEN, "/", Address(port=1), pid=77)), scope)
    return app.scopes[0]


@pytest.mark.parametrize("make", [http, websocket])
def test_an_asgi_app_finds_it_in_the_tls_extension(make: Any) -> None:
    scope = scope_of(make(PAIRED, HTTPS, (b"ms-aspnetcore-clientcert", TOLD.encode())))
    tls = scope["extensions"]["tls"]
    (pem,) = tls["client_cert_chain"]
    assert ssl.PEM_cert_to_DER_cert(pem) == DER
    assert tls["client_cert_error"] is None
    assert set(tls) == {
        "server_cert", "client_cert_chain", "client_cert_name", "client_cert_error", "tls_version", "cipher_suite",
    }  # fmt: skip


def test_the_extension_is_there_for_tls_alone_and_beside_others() -> None:
    other: dict[str, Any] = {"http.response.trailers": {}}
    scope = scope_of(http(PAIRED, HTTPS, extensions=other))
    assert list(scope["extensions"]["tls"]["client_cert_chain"]) == []
    assert scope["extensions"]["http.response.trailers"] == {}
    assert list(other) == ["http.response.trailers"]
    plain = scope_of(http(PAIRED, (b"ms-aspnetcore-clientcert", TOLD.encode())))
    assert "tls" not in plain.get("extensions", {})


def test_a_chain_is_a_sequence_that_is_read_when_it_is_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    chain = Chain("nonsense")
    assert caplog.messages == []
    assert (len(chain), list(chain)) == (0, [])
    assert len(caplog.messages) == 1
    good = Chain(TOLD)
    assert good[0] == next(iter(good)) == pem_of(TOLD)
    assert len(good) == 1


def test_an_app_without_the_token_gets_nothing() -> None:
    guard, app = guarded()
    assert isinstance(app, WsgiApp)
    call_wsgi(guard, request(HTTP_MS_ASPNETCORE_CLIENTCERT=TOLD))
    assert app.calls == []
