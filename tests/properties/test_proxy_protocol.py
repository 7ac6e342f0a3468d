"""The PROXY protocol: what a proxy wrote is read back, however it is cut; what it did not write is refused, and nothing
but the preamble is taken from the connection."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable

import gevent
import pytest
from gevent import get_hub
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy.headers import Caller
from proxy.preambles import Preambles
from proxy.proxy_protocol import MAX_BLOCK, SIGNATURE, BadPreamble, Preamble, crc32c, parse
from proxy.streams import Deadlines
from tests.kit.until import wait_until

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None)  # type: ignore[union-attr]
ports = st.integers(0, 65535)
tlvs = st.lists(
    st.tuples(st.sampled_from([0x01, 0x02, 0x04, 0x05, 0x30, 0xE1]), st.binary(max_size=40)), max_size=4
)
follows = st.sampled_from(
    [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01", b"PROXY ", SIGNATURE, b"\r\n"]
)


@st.composite
def lines(draw: st.DrawFn) -> tuple[bytes, Preamble]:
    if draw(st.booleans()):
        rest = draw(st.sampled_from([b"", b" ", b" x", b" ffff::1 ffff::2 1 2", b" \n\r\x00"]))
        line = b"PROXY UNKNOWN" + rest + b"\r\n"
        return line, Preamble(len(line))
    family, addresses = draw(st.sampled_from([("TCP4", v4), ("TCP6", v6)]))
    source, destination, port = draw(addresses), draw(addresses), draw(ports)
    text = str(source) if draw(st.booleans()) else source.exploded.upper()
    line = f"PROXY {family} {text} {destination} {port} {draw(ports)}\r\n".encode()
    return line, Preamble(len(line), str(source), port)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def block(command: int, family: int, addresses: bytes, more: bytes, summed: bool) -> bytes:
    """A whole header; `summed`: with its checksum at the end."""
    more += tlv(0x03, bytes(4)) if summed else b""
    head = SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(addresses + more)) + addresses + more
    return head[:-4] + struct.pack("!I", crc32c(head)) if summed else head


@st.composite
def blocks(draw: st.DrawFn) -> tuple[bytes, Preamble]:
    more = b"".join(tlv(*one) for one in draw(tlvs))
    tls = draw(st.booleans())
    if tls:
        more += tlv(0x20, b"\x01" + bytes(4) + tlv(0x21, b"TLSv1.3"))
    summed = draw(st.booleans())
    port = draw(ports)
    match draw(st.sampled_from(["v4", "v6", "unix", "udp", "nobody", "local"])):
        case "v4":
            source = draw(v4)
            addresses = source.packed + draw(v4).packed + struct.pack("!HH", port, draw(ports))
            whole = block(1, 0x11, addresses, more, summed)
            return whole, Preamble(len(whole), str(source), port, tls=tls)
        case "v6":
            source6 = draw(v6)
            addresses = source6.packed + draw(v6).packed + struct.pack("!HH", port, draw(ports))
            whole = block(1, 0x21, addresses, more, summed)
            return whole, Preamble(len(whole), str(source6), port, tls=tls)
        case "unix":
            whole = block(1, 0x31, b"/run/a".ljust(108, b"\0") * 2, more, summed)
            return whole, Preamble(len(whole), tls=tls)
        case "udp":
            whole = block(1, 0x12, bytes(12), more, summed)
            return whole, Preamble(len(whole), tls=tls)
        case "nobody":
            whole = block(1, 0x00, b"", more, summed)
            return whole, Preamble(len(whole), tls=tls)
    whole = block(0, draw(st.sampled_from([0x00, 0x11, 0x21])), draw(st.binary(max_size=60)), b"", False)
    return whole, Preamble(len(whole), local=True)


preambles = lines() | blocks()


@given(preambles, follows)
def test_what_a_proxy_wrote_is_read_back_whatever_follows(case: tuple[bytes, Preamble], rest: bytes) -> None:
    data, expected = case
    assert parse(data + rest) == expected
    for end in range(len(data)):
        assert parse(data[:end]) is None, "a beginning is neither refused nor whole"


@given(preambles, st.data())
def test_what_was_bent_is_refused_or_waited_for_and_never_goes_beyond_its_end(
    case: tuple[bytes, Preamble], data: st.DataObject
) -> None:
    whole = case[0]
    at = data.draw(st.integers(0, len(whole) - 1))
    bent = data.draw(st.sampled_from([b"", b"\0", b" ", b"\r", b"\n", b"0", b"\xff", whole[at : at + 1] * 2]))
    changed = whole[:at] + bent + whole[at + 1 :]
    try:
        found = parse(changed)
    except BadPreamble:
        event("refused")
        return
    event("waits" if found is None else "taken")
    if found is not None:
        assert found.length <= len(changed)
        assert not found.address or str(ipaddress.ip_address(found.address)) == found.address


@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"\x16\x03\x01\x02\x00\x01")
@example(b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n")
def test_what_does_not_begin_like_it_is_refused_at_its_first_wrong_byte(data: bytes) -> None:
    if data and not data.startswith((b"P", b"\r")):
        with pytest.raises(BadPreamble):
            parse(data[:1])
        with pytest.raises(BadPreamble):
            parse(data)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP6 ::1%lo ::1 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY unknown\r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    ],
)
def test_lines_that_are_not_by_the_protocol(line: bytes) -> None:
    with pytest.raises(BadPreamble):
        parse(line.ljust(120, b"\0"))


def test_the_longest_line_is_taken_and_one_byte_more_is_not() -> None:
    line = b"PROXY UNKNOWN " + b"x" * (107 - 16) + b"\r\n"
    assert parse(line) == Preamble(107)
    with pytest.raises(BadPreamble):
        parse(line[:-2] + b"x\r\n")


V4 = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack("!HH", 7, 8)


@pytest.mark.parametrize(
    "header",
    [
        SIGNATURE + b"\x11\x11\x00\x0c" + V4,
        SIGNATURE + b"\x31\x11\x00\x0c" + V4,
        SIGNATURE + b"\x22\x11\x00\x0c" + V4,
        SIGNATURE + b"\x21\x41\x00\x0c" + V4,
        SIGNATURE + b"\x21\x13\x00\x0c" + V4,
        SIGNATURE + b"\x21\x11\x00\x0b" + V4,
        SIGNATURE + b"\x21\x21\x00\x0c" + V4,
        SIGNATURE + b"\x21\x11\xff\xff" + V4,
        SIGNATURE + b"\x21\x11\x00\x0e" + V4 + b"\x04\x00",
        SIGNATURE + b"\x21\x11\x00\x10" + V4 + b"\x04\x00\x02\x00",
        SIGNATURE + b"\x21\x11\x00\x12" + V4 + b"\x03\x00\x03\x00\x00\x00",
        block(1, 0x11, V4, b"", True)[:-1] + b"\0",
    ],
)
def test_headers_that_are_not_by_the_protocol(header: bytes) -> None:
    assert parse(block(1, 0x11, V4, b"", True)) == Preamble(35, "192.0.2.1", 7)
    with pytest.raises(BadPreamble):
        parse(header)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4


def test_mapped_addresses_are_told_as_ipv4() -> None:
    mapped = ipaddress.IPv6Address("::ffff:192.0.2.1").packed * 2 + struct.pack("!HH", 1, 2)
    for data in (block(1, 0x21, mapped, b"", False), b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"):
        found = parse(data)
        assert found is not None
        assert found.address == "192.0.2.1"


# ------------------------------------------------------------------------------------------------------------
# On sockets


def until(fact: Callable[[], object]) -> None:
    """Let the loop run until `fact()`."""

    def looked() -> object:
        gevent.sleep(0.001)
        return fact()

    wait_until(looked, "what the loop does")


PEER = Caller("10.0.0.1", 1, "http")


class Scene:
    """One connection whose preamble is being read; `greeted` is what became of it."""

    def __init__(self, *, trusted: bool = True, limit: float = 60.0) -> None:
        self.greeted: list[tuple[socket.socket, Caller]] = []
        self.over = 0
        deadlines = Deadlines()
        self.preambles = Preambles(get_hub().loop, deadlines.now, lambda peer: trusted, self._over)
        self.proxy, ours = socket.socketpair()
        self.proxy.settimeout(10)
        self.preambles.begin(ours, PEER, limit, lambda sock, caller: self.greeted.append((sock, caller)))
        deadlines.close()

    def _over(self) -> None:
        self.over += 1

    def send(self, data: bytes) -> None:
        self.proxy.sendall(data)
        for _ in range(3):
            gevent.sleep(0)

    def close(self) -> None:
        self.proxy.close()
        for sock, _ in self.greeted:
            sock.close()


@given(preambles, follows, st.lists(st.integers(0, 300), max_size=5))
def test_exactly_the_preamble_is_taken_from_the_connection(
    case: tuple[bytes, Preamble], rest: bytes, cuts: list[int]
) -> None:
    data, expected = case
    scene = Scene()
    places = sorted({min(cut, len(data)) for cut in cuts})
    for begin, end in zip([0, *places], [*places, len(data)], strict=True):
        if begin < end:
            scene.send(data[begin : end if end < len(data) else None] + (rest if end == len(data) else b""))
    until(lambda: scene.greeted)
    (sock, caller), over = scene.greeted[0], scene.over
    assert over == 1
    assert not scene.preambles.under_way
    assert (sock.recv(1000, socket.MSG_DONTWAIT) if rest else b"") == rest
    assert caller.nameless == (not expected.address)
    assert (caller.address, caller.port) == (
        (expected.address, expected.port) if expected.address else ("10.0.0.1", 1)
    )
    assert caller.scheme == ("https" if expected.tls else "http")
    scene.close()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PROXY nonsense\r\n", SIGNATURE + b"\x11", b"\0"])
def test_what_is_no_preamble_ends_the_connection(data: bytes) -> None:
    scene = Scene()
    scene.send(data)
    until(lambda: scene.over)
    with pytest.raises((BlockingIOError, ConnectionResetError, AssertionError)):
        assert scene.proxy.recv(1, socket.MSG_DONTWAIT), "the end"
    assert not scene.greeted
    scene.close()


def test_who_is_not_trusted_is_not_even_read() -> None:
    scene = Scene(trusted=False)
    assert scene.proxy.recv(1) == b""
    assert not scene.greeted
    scene.close()


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4", SIGNATURE])
def test_its_time_is_limited(begun: bytes) -> None:
    scene = Scene(limit=0.05)
    scene.send(begun)
    until(lambda: scene.over)
    assert not scene.greeted
    scene.close()


def test_a_worker_that_goes_hurries_them() -> None:
    scene = Scene()
    scene.send(b"PROXY ")
    scene.preambles.hurry(0.01)
    until(lambda: scene.over)
    assert not scene.preambles.under_way
    scene.close()


def test_a_proxy_that_goes_in_the_middle_leaves_nothing_behind() -> None:
    scene = Scene()
    scene.send(b"PROXY TCP4")
    scene.proxy.close()
    until(lambda: scene.over)
    assert not scene.greeted
    assert MAX_BLOCK >= 216
