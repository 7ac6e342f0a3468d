"""Whatever modules say of a head, it stays a valid one, and what is not theirs stays as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.editable import EditableHead
from proxy.headers import may_be_changed
from proxy.peer import read_request, read_response
from proxy.strict import Limits
from tests.properties.heads import Fields, loaded_names, render, tokens, words

LIMITS = Limits(max_head=1 << 20, max_fields=10_000)
REQUEST: Fields = [
    (b"Host", b"a"),
    (b"Cookie", b"c"),
    (b"Content-Length", b"0"),
    (b"X-A", b"1"),
    (b"x-a", b"2"),
]
names = st.one_of(
    st.sampled_from(["X-A", "x-a", "Cookie", "Set-Cookie", "Date"]),
    loaded_names.map(lambda name: name.decode("latin-1")),
    tokens.map(lambda name: name.decode("latin-1")),
    st.text(max_size=8),
)
said = st.one_of(
    words(bytes(range(256)), 0, 8).map(lambda value: value.decode("latin-1")), st.text(max_size=8)
)
edits = st.lists(st.tuples(st.sampled_from(["add", "set", "remove"]), names, said), max_size=8)


def edited(head: EditableHead, changes: list[tuple[str, str, str]]) -> None:
    for what, name, value in changes:
        try:
            if what == "remove":
                head.remove(name)
            else:
                getattr(head, what)(name, value)
        except ValueError:
            continue


def not_theirs(fields: Fields) -> Fields:
    return [pair for pair in fields if not may_be_changed(pair[0])]


@given(edits)
def test_a_request_head_stays_valid(changes: list[tuple[str, str, str]]) -> None:
    head = EditableHead(REQUEST, b"")
    before = list(REQUEST)
    edited(head, changes)
    request = read_request(render(b"GET / HTTP/1.1", head.fields), LIMITS)
    assert [(n, v.strip(b" \t")) for n, v in head.fields] == request.fields
    assert not_theirs(head.fields) == not_theirs(REQUEST)
    assert before == REQUEST  # remembered by the quick reader, and shared


@given(edits)
def test_a_response_head_stays_valid(changes: list[tuple[str, str, str]]) -> None:
    fields: Fields = [(b"Content-Length", b"2"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
    head = EditableHead(fields, b"")
    edited(head, changes)
    asked = read_request(render(b"GET / HTTP/1.1", REQUEST), LIMITS)
    response = read_response(render(b"HTTP/1.1 200 OK", head.fields), asked)
    assert response.fields == head.fields
    assert response.length == 2


@given(edits)
def test_lines_say_what_fields_say_or_nothing(changes: list[tuple[str, str, str]]) -> None:
    crossing: Fields = [(b"Cookie", b"c"), (b"X-A", b"1")]
    head = EditableHead(crossing, render(b"", crossing)[2:-2])
    edited(head, changes)
    assert head.lines in (b"", b"".join(b"%b: %b\r\n" % field for field in head.fields))
