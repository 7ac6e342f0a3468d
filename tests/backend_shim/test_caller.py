"""One forwarded hop: the last entry, or nothing."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.caller import Caller


@pytest.mark.parametrize(
    ("field", "host", "port"),
    [
        ("192.0.2.7", "192.0.2.7", 0),
        ("192.0.2.7:5000", "192.0.2.7", 5000),
        ("198.51.100.1, 192.0.2.7", "192.0.2.7", 0),
        ("2001:db8::1", "2001:db8::1", 0),
        ("[2001:db8::1]", "2001:db8::1", 0),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7", 0),
        ("192.0.2.7:99999", "192.0.2.7", 0),
        ("192.0.2.7:", "192.0.2.7", 0),
        ("192.0.2.7, ", "", 0),
        ("192.0.2.7, unknown", "", 0),
        ("_hidden", "", 0),
        ("example.org", "", 0),
        ("[2001:db8::1", "2001:db8::1", 0),
        ("", "", 0),
    ],
)
def test_forwarded_for(field: str, host: str, port: int) -> None:
    caller = Caller(field, "")
    assert (caller.host, caller.port) == (host, port)


@pytest.mark.parametrize(
    ("field", "scheme"),
    [
        ("https", "https"),
        ("HTTP", "http"),
        ("http, https", "https"),
        ("https, ftp", ""),
        ("", ""),
        ("wss", ""),
    ],
)
def test_forwarded_proto(field: str, scheme: str) -> None:
    assert Caller("", field).scheme == scheme


@given(st.text(), st.text())
def test_anything_else_is_nobody(forwarded_for: str, forwarded_proto: str) -> None:
    caller = Caller(forwarded_for, forwarded_proto)
    if caller.host:
        ipaddress.ip_address(caller.host)
    assert 0 <= caller.port < 65536
    assert caller.scheme in ("", "http", "https")


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_is_read_back(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    bracketed = f"[{address}]" if address.version == 6 else str(address)
    for field, expected in ((str(address), 0), (f"{bracketed}:{port}", port)):
        caller = Caller("203.0.113.5, " + field, "")
        assert (caller.host, caller.port) == (str(address), expected)
