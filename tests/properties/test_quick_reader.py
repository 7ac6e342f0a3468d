"""The quick reader takes only what the strict reader and h11 take, reads it as they do, and what is forwarded is
the same byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy.head import MEMORY, QuickReader
from proxy.headers import Caller, caller_lines, own_lines, request_fields, response_fields
from proxy.peer import Framing, Request, Response, read_request, read_response
from proxy.shapes import EVER_NEW, SHAPES
from proxy.strict import Limits, Malformed
from proxy.wire import field_lines
from tests.properties.heads import any_case, heads, tokens, values

LIMITS = Limits()
CALLERS = (
    Caller("192.0.2.7", 4711, "http"),
    Caller("192.0.2.7", 4711, "https", certificate=bytes(range(256))),
)

trimmed = values.map(lambda value: b"v" + value.strip(b" \t"))
usual_names = st.sampled_from(
    b"Accept User-Agent Cookie Referer X-Request-ID X-Forwarded-For X_Forwarded_For MS-ASPNETCORE-TOKEN "
    b"ms_aspnetcore_x Forwarded X-Original-URL Proxy Keep-Alive Proxy-Connection Proxy-Authorization "
    b"HTTP2-Settings Authorization Set-Cookie Server Date Proxy-Authenticate Via".split()
).flatmap(any_case)
special = st.sampled_from(
    [
        (b"Connection", b"keep-alive"),
        (b"Connection", b"Close"),
        (b"connection", b"x-hop"),
        (b"Connection", b"close, te"),
        (b"Content-Length", b"5"),
        (b"content-length", b"007"),
        (b"Content-Length", b"5, 5"),
        (b"Content_Length", b"5"),
        (b"Content-Length", b"9" * 18),
        (b"Content-Length", b"9" * 19),
        (b"Transfer-Encoding", b"chunked"),
        (b"Transfer-Encoding", b"Chunked"),
        (b"Transfer_Encoding", b"chunked"),
        (b"Transfer-Encoding", b"gzip, chunked"),
        (b"TE", b"trailers"),
        (b"Upgrade", b"websocket"),
        (b"Expect", b"100-continue"),
        (b"Host", b"b"),
        (b"Accept", b"text/html"),
    ]
)
fields = st.tuples(usual_names, trimmed) | st.tuples(tokens, trimmed) | special
host_lines = st.sampled_from([b"a", b"a.example:8080", b"127.0.0.1:45123", b"[::1]", b"a/b", b"a:99999", b""])


@st.composite
def plain_heads(draw: st.DrawFn, line: bytes, host: bool) -> bytes:
    block = draw(st.lists(fields, max_size=6))
    if host:
        block.insert(draw(st.integers(0, len(block))), (b"Host", draw(host_lines)))
    return line + b"\r\n" + b"".join(b"%b: %b\r\n" % field for field in block) + b"\r\n"


request_lines = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a%2Fb?c=d HTTP/1.1",
        b"HEAD /x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://a/ HTTP/1.1",
        b"GET /%00 HTTP/1.1",
        b"CONNECT /a HTTP/1.1",
        b"connect /a HTTP/1.1",
        b"GET / HTTP/1.0",
    ]
)
status_lines = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 404 N\xc3\xb6",
        b"HTTP/1.1 599 x\ty",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 100 Continue",
    ]
)
plain_requests = request_lines.flatmap(lambda line: plain_heads(line, host=True))
plain_responses = status_lines.flatmap(lambda line: plain_heads(line, host=False))


def compare_request(reader: QuickReader, head: bytes, *, trusted: bool = False) -> bool:
    quick = reader.request(head)
    if quick is None:
        return False
    whole = read_request(head, LIMITS)
    assert meaning(quick) == meaning(whole)
    assert (quick.method, quick.target, quick.host, quick.accept) == (
        whole.method,
        whole.target,
        whole.host,
        whole.accept,
    )
    assert (quick.upgrade, quick.expects_continue) == (whole.upgrade, whole.expects_continue) == (b"", False)
    for caller in CALLERS:
        crossing = request_fields(
            whole.fields,
            caller=caller,
            host=whole.host,
            token=b"t0ken",
            request_id=b"id-1",
            trusted=trusted,
        )
        ours = own_lines(caller_lines(caller, with_port=False), quick.host, b"id-1", b"t0ken")
        assert quick.lines + ours == field_lines(crossing)
    return True


def compare_response(reader: QuickReader, head: bytes, request: Request) -> bool:
    quick = reader.response(head, request)
    if quick is None:
        return False
    whole = read_response(head, request)
    assert meaning(quick) == meaning(whole)
    assert (quick.status, quick.reason) == (whole.status, whole.reason)
    assert quick.lines == field_lines(response_fields(whole.fields))
    return True


def meaning(message: Request | Response) -> tuple[object, ...]:
    lowered = [
        (name, value.lower() if name.lower() == b"transfer-encoding" else value)
        for name, value in message.fields
    ]
    return (message.version, message.framing, message.length, message.keep_alive, lowered)


REQUESTS = {
    method: Request(method, b"/", b"1.1", [(b"Host", b"a")], Framing.NONE, 0, True)
    for method in (b"GET", b"HEAD")
}


@given(st.lists(plain_requests | plain_requests | heads, min_size=1, max_size=3))
@example([b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nX:  a\r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nX: a\t\r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nX: a \r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb  c\r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nX:a\r\n\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"])
def test_requests_are_read_as_by_the_judge(several: list[bytes]) -> None:
    reader = QuickReader(LIMITS)
    for head in several * 4:  # from memory of its lines the second time, then of its shape
        event("taken" if compare_request(reader, head) else "declined")


@given(st.lists(plain_responses, min_size=1, max_size=3), st.sampled_from([b"GET", b"HEAD"]))
def test_responses_are_read_as_by_the_judge(several: list[bytes], method: bytes) -> None:
    reader = QuickReader(LIMITS)
    for head in several + several:
        event("taken" if compare_response(reader, head, REQUESTS[method]) else "declined")


@given(plain_requests, st.data())
def test_a_head_that_is_cut_or_bent_is_read_as_by_the_judge_or_declined(
    head: bytes, data: st.DataObject
) -> None:
    reader = QuickReader(LIMITS)
    if data.draw(st.booleans()):
        know(reader, head)
    at = data.draw(st.integers(0, len(head)))
    bent = data.draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b"\r\n", b":", b"\x7f", b"\r\n "]))
    for changed in (head[:at], head[:at] + bent + head[at:], head[:at] + bent + head[at + 1 :]):
        compare_request(reader, changed)


ever_new = st.sampled_from(sorted(EVER_NEW)).flatmap(
    lambda name: st.sampled_from([name, name.title(), name.title()]) | any_case(name)
)
new_values = trimmed | st.sampled_from(
    [
        b"",
        b" ",
        b"12",
        b"007",
        b"-1",
        b"1, 1",
        b"9" * 18,
        b"9" * 19,
        b"a\0b",
        b"a\nb",
        b"a\r",
        b"a\tb",
        b"a ",
        b"\x7f",
    ]
)


@given(st.data())
def test_a_head_of_a_known_shape_is_read_as_by_the_judge(data: st.DataObject) -> None:
    trusted = data.draw(st.booleans())
    reader = QuickReader(LIMITS, trusted=trusted)
    line = data.draw(request_lines)
    before = data.draw(st.lists(st.tuples(tokens, trimmed), max_size=2))
    new = data.draw(st.lists(ever_new, min_size=1, max_size=3))
    block = [(b"Host", b"a"), *before, *((name, b"12") for name in new)]
    if not trusted:
        block.append((b"Cookie", b"1"))
    order = data.draw(st.permutations(block))
    know(reader, written(line, order), trusted=trusted)
    lines = data.draw(st.lists(request_lines, min_size=1, max_size=3))
    for other in [line, *lines]:
        changed = [
            (name, data.draw(new_values) if name.lower() in EVER_NEW else value) for name, value in order
        ]
        event("taken" if compare_request(reader, written(other, changed), trusted=trusted) else "declined")


def written(line: bytes, block: list[tuple[bytes, bytes]]) -> bytes:
    return line + b"\r\n" + b"".join(b"%b: %b\r\n" % field for field in block) + b"\r\n"


def know(reader: QuickReader, head: bytes, *, trusted: bool = False) -> None:
    """First its lines, then its shape."""
    compare_request(reader, head, trusted=trusted)
    compare_request(reader, head, trusted=trusted)


BROWSER = (
    b"GET /a?b=%d HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: Mozilla/5.0 (X11)\r\nReferer: http://shop.example/%d\r\n"
    b"Accept: */*\r\nKeep-Alive: 5\r\nCookie: a=b; c=%d\r\n\r\n"
)


def shape(reader: QuickReader, head: bytes) -> Request | None:
    """What the reader makes of it by its shape alone."""
    method, target, _ = head.split(b" ", 2)
    left, values = reader._shapes.cut(head[head.index(b"\r\n") :])
    found = reader._shapes.find(left)
    return None if found is None else found.request(method, target, values)


def test_what_browsers_send_has_a_shape_after_the_second_time() -> None:
    reader = QuickReader(LIMITS)
    for number in range(2):
        assert shape(reader, BROWSER % ((number,) * 3)) is None
        assert compare_request(reader, BROWSER % ((number,) * 3))
    found = shape(reader, BROWSER % ((7,) * 3))
    assert found is not None
    assert b"Cookie: a=b; c=7\r\n" in found.lines
    assert b"Keep-Alive" not in found.lines


@pytest.mark.parametrize(
    "value", [b"007", b"-1", b"1, 1", b"9" * 18, b"9" * 19, b"a", b"a\0b", b"a\nb", b"a ", b"a\r", b"\x7f"]
)
def test_each_value_in_a_known_shape_is_judged(value: bytes) -> None:
    reader = QuickReader(LIMITS)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nCookie: %b\r\nKeep-Alive: 5\r\n\r\n"
    know(reader, head % (b"12", b"c"))
    assert shape(reader, head % (b"1", b"d")) is not None
    compare_request(reader, head % (b"1", b"d"))
    for changed in (head % (value, b"c"), head % (b"12", value)):
        try:
            read_request(changed, LIMITS)
        except Malformed:
            assert reader.request(changed) is None
        else:
            compare_request(reader, changed)


def test_a_head_with_a_line_that_is_new_each_time_is_no_shape() -> None:
    reader = QuickReader(LIMITS)
    for number in range(5):
        assert compare_request(reader, b"GET / HTTP/1.1\r\nHost: a\r\nX-Trace: %d\r\n\r\n" % number)
    assert not len(reader._shapes.known)


def test_shapes_are_bounded_and_hold_no_secret() -> None:
    reader = QuickReader(LIMITS)
    known = reader._shapes.known
    for number in range(3 * SHAPES):
        know(
            reader,
            b"GET / HTTP/1.1\r\nHost: a%d\r\nAuthorization: Basic YTpi\r\nCookie: s3cret\r\n\r\n" % number,
        )
    assert 0 < len(known) <= SHAPES
    know(reader, b"GET / HTTP/1.1\r\nHost: long\r\n" + b"X: %b\r\n" % (b"x" * 200) * 6 + b"\r\n")
    know(reader, b"GET / HTTP/1.1\r\nHost: odd\r\nCOOKIE: s3cret\r\n\r\n")
    kept = repr(known.younger)
    assert "YTpi" not in kept
    assert "s3cret" not in kept
    assert "long" not in kept
    assert "odd" not in kept


def test_what_browsers_send_is_taken() -> None:
    """Guards the properties: a reader that declines everything would keep them all."""
    reader = QuickReader(LIMITS)
    assert compare_request(
        reader,
        b"GET /a?b HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept: */*\r\n"
        b"Cookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n",
    )
    assert compare_request(
        reader, b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nContent-Type: text/plain\r\n\r\n"
    )
    assert compare_response(
        reader,
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 63\r\nConnection: keep-alive\r\n\r\n",
        REQUESTS[b"GET"],
    )


@pytest.mark.parametrize("port", [0, 80, 8080, 10000, 59999, 60000, 60999, 64999, 65000, 65499, 65529, 65535])
def test_every_port_is_plain(port: int) -> None:
    assert compare_request(QuickReader(LIMITS), b"GET / HTTP/1.1\r\nHost: a:%d\r\n\r\n" % port)


@pytest.mark.parametrize("port", [65536, 65540, 65600, 66000, 70000, 99999, 100000])
def test_what_is_no_port_is_not(port: int) -> None:
    assert QuickReader(LIMITS).request(b"GET / HTTP/1.1\r\nHost: a:%d\r\n\r\n" % port) is None


def test_memory_is_bounded() -> None:
    reader = QuickReader(LIMITS)
    for number in range(3 * MEMORY):
        assert reader.request(b"GET / HTTP/1.1\r\nHost: a\r\nX-%d: %d\r\n\r\n" % (number, number)) is not None
    assert len(reader._lines.known) <= MEMORY
    assert len(reader._lines._names) <= MEMORY
    assert len(reader._requests._plans) <= MEMORY


def test_long_names_are_not_remembered() -> None:
    reader = QuickReader(LIMITS)
    name = b"n" * 60_000
    assert reader.request(b"GET / HTTP/1.1\r\nHost: a\r\n%b: x\r\n\r\n" % name) is not None
    assert not len(reader._requests._plans)
    assert reader.request(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: %b\r\n\r\n" % name) is not None
    assert len(reader._requests._plans) == 1


def test_a_line_is_remembered_while_it_is_used_and_a_secret_is_not() -> None:
    reader = QuickReader(LIMITS)

    def ask(*lines: bytes) -> None:
        head = b"".join(b"%b\r\n" % line for line in (b"GET / HTTP/1.1", b"Host: a", *lines, b""))
        assert reader.request(head) is not None

    for number in range(3 * MEMORY):
        ask(b"Accept: */*", b"X: %d" % number, b"Cookie: %d" % number, b"Authorization: Basic YTpi")
    assert b"Accept: */*" in reader._lines.known.younger
    assert not [
        line for line in reader._lines.known.younger if line.startswith((b"Cookie", b"Authorization"))
    ]
