"""What an app is told, whatever a client says: one message with the client's meaning, and the front's own words alone
where the front speaks."""

from __future__ import annotations

import h11
from hypothesis import event, given
from hypothesis import strategies as st

from proxy.headers import (
    TOKEN_NAME,
    Caller,
    Fields,
    connection_tokens,
    request_fields,
    response_fields,
    trailer_fields,
    upgrade_of,
)
from proxy.strict import Malformed, check_request_head, check_response_head, check_trailers
from tests.properties.heads import (
    bad_heads,
    good_heads,
    loaded_fields,
    ordinary_fields,
    render,
    tokens,
    values,
)

TOKEN = b"0123456789abcdef-ours"
REQUEST_ID = b"request-1"
CALLER = Caller("192.0.2.7", 40000, "http")
CERTIFIED = Caller("192.0.2.7", 40000, "https", certificate=b"0\x82DER")
HOP_BY_HOP = {
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"proxy-authorization",
    b"http2-settings",
}
OURS = {
    b"ms-aspnetcore-token",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-request-id",
}

any_fields = st.lists(loaded_fields | ordinary_fields, max_size=10)


def folded(name: bytes) -> bytes:
    """A name as a CGI-like gateway sees it."""
    return bytes(c if chr(c).isascii() and chr(c).isalnum() else ord("-") for c in name.lower())


def cross(
    fields: Fields, host: bytes = b"a", version: bytes = b"1.1", caller: Caller = CALLER, **more: object
) -> Fields:
    return request_fields(
        fields,
        caller=caller,
        host=host,
        token=TOKEN,
        request_id=REQUEST_ID,
        upgrade=upgrade_of(version, fields),
        http_version=version,
        **more,  # type: ignore[arg-type]
    )


def read(head: bytes) -> h11.Request | None:
    """The request in `head`, if the front would take it."""
    try:
        check_request_head(head)
    except Malformed:
        return None
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(head)
    request = judge.next_event()
    assert isinstance(request, h11.Request)
    return request


def framing_of(request: h11.Request) -> Fields:
    """As the forwarding side writes it: what the client's own framing says, once."""
    return [pair for pair in request.headers if pair[0] in (b"content-length", b"transfer-encoding")]


@given(good_heads() | bad_heads(), st.sampled_from([b"", b"portico"]), st.booleans())
def test_the_app_reads_exactly_one_message_with_the_clients_meaning(
    head: bytes, via: bytes, with_port: bool
) -> None:
    request = read(head)
    if request is None:
        event("refused")
        return
    host = dict(request.headers).get(b"host", b"")
    fields = list(request.headers.raw_items())
    sent = cross(fields, host, request.http_version, via=via, forwarded_for_port=with_port)
    forwarded = render(request.method + b" " + request.target + b" HTTP/1.1", sent + framing_of(request))
    if not request.target.startswith(b"http"):  # an absolute target crosses in origin form
        check_request_head(forwarded)
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(forwarded)
    got = judge.next_event()
    assert isinstance(got, h11.Request)
    assert (got.method, got.target) == (request.method, request.target)
    assert framing_of(got) == framing_of(request)
    assert judge.trailing_data == (b"", False)
    event("forwarded")


@given(any_fields, st.booleans(), st.sampled_from([b"1.0", b"1.1"]))
def test_no_client_bytes_make_a_token_an_identity_or_a_way_here(
    fields: Fields, with_port: bool, version: bytes
) -> None:
    sent = cross(fields, version=version, forwarded_for_port=with_port)
    ours = [
        (name, value) for name, value in sent if folded(name).startswith((b"ms-aspnetcore", b"x-forwarded"))
    ]
    address = b"192.0.2.7:40000" if with_port else b"192.0.2.7"
    assert ours == [
        (b"X-Forwarded-For", address),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"a"),
        (TOKEN_NAME, TOKEN),
    ]
    assert [value for name, value in sent if folded(name) == b"x-request-id"] == [REQUEST_ID]
    assert not [name for name, _ in sent if folded(name) in (b"forwarded", b"proxy")]
    assert not [name for name, _ in sent if folded(name).startswith((b"x-original-", b"x-real-ip"))]


@given(any_fields, st.booleans())
def test_nobody_but_a_module_says_who_the_visitor_is(fields: Fields, trusted: bool) -> None:
    said = {b"remote-user", b"x-remote-user", b"ms-aspnetcore-identity"}
    assert not [name for name, _ in cross(fields, trusted=trusted) if folded(name) in said]
    assert not [name for name, _ in trailer_fields(fields) if folded(name) in said]


