"""Rules for fields: what is asked for happens, and no rule makes a head invalid or says what is not a module's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.headers import may_be_changed
from proxy.modules.headers import Headers
from proxy.peer import read_request, read_response
from proxy.pipeline import BadModule
from proxy.strict import Limits
from tests.kit.examples import one_in
from tests.kit.shipped import module_of
from tests.properties.heads import Fields, loaded_names, tokens, words
from tests.proxy.test_pipeline import ask, front_with, status

ASKED = b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: stolen\r\nX_Key: stolen\r\nAccept: */*\r\n\r\n"
NOMINATING = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Key, X-Hop\r\nX-Hop: 1\r\nUpgrade: x\r\n\r\n"
SAID = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: old\r\nSet-Cookie: a=1\r\n"
    b"x-frame-options: SAMEORIGIN\r\n\r\nok"
)
RULES = """
request.set = { X-Key = "ours" }
request.add = { Accept = ["text/plain", "text/html"] }
request.remove = ["X-None"]
response.set = { X-Frame-Options = "DENY", Cache-Control = "private" }
response.add = { Set-Cookie = "b=2" }
response.remove = ["server"]
"""


@pytest.mark.parametrize("quick_lane", [True, False])
def test_rules(tmp_path: Path, quick_lane: bool) -> None:
    with front_with(module_of(tmp_path, "headers", RULES), quick_lane=quick_lane) as front:
        seen, got = ask(front, ASKED, SAID)
        assert seen.count(b"X-Key: ours\r\n") == 1
        assert b"stolen" not in seen
        assert b"Accept: */*\r\n" in seen
        assert b"Accept: text/plain\r\nAccept: text/html\r\n" in seen
        assert got.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\n")
        assert b"X-Frame-Options: DENY\r\nCache-Control: private\r\nSet-Cookie: b=2\r\n" in got
        assert b"SAMEORIGIN" not in got
        assert b"Server" not in got
        assert got.endswith(b"\r\n\r\nok")


def test_a_client_cannot_have_a_field_dropped_by_naming_it_in_connection(tmp_path: Path) -> None:
    with front_with(module_of(tmp_path, "headers", RULES)) as front:
        seen, _ = ask(front, NOMINATING, SAID)
        assert b"X-Key: ours\r\n" in seen
        assert b"X-Hop" not in seen


def test_error_pages_have_the_fields_too_and_each_once(tmp_path: Path) -> None:
    with front_with(module_of(tmp_path, "headers", RULES)) as front:
        _, got = ask(front, ASKED, b"nonsense\r\n\r\n")
        assert status(got) == 502
        assert b"X-Frame-Options: DENY\r\n" in got
        assert got.count(b"Cache-Control: ") == 1
        assert b"Cache-Control: private\r\n" in got


def test_a_second_request_on_the_connection_is_not_told_twice(tmp_path: Path) -> None:
    """The quick reader hands out the same fields for the same bytes."""
    with front_with(module_of(tmp_path, "headers", RULES)) as front:
        for _ in range(3):
            seen, got = ask(front, ASKED, SAID)
            assert seen.count(b"X-Key: ") == 1
            assert got.count(b"Set-Cookie: b=2\r\n") == 1


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer_Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect",
     "Forwarded", "X-Forwarded-For", "X_Forwarded_Host", "MS-ASPNETCORE-TOKEN", "ms_aspnetcore_user", "X-Request-ID",
     "Proxy-Authorization", "X-Original-URL", "Proxy"],
)  # fmt: skip
@pytest.mark.parametrize("side", ["request", "response"])
def test_what_is_nobodys_to_say(tmp_path: Path, name: str, side: str) -> None:
    for rule in (f'set = {{ {name} = "x" }}', f'add = {{ {name} = "x" }}', f'remove = ["{name}"]'):
        with pytest.raises(BadModule, match=f"does not start: {side}: {name} frames the message"):
            module_of(tmp_path, "headers", f"{side}.{rule}")


LIMITS = Limits(max_head=1 << 20, max_fields=10_000)
names = (loaded_names | tokens).map(lambda name: name.decode("latin-1"))
values = (words(bytes(range(256)), 0, 8) | words(b"ab \t", 0, 5)).map(lambda value: value.decode("latin-1"))
said = st.lists(st.tuples(names, values), max_size=4)
rules = st.fixed_dictionaries({"set": said, "add": said, "remove": st.lists(names, max_size=3)})


def headers_of(request: dict[str, Any], response: dict[str, Any]) -> Headers | None:
    try:
        return Headers({"request": request, "response": response}, None)  # type: ignore[arg-type]
    except ValueError:
        return None


@settings(max_examples=one_in(4))
@given(rules, rules, st.booleans())
def test_no_rule_makes_a_head_invalid(
    request_rules: dict[str, Any], response_rules: dict[str, Any], quick_lane: bool
) -> None:
    """Rules that are taken: what crosses is read by the strict reader and h11, framed and routed as before."""
    module = headers_of(request_rules, response_rules)
    if module is None:
        return
    bare, _ = lanes(None, quick_lane)
    seen, got = lanes(module, quick_lane)
    asked = read_request(seen, LIMITS)
    assert not_theirs(asked.fields) == not_theirs(read_request(bare, LIMITS).fields)
    head, end, body = got.partition(b"\r\n\r\n")
    response = read_response(head + end, asked)
    assert (response.status, response.length, body) == (200, 2, b"ok")


def lanes(module: Headers | None, quick_lane: bool) -> tuple[bytes, bytes]:
    with front_with(*([module] if module else []), quick_lane=quick_lane) as front:
        return ask(front, ASKED, SAID)


def not_theirs(fields: Fields) -> Fields:
    kept = [pair for pair in fields if not may_be_changed(pair[0])]
    return [pair for pair in kept if pair[0] != b"X-Request-ID"]
