"""Who is let in, and when there is nothing to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.pairing import Address, Pairing, spelled

TOKEN = "0a1b2c3d-0000-4000-8000-123456789abc"
COMPLETE = {"ASPNETCORE_TOKEN": TOKEN, "ASPNETCORE_APPL_PATH": "/", "ASPNETCORE_PORT": "12345"}
PAIRING = Pairing(TOKEN, "/", Address(port=12345))
tokens = st.one_of(st.text(), st.binary(), st.just(TOKEN), st.just(TOKEN.encode()), st.just(""))


@given(st.lists(tokens, max_size=4))
def test_exactly_one_token_equal_to_ours_is_admitted(given_tokens: list[str | bytes]) -> None:
    assert PAIRING.admits(given_tokens) is (given_tokens in ([TOKEN], [TOKEN.encode()]))


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="utf-8"))
def test_one_different_character_is_refused(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    assert PAIRING.admits([changed]) is (changed == TOKEN)
    assert not PAIRING.admits([TOKEN[:place]])
    assert not PAIRING.admits([TOKEN + character])


@given(st.text(min_size=1, alphabet=st.characters(exclude_characters="\0")))
def test_any_token_admits_itself_and_shows_itself_nowhere(token: str) -> None:
    pairing = Pairing(token, "/shop", None)
    assert pairing.admits([token])
    assert repr(pairing) == "Pairing(base='/shop')"


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("value", [None, ""])
def test_without_token_path_or_address_there_is_no_pairing(name: str, value: str | None) -> None:
    environ = {key: text for key, text in COMPLETE.items() if key != name}
    if value is not None:
        environ[name] = value
    assert not Pairing.is_in(environ)
    assert Pairing.from_environ(environ) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ({"ASPNETCORE_PORT": "8001"}, (8001, "", -1)),
        ({"PORTICO_SOCKET": "/run/app.sock"}, (0, "/run/app.sock", -1)),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "77"}, (0, "", 3)),
    ],
)
def test_any_one_address_is_enough(address: dict[str, str], expected: tuple[int, str, int]) -> None:
    environ = {"ASPNETCORE_TOKEN": TOKEN, "ASPNETCORE_APPL_PATH": "/", **address}
    pairing = Pairing.from_environ(environ)
    assert pairing is not None
    assert pairing.address is not None
    assert (pairing.address.port, pairing.address.path, pairing.address.fd) == expected


@pytest.mark.parametrize("address", [{"LISTEN_FDS": "1"}, {"LISTEN_PID": "77"}])
def test_half_a_descriptor_is_no_address(address: dict[str, str]) -> None:
    assert not Pairing.is_in({"ASPNETCORE_TOKEN": TOKEN, "ASPNETCORE_APPL_PATH": "/", **address})


@pytest.mark.parametrize("port", ["http", "-1", "0", "65536", "1e3", "१२"])
def test_a_port_that_is_none_is_guarded_but_not_bound(port: str) -> None:
    pairing = Pairing.from_environ({**COMPLETE, "ASPNETCORE_PORT": port})
    assert pairing is not None
    assert pairing.address is None


@pytest.mark.parametrize(
    ("given_path", "base"),
    [("/", ""), ("/shop", "/shop"), ("/shop/", "/shop"), ("/a/b", "/a/b"), ("shop", "/shop")],
)
def test_application_path(given_path: str, base: str) -> None:
    assert Pairing(TOKEN, given_path, None).base == base


@pytest.mark.parametrize(("pid", "expected"), [("42", 42), ("", 0), ("us", 0)])
def test_pid(pid: str, expected: int) -> None:
    pairing = Pairing.from_environ({**COMPLETE, "PORTICO_PID": pid})
    assert pairing is not None
    assert pairing.pid == expected


@pytest.mark.parametrize("name", ["MS-ASPNETCORE-TOKEN", "ms_aspnetcore_token", "MS_AspNetCore-Token"])
def test_spellings(name: str) -> None:
    assert spelled(name) == "ms-aspnetcore-token"