@given(any_fields, st.booleans(), st.booleans())
def test_the_client_certificate_is_the_one_that_was_verified(
    fields: Fields, certified: bool, trusted: bool
) -> None:
    sent = cross(fields, caller=CERTIFIED if certified else CALLER, trusted=trusted)
    told = [value for name, value in sent if folded(name) == b"ms-aspnetcore-clientcert"]
    assert told == ([b"MIJERVI="] if certified else [])


@given(any_fields, st.booleans())
def test_of_a_trusted_proxy_other_words_about_the_way_cross_by_their_exact_names(
    fields: Fields, with_forwarded: bool
) -> None:
    forwarded = b"for=192.0.2.7;proto=http" if with_forwarded else b""
    sent = cross(fields, trusted=True, forwarded=forwarded, forwarded_host=b"b")
    assert [value for name, value in sent if folded(name).startswith(b"ms-aspnetcore")] == [TOKEN]
    anew = [
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"b"),
        *([(b"Forwarded", forwarded + b';host="b"')] if with_forwarded else []),
    ]
    names = {name.lower() for name, _ in anew} | {b"forwarded"}
    way = (b"x-forwarded", b"x-original-", b"x-real-ip")
    assert [pair for pair in sent if folded(pair[0]) in names] == anew
    others = [pair for pair in fields if pair[0].lower().startswith(way) and pair[0].lower() not in names]
    exact = [pair for pair in others if folded(pair[0]) == pair[0].lower()]
    assert [pair for pair in sent if folded(pair[0]).startswith(way) and pair not in anew] == exact


@given(any_fields)
def test_hop_by_hop_fields_end_here_and_end_to_end_fields_go_on(fields: Fields) -> None:
    sent = cross(fields)
    names = [folded(name) for name, _ in sent]
    assert not HOP_BY_HOP.intersection(names)
    assert b"content-length" not in names  # framing is whose who frames
    assert connection_tokens(sent) <= {b"upgrade", b"te"}
    for name in (b"cookie", b"authorization", b"host"):
        said = [pair for pair in fields if folded(pair[0]) == name]
        got = [pair for pair in sent if folded(pair[0]) == name]
        assert got == said or (name == b"host" and not said and got == [(b"Host", b"a")])
    named = {folded(option) for option in connection_tokens(fields)}
    for name, _ in fields:
        if folded(name) in named and folded(name).startswith(b"x") and folded(name) not in OURS:
            assert folded(name) not in names


private_fields = st.tuples(tokens.map(lambda name: b"zz-" + name), values)


@given(st.lists(private_fields | loaded_fields, max_size=10))
def test_what_crosses_keeps_order_and_number(fields: Fields) -> None:
    named = {folded(option) for option in connection_tokens(fields)}
    expected = [pair for pair in fields if pair[0].startswith(b"zz-") and folded(pair[0]) not in named]
    assert [pair for pair in cross(fields) if pair[0].startswith(b"zz-")] == expected
    assert [pair for pair in response_fields(fields) if pair[0].startswith(b"zz-")] == expected


@given(any_fields, st.sampled_from([b"", b"portico"]))
def test_no_token_and_no_hop_by_hop_field_reaches_a_client(fields: Fields, via: bytes) -> None:
    told = response_fields(fields, via=via)
    names = [folded(name) for name, _ in told]
    assert not [name for name in names if name.startswith(b"ms-aspnetcore")]
    assert not {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"} & set(
        names
    )
    assert [p for p in told if p[0].lower() == b"content-length"] == [
        p for p in fields if p[0].lower() == b"content-length"
    ]
    lengths = [p for p in told if p[0].lower() == b"content-length"]
    try:
        check_response_head(render(b"HTTP/1.1 200 OK", told))
    except Malformed:
        assert lengths  # the only thing strict can still mind is what the app says of its length


@given(any_fields)
def test_trailers_carry_nothing_that_frames_routes_or_vouches(fields: Fields) -> None:
    passed = trailer_fields(fields)
    names = {folded(name) for name, _ in passed}
    assert (
        not {b"content-length", b"transfer-encoding", b"host", b"cookie", b"authorization", b"forwarded"}
        & names
    )
    assert not [name for name in names if name.startswith((b"ms-aspnetcore", b"x-forwarded", b"x-original-"))]
    check_trailers(b"".join(name + b": " + value + b"\r\n" for name, value in passed) + b"\r\n")
