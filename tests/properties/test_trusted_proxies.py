"""Whoever sends whatever: the client is the right-most address that no trusted proxy has, and what stands left of it is
never believed. Both lanes tell the app the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy.forwarded import MAX_HOPS, NAMES, Origin, Said, origin_of
from proxy.head import QuickReader
from proxy.headers import Caller, Fields, own_lines, request_fields
from proxy.peer import read_request
from proxy.strict import Limits
from proxy.trust import MEMORY, Networks, Trust
from proxy.wire import field_lines
from tests.kit.memory_front import memory_front, settings_of_memory
from tests.properties.heads import values
from tests.properties.test_quick_reader import plain_requests

TRUSTED = ["10.0.0.0/8", "fd00::/8"]
trusts = Networks(TRUSTED).include

strangers = st.sampled_from(
    ["192.0.2.1", "203.0.113.77", "2001:db8::1", "::1", "127.0.0.1", "11.0.0.1", "::"]
)
proxies = st.sampled_from(["10.0.0.1", "10.255.255.254", "fd00::1", "fdff:ffff::a:1"])
ports = st.just(0) | st.integers(1, 65535)
schemes = st.sampled_from(["http", "https"])
hosts = st.sampled_from([b"shop.example", b"a:8080", b"[::1]:80"])
#: What a visitor puts before it, to be taken for another.
lures = st.one_of(
    st.just(b""),
    values,
    st.sampled_from(
        [b"10.0.0.1", b"for=10.0.0.1", b'for="', b'for="10.0.0.1', b'a="\\', b'"', b"\\", b",,,", b"unknown",
         b'x="y",for="']
    ),
    st.text('for=",;\\_.10 ', max_size=30).map(str.encode),
)  # fmt: skip


def said_of(fields: Fields) -> Said:
    return tuple([(name.lower(), value) for name, value in fields if name.lower() in NAMES])


@dataclass(frozen=True)
class Way:
    """A visitor and the trusted proxies between it and us; the last of them is our peer."""

    lure: bytes
    visitor: tuple[str, int]
    between: list[tuple[str, int]]
    schemes: list[str]  # by which each was spoken to: the first proxy first
    hosts: list[bytes]

    @property
    def speakers(self) -> list[tuple[str, int]]:
        """Who spoke to each proxy, the first proxy first."""
        return [self.visitor, *self.between]


@st.composite
def ways(draw: st.DrawFn) -> Way:
    between = draw(st.lists(st.tuples(proxies, ports), max_size=4))
    count = len(between) + 1
    return Way(
        draw(lures),
        draw(st.tuples(strangers, ports)),
        between,
        draw(st.lists(schemes, min_size=count, max_size=count)),
        draw(st.lists(hosts, min_size=count, max_size=count)),
    )


def entry(address: str, port: int) -> bytes:
    """As X-Forwarded-For has it."""
    text = (f"[{address}]:{port}" if ":" in address else f"{address}:{port}") if port else address
    return text.encode()


def element(speaker: tuple[str, int], scheme: str, host: bytes, quoted: bool) -> bytes:
    """As RFC 7239 has it."""
    address, port = speaker
    node = f"[{address}]" if ":" in address else address
    node += f":{port}" if port else ""
    needs = quoted or ":" in node
    return b"for=%b;Proto=%b;host=%b;by=_p" % (
        b'"%b"' % node.encode() if needs else node.encode(),
        scheme.encode(),
        b'"%b"' % host,
    )


def said(name: bytes, members: list[bytes], draw: st.DataObject) -> Fields:
    """One list, in one field or in several (RFC 9110 5.3)."""
    lines: list[list[bytes]] = [[]]
    for member in members:
        if lines[-1] and draw.draw(st.booleans()):
            lines.append([])
        lines[-1].append(member)
    comma = draw.draw(st.sampled_from([b",", b", ", b" ,\t", b",, "]))
    return [(name, comma.join(line)) for line in lines]


def in_x_forwarded(way: Way, draw: st.DataObject) -> Fields:
    lure = [way.lure] if way.lure else []
    return [
        *said(b"X-Forwarded-For", [*lure, *(entry(*one) for one in way.speakers)], draw),
        *said(b"x-forwarded-proto", [*lure, *(one.encode() for one in way.schemes)], draw),
        *said(b"X-FORWARDED-HOST", [*lure, *way.hosts], draw),
    ]


def in_forwarded(way: Way, draw: st.DataObject) -> Fields:
    quoted = draw.draw(st.booleans())
    told = zip(way.speakers, way.schemes, way.hosts, strict=True)
    members = [element(*one, quoted) for one in told]
    return said(b"Forwarded", [way.lure, *members] if way.lure else members, draw)


@given(ways(), st.data())
def test_the_client_is_the_rightmost_address_that_is_not_trusted(way: Way, data: st.DataObject) -> None:
    expected = Origin(*way.visitor, way.schemes[0], way.hosts[0])
    for told in (in_x_forwarded(way, data), in_forwarded(way, data)):
        assert origin_of(said_of(told), trusts) == expected


@given(st.lists(st.tuples(proxies, ports), min_size=1, max_size=4), st.data())
def test_if_all_are_trusted_it_is_the_first(between: list[tuple[str, int]], data: st.DataObject) -> None:
    count = len(between)
    way = Way(b"", between[0], between[1:], ["https"] * count, [b"a"] * count)
    for told in (in_x_forwarded(way, data), in_forwarded(way, data)):
        assert origin_of(said_of(told), trusts) == Origin(*between[0], "https", b"a")


unreadable = st.sampled_from(
    [b"garbage", b"1.2.3", b"1.2.3.4.5", b"1.2.3.4:99999", b"[::1", b"::1]:80", b"fe80::1%eth0", b"1.2.3.4:", b"a:b",
     b"01.2.3.4", b"[1.2.3.4]", b"\xd9\xa1.2.3.4", b"::ffff:1.2.3.4.5", b"unknown", b"_hidden", b"_x:_y"]
)  # fmt: skip


@given(ways(), unreadable, st.data())
def test_a_hop_that_hides_or_garbles_who_spoke_to_it_is_itself_the_client(
    way: Way, bad: bytes, data: st.DataObject
) -> None:
    """What stands before it is the word of nobody known."""
    at = data.draw(st.integers(0, len(way.between)))
    entries = [entry(*one) for one in way.speakers]
    entries[at] = bad
    origin = origin_of(said_of(said(b"X-Forwarded-For", entries, data)), trusts)
    nearer = way.speakers[at + 1 :]
    assert (origin.address, origin.port) == (nearer[0] if nearer else ("", 0))


@given(ways(), ways(), st.booleans(), st.data())
def test_one_way_of_telling_is_read_and_the_other_is_not(
    way: Way, other: Way, forwarded_first: bool, data: st.DataObject
) -> None:
    x, rfc = in_x_forwarded(way, data), in_forwarded(other, data)
    both = said_of([*rfc, *x] if forwarded_first else [*x, *rfc])
    of_x = Origin(*way.visitor, way.schemes[0], way.hosts[0])
    of_rfc = Origin(*other.visitor, other.schemes[0], other.hosts[0])
    assert origin_of(both, trusts) == of_x
    assert origin_of(both, trusts, forwarded=False) == of_x
    assert origin_of(both, trusts, x_forwarded=False) == of_rfc
    assert origin_of(said_of(x), trusts, x_forwarded=False) == Origin()
    assert origin_of(said_of(rfc), trusts, forwarded=False) == Origin()


@given(
    st.lists(
        st.tuples(st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"]), lures | values)
    )
)
@example([(b"forwarded", b",".join([b'x="'] * 5000))])
@example([(b"forwarded", b"," * 60_000)])
@example([(b"x-forwarded-for", b"10.0.0.1," * 6_000)])
def test_noise_is_taken_apart_or_left_alone(told: Fields) -> None:
    origin = origin_of(said_of(told), trusts)
    assert origin.scheme in ("", "http", "https")
    if origin.address:
        assert Networks([f"{origin.address}/{128 if ':' in origin.address else 32}"]).include(origin.address)


def test_an_endless_chain_is_followed_only_so_far() -> None:
    told: Said = ((b"x-forwarded-for", b"192.0.2.1," + b"10.0.0.1," * (MAX_HOPS + 5)),)
    assert origin_of(told, trusts).address == "10.0.0.1"


# ------------------------------------------------------------------------------------------------------------
# To the app

PEER = Caller("10.0.0.9", 5000, "http")
LIMITS = Limits()


def trust(**keys: object) -> Trust:
    front = replace(settings_of_memory().front, trusted_proxies=("10.0.0.0/8", "unix"), **keys)  # type: ignore[arg-type]
    return Trust(front)


telling = st.tuples(
    st.sampled_from([b"X-Forwarded-For", b"x-forwarded-for", b"X_Forwarded_For", b"X-Forwarded-Proto",
                     b"X-Forwarded-Host", b"Forwarded", b"X-Forwarded-Prefix", b"X-Real-IP", b"X-Request-ID"]),
    st.sampled_from([b"192.0.2.1", b"192.0.2.1, 10.0.0.1", b"https", b"http, https", b"shop.example", b"a/b",
                     b'for="[2001:db8::1]:80";proto=https;host=b', b"for=unknown", b"for=_x;proto=wss", b"unknown",
                     b"/shop", b"id-7"]),
)  # fmt: skip


@st.composite
def told_heads(draw: st.DrawFn) -> bytes:
    head = draw(plain_requests)
    line, _, rest = head.partition(b"\r\n")
    return (
        line + b"\r\n" + b"".join(b"%b: %b\r\n" % one for one in draw(st.lists(telling, max_size=5))) + rest
    )


@given(st.lists(told_heads(), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_both_lanes_say_the_same_of_a_trusted_proxys_visitor(
    heads: list[bytes], with_forwarded: bool, with_port: bool
) -> None:
    trusting = trust(forwarded=with_forwarded, forwarded_for_port=with_port)
    reader = QuickReader(LIMITS, trusted=True)
    for head in heads + heads:  # the second time from memory
        quick = reader.request(head)
        if quick is None:
            event("declined")
            continue
        event("taken")
        whole = read_request(head, LIMITS)
        visitor = trusting.speaker(PEER).of(quick.fields)[0]
        afresh = trust(forwarded=with_forwarded, forwarded_for_port=with_port)
        assert visitor == afresh.speaker(PEER).of(whole.fields)[0]
        ours = own_lines(visitor.lines, visitor.host or quick.host, b"id-1", b"t0ken", visitor.forwarded)
        assert quick.lines + ours == field_lines(
            request_fields(
                whole.fields,
                caller=visitor.caller,
                host=whole.host,
                token=b"t0ken",
                request_id=b"id-1",
                trusted=True,
                forwarded_for_port=with_port,
                forwarded_host=visitor.host,
                forwarded=visitor.forwarded,
            )
        )


def heads_at_the_app(head: bytes, quick_lane: bool, front_keys: dict[str, object]) -> Iterator[bytes]:
    with memory_front(quick_lane=quick_lane, front=front_keys) as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(head)
        front.settle()
        for app in front.apps:
            yield b"\r\n".join(line for line in app.recv_all().split(b"\r\n") if b"-ID: " not in line)
        visitor.close()
        front.settle()


PREFIXED = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /shop\r\nX-Real-IP: 192.0.2.1\r\n\r\n"


@given(told_heads(), st.booleans(), st.booleans())
@example(PREFIXED, False, False)
@example(PREFIXED, True, False)
def test_the_app_is_told_the_same_with_and_without_the_quick_lane(
    head: bytes, trusted: bool, with_forwarded: bool
) -> None:
    keys: dict[str, object] = {"trusted_proxies": ("unix",) if trusted else (), "forwarded": with_forwarded}
    quick = list(heads_at_the_app(head, True, keys))
    assert quick == list(heads_at_the_app(head, False, keys))
    if quick and not trusted:
        told = said_of([(n, v) for n, _, v in (line.partition(b": ") for line in quick[0].split(b"\r\n"))])
        names = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"]
        assert [name for name, _ in told] == names[: 3 + with_forwarded]
        assert told[0][1] == b"unix"
        event("an untrusted one reached the app")


def test_the_visitor_is_who_every_part_of_us_sees() -> None:
    """Guards the properties above: a front that refused everything would keep them."""
    head = (
        b"GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 10.0.0.1, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: shop.example\r\nX-Request-ID: of-the-proxy\r\n\r\n"
    )
    with memory_front(front={"trusted_proxies": ("unix",)}) as front:
        front.publish(1)
        visitor = front.visit()
        visitor.send(head)
        front.settle()
        told = front.apps[0].recv_all()
        assert b"\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n" in told
        assert b"\r\nX-Forwarded-Host: shop.example\r\nX-Request-ID: of-the-proxy\r\n" in told
        (line,) = front._request_lines("")
        assert (line.client, line.id) == ("192.0.2.1", "of-the-proxy")
        visitor.close()
        front.settle()


def test_what_is_remembered_of_one_visitor_is_not_told_of_another() -> None:
    trusting = trust()
    told = [
        b"X-Forwarded-For: 192.0.2.1\r\n",
        b"X-Forwarded-For: 192.0.2.2\r\n",
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n",
        b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: b\r\n",
        b"",
    ]
    seen = []
    for lines in told * 2:
        request = read_request(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines, LIMITS)
        visitor, _ = trusting.speaker(PEER).of(request.fields)
        seen.append((visitor.caller.address, visitor.caller.scheme, visitor.host))
    assert seen[:5] == seen[5:]
    assert seen[:5] == [
        ("192.0.2.1", "http", b""),
        ("192.0.2.2", "http", b""),
        ("192.0.2.1", "https", b""),
        ("192.0.2.1", "http", b"b"),
        ("10.0.0.9", "http", b""),
    ]
    head = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"
    for other in (
        Caller("10.0.0.8", 5000, "http"),
        Caller("10.0.0.9", 5000, "https"),
        Caller("10.0.0.9", 1, "http"),
    ):
        speaker = trusting.speaker(other)
        nobody, unknown, named = (
            speaker.of(read_request(head % lines, LIMITS).fields)[0].caller
            for lines in (b"", b"X-Forwarded-For: unknown\r\n", told[0])
        )
        assert nobody == unknown == other
        assert (named.address, named.scheme) == ("192.0.2.1", other.scheme)


def test_the_request_id_of_a_proxy_is_taken_once_and_when_it_is_sane() -> None:
    speaker = trust().speaker(PEER)
    for ids, taken in (
        ([b"id-7"], b"id-7"),
        ([b"id 7"], None),
        ([b"id-7", b"id-7"], None),
        ([], None),
    ):
        fields = [(b"X-Request-Id", value) for value in ids]
        assert speaker.of([(b"Host", b"a"), *fields])[1] == taken
        assert speaker.of([*fields, (b"X-Forwarded-For", b"192.0.2.1")])[1] == taken


def test_what_is_remembered_is_bounded() -> None:
    trusting = trust()
    speaker = trusting.speaker(PEER)
    for number in range(3 * MEMORY):
        speaker.of(
            [(b"x-forwarded-for", b"192.0.%d.%d" % (number // 250, number % 250)), (b"n-%d" % number, b"")]
        )
    speaker.of([(b"x-forwarded-for", b"192.0.2.1," + b" " * 1000 + b"10.0.0.1"), (b"n" * 1000, b"")])
    assert len(speaker._memory) <= MEMORY
    assert len(trusting._names) <= MEMORY
    assert not any(len(value) > 500 for said in speaker._memory for _, value in said)
    assert max(map(len, trusting._names)) < 100


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (b'for=192.0.2.1;note="a, for=198.51.100.1"', Origin("192.0.2.1")),
        (b'for=198.51.100.1, for=192.0.2.1;note="\\", for=198.51.100.2;x=\\""', Origin("192.0.2.1")),
        (b'FOR="\\192.0.2.1" ; proto=HTTPS', Origin("192.0.2.1", 0, "https")),
        (b'for="[2001:db8::1]:_hid"', Origin("2001:db8::1")),
        (b'for="192.0.2.1:_hid"', Origin("192.0.2.1")),
        (b"proto=https;host=b", Origin("", 0, "https", b"b")),
        (b'for=192.0.2.1;proto=ftp;host="a/b"', Origin("192.0.2.1")),
        (b";;for=192.0.2.1;;", Origin("192.0.2.1")),
        (b"for=192.0.2.1;for=198.51.100.1", Origin()),
        (b"for=192.0.2.1;proto=http;proto=https", Origin()),
        (b"for=192.0.2.1:80", Origin()),  # a colon belongs into quotes
        (b"for=2001:db8::1", Origin()),
        (b'for="2001:db8::1"', Origin()),
        (b"for=", Origin()),
        (b"for = 192.0.2.1", Origin()),
        (b'for="192.0.2.1', Origin()),
    ],
)
def test_forwarded_by_its_grammar(value: bytes, origin: Origin) -> None:
    assert origin_of(((b"forwarded", value),), trusts) == origin


def test_networks() -> None:
    everything = Networks(["10.0.0.0/8", "fd00::/8", "::ffff:198.51.100.0/120", "unix"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "fd12::1%eth0", "198.51.100.9", ""):
        assert everything.include(address), address
    for address in ("11.0.0.1", "fe80::1", "198.51.101.1", "::", "nonsense", "unix"):
        assert not everything.include(address), address
    assert not Networks(["10.0.0.0/8"]).include("")
    assert not Networks([])
