"""Fields that cross, by example; the promises for any fields are in `tests/properties/test_crossing.py`."""

from __future__ import annotations

import pytest

from proxy.headers import (
    Caller,
    Fields,
    connection_tokens,
    expects_continue,
    forwarded_element,
    forwarded_for,
    request_fields,
    request_id_of,
    response_fields,
    takes_trailers,
    trailer_fields,
    upgrade_of,
    wants_close,
)

CALLER = Caller("192.0.2.7", 40000, "https")
OWN = [
    (b"X-Forwarded-For", b"192.0.2.7"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"shop.example"),
    (b"X-Request-ID", b"id-1"),
    (b"MS-ASPNETCORE-TOKEN", b"token"),
]
HOST = (b"Host", b"shop.example")


def cross(fields: Fields, **more: object) -> Fields:
    return request_fields(
        fields,
        caller=CALLER,
        host=b"shop.example",
        token=b"token",
        request_id=b"id-1",
        **more,  # type: ignore[arg-type]
    )


def test_an_ordinary_request() -> None:
    fields = [
        HOST,
        (b"accept", b"*/*"),
        (b"Connection", b"keep-alive"),
        (b"Cookie", b"a=b"),
        (b"Cookie", b"c=d"),
    ]
    assert cross(fields) == [HOST, (b"accept", b"*/*"), (b"Cookie", b"a=b"), (b"Cookie", b"c=d"), *OWN]


def test_a_verified_client_certificate_is_told_in_base64_der() -> None:
    caller = Caller("192.0.2.7", 40000, "https", certificate=bytes(range(250, 256)))
    sent = request_fields([HOST], caller=caller, host=b"shop.example", token=b"token", request_id=b"id-1")
    assert sent == [HOST, (b"MS-ASPNETCORE-CLIENTCERT", b"+vv8/f7/"), *OWN]


def test_the_list_that_was_given_is_left_alone() -> None:
    fields = [(b"X", b"y")]
    cross(fields)
    response_fields(fields, via=b"p")
    assert fields == [(b"X", b"y")]


def test_framing_is_left_to_whoever_frames() -> None:
    assert cross([HOST, (b"Content-Length", b"5"), (b"transfer-encoding", b"chunked")]) == [HOST, *OWN]


def test_a_request_without_host_is_given_one() -> None:
    assert cross([], http_version=b"1.0")[0] == HOST
    anonymous = request_fields([], caller=CALLER, host=b"", token=b"t", request_id=b"i", http_version=b"1.0")
    assert anonymous[0] == (b"Host", b"localhost")
    assert b"X-Forwarded-Host" not in dict(anonymous)


def test_an_upgrade_crosses_with_its_connection() -> None:
    fields = [
        HOST,
        (b"Connection", b"keep-alive, Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", b"k"),
    ]
    upgrade = upgrade_of(b"1.1", fields)
    assert upgrade == b"websocket"
    assert cross(fields, upgrade=upgrade) == [
        HOST,
        (b"Sec-WebSocket-Key", b"k"),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        *OWN,
    ]


@pytest.mark.parametrize(
    ("version", "connection", "upgrade", "crosses"),
    [
        (b"1.1", b"Upgrade", b"WebSocket", b"WebSocket"),
        (b"1.1", b"UPGRADE", b"a/1, b", b"a/1, b"),
        (b"1.1", b"keep-alive", b"websocket", None),
        (b"1.0", b"Upgrade", b"websocket", None),
        (b"1.1", b"Upgrade", b"h2c", None),
        (b"1.1", b"Upgrade", b"H2C, websocket", b"websocket"),
        (b"1.1", b"Upgrade", b"HTTP/2.0", None),
        (b"1.1", b"Upgrade", b"TLS/1.3", None),
        (b"1.1", b"Upgrade", b", ,", None),
    ],
)
def test_which_upgrades_cross(
    version: bytes, connection: bytes, upgrade: bytes, crosses: bytes | None
) -> None:
    assert upgrade_of(version, [(b"connection", connection), (b"UPGRADE", upgrade)]) == crosses


def test_trailers_are_asked_for_on_our_own_hop() -> None:
    fields = [HOST, (b"TE", b"gzip;q=0.5, Trailers"), (b"Connection", b"TE")]
    assert takes_trailers(fields)
    assert cross(fields) == [HOST, (b"Connection", b"TE"), (b"TE", b"trailers"), *OWN]
    assert not takes_trailers([(b"TE", b"gzip")])


def test_expect_is_for_http11() -> None:
    fields = [HOST, (b"Expect", b"100-Continue")]
    assert expects_continue(b"1.1", fields)
    assert not expects_continue(b"1.0", fields)
    assert (b"Expect", b"100-Continue") in cross(fields)
    assert (b"Expect", b"100-Continue") not in cross(fields, http_version=b"1.0")


def test_via_is_added_after_those_before_us() -> None:
    fields = [HOST, (b"Via", b"1.0 fred")]
    assert cross(fields, via=b"portico", http_version=b"1.0")[1:3] == [
        (b"Via", b"1.0 fred"),
        (b"Via", b"1.0 portico"),
    ]
    assert response_fields([(b"Via", b"1.1 x")], via=b"portico") == [
        (b"Via", b"1.1 x"),
        (b"Via", b"1.1 portico"),
    ]


WAY = [
    (b"X-Forwarded-For", b"198.51.100.1"),
    (b"X-Forwarded-Proto", b"http"),
    (b"Forwarded", b"for=198.51.100.1"),
    (b"X-Forwarded-Prefix", b"/shop"),
    (b"X-Original-URL", b"/o"),
    (b"X-Real-IP", b"198.51.100.1"),
]


