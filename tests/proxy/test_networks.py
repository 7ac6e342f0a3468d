from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.networks import MEMORY, Networks

addresses = st.ip_addresses().map(str)
networks = st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
    lambda pair: (
        str(ip_network((int(pair[0]), min(pair[1], pair[0].max_prefixlen)), strict=False))
        if pair[0].version == 6
        else str(ip_network(f"{pair[0]}/{min(pair[1], 32)}", strict=False))
    )
)


@pytest.mark.parametrize(
    ("listed", "address", "inside"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::10.1.2.3", False),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::/32", "2001:db8:1::2", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "8.8.8.8", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "8.8.8.8", False),
        ("unix", "", True),
        ("unix", "127.0.0.1", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "no address", False),
    ],
)
def test_who_is_inside(listed: str, address: str, inside: bool) -> None:
    assert (address in Networks([listed])) is inside


def test_an_empty_list_is_false() -> None:
    assert not Networks([])
    assert Networks(["unix"])
    assert Networks(["::1"])


@given(st.lists(networks, max_size=6), addresses)
def test_as_the_standard_library_says(listed: list[str], address: str) -> None:
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None) or found
    plain = [ip_network(text) for text in listed if not text.startswith("::ffff:")]
    if len(plain) == len(listed):
        assert (address in Networks(listed)) == any(mapped in network for network in plain)


def test_a_flood_of_addresses_is_not_remembered_for_ever() -> None:
    listed = Networks(["10.0.0.0/8"])
    for number in range(2 * MEMORY + 10):
        assert str(ip_address(number)) not in listed
    assert len(listed._known) <= MEMORY