def test_what_a_trusted_proxy_says_of_its_client_is_said_anew_and_the_rest_crosses() -> None:
    assert cross([HOST, *WAY], trusted=True) == [HOST, *WAY[3:], *OWN]
    assert cross([HOST, *WAY]) == [HOST, *OWN]


def test_a_trusted_proxy_is_not_believed_by_a_look_alike() -> None:
    fields = [HOST, (b"X_Forwarded_Prefix", b"evil"), (b"X_Real_IP", b"evil")]
    assert cross(fields, trusted=True) == [HOST, *OWN]


def test_connection_cannot_take_off_what_a_trusted_proxy_said() -> None:
    fields = [HOST, (b"Connection", b"X-Forwarded-Prefix, X-Real-IP"), *WAY]
    assert cross(fields, trusted=True) == [HOST, *WAY[3:], *OWN]


@pytest.mark.parametrize(
    ("address", "port", "with_port", "element"),
    [
        ("192.0.2.1", 40000, False, b"for=192.0.2.1;proto=https"),
        ("192.0.2.1", 40000, True, b'for="192.0.2.1:40000";proto=https'),
        ("2001:db8::1", 40000, False, b'for="[2001:db8::1]";proto=https'),
        ("2001:db8::1", 40000, True, b'for="[2001:db8::1]:40000";proto=https'),
        ("", 0, False, b"for=unknown;proto=https"),
    ],
)
def test_forwarded_is_written_by_the_grammar(
    address: str, port: int, with_port: bool, element: bytes
) -> None:
    made = forwarded_element(Caller(address, port, "https"), with_port)
    assert made == element
    assert (b"Forwarded", element + b';host="shop.example"') in cross([HOST], forwarded=made)


@pytest.mark.parametrize(
    ("address", "plain", "with_port"),
    [
        ("192.0.2.1", b"192.0.2.1", b"192.0.2.1:40000"),
        ("2001:db8::1", b"2001:db8::1", b"[2001:db8::1]:40000"),
        ("::ffff:192.0.2.1", b"192.0.2.1", b"192.0.2.1:40000"),
        ("fe80::1%eth0", b"fe80::1", b"[fe80::1]:40000"),
        ("", b"unix", b"unix"),
    ],
)
def test_addresses(address: str, plain: bytes, with_port: bytes) -> None:
    caller = Caller(address, 40000, "http")
    assert forwarded_for(caller, with_port=False) == plain
    assert forwarded_for(caller, with_port=True) == with_port
    assert forwarded_for(Caller(address, 0, "http"), with_port=True) == plain  # nobody has told of one


@pytest.mark.parametrize(
    ("value", "sane"),
    [
        (b"abc-123", True),
        (b"a" * 128, True),
        (b"a" * 129, False),
        (b"", False),
        (b"a b", False),
        (b"a\xff", False),
    ],
)
def test_a_request_id_is_kept_when_fit_for_a_log(value: bytes, sane: bool) -> None:
    assert request_id_of([(b"x-request-id", value)]) == (value if sane else None)
    assert request_id_of([(b"X-Request-ID", value), (b"X-Request-ID", value)]) is None


@pytest.mark.parametrize(
    ("version", "values", "closes"),
    [
        (b"1.1", [], False),
        (b"1.1", [b"close"], True),
        (b"1.1", [b"keep-alive", b" Close "], True),
        (b"1.1", [b"closed"], False),
        (b"1.0", [], True),
        (b"1.0", [b"Keep-Alive"], False),
        (b"1.0", [b"keep-alive, close"], True),
    ],
)
def test_persistence(version: bytes, values: list[bytes], closes: bool) -> None:
    assert wants_close(version, [(b"Connection", value) for value in values]) is closes


def test_connection_options() -> None:
    assert connection_tokens([(b"CONNECTION", b", A ,\tb,,"), (b"Connection", b"c")]) == {b"a", b"b", b"c"}


def test_a_response_keeps_all_but_its_hop_and_our_secrets() -> None:
    fields = [
        (b"Server", b"app"),
        (b"Set-Cookie", b"a"),
        (b"Connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"5"),
        (b"Set-Cookie", b"b"),
        (b"ms_aspnetcore-token", b"token"),
        (b"X-Forwarded-For", b"an app may say this"),
        (b"Upgrade", b"h2c"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"WWW-Authenticate", b"Basic"),
    ]
    assert response_fields(fields) == [
        (b"Server", b"app"),
        (b"Set-Cookie", b"a"),
        (b"Content-Length", b"5"),
        (b"Set-Cookie", b"b"),
        (b"X-Forwarded-For", b"an app may say this"),
        (b"WWW-Authenticate", b"Basic"),
    ]


def test_a_switch_of_protocols_is_told() -> None:
    fields = [(b"Upgrade", b"websocket"), (b"Connection", b"upgrade"), (b"Sec-WebSocket-Accept", b"x")]
    assert response_fields(fields, upgrade=b"websocket") == [
        (b"Sec-WebSocket-Accept", b"x"),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
    ]


def test_trailers() -> None:
    fields = [
        (b"Grpc-Status", b"0"),
        (b"Content-Length", b"5"),
        (b"X_Forwarded.For", b"x"),
        (b"MS-ASPNETCORE-TOKEN", b"t"),
    ]
    assert trailer_fields(fields) == [(b"Grpc-Status", b"0")]
