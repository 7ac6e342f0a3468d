"""What the strict reader promises of any bytes: a subset of h11's language, read alike, and nothing but Malformed."""

from __future__ import annotations

from collections.abc import Callable

import h11
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy import strict
from proxy.strict import REQUEST_LIMITS, Malformed, check_request_head, check_response_head
from tests.properties.heads import good_heads, heads, render, tokens, values


def problem_of(check: Callable[[bytes], None], head: bytes) -> Malformed | None:
    """Why `head` is refused; any exception but Malformed is a failure of the property."""
    try:
        check(head)
    except Malformed as problem:
        event("refused")
        return problem
    event("taken")
    return None


def is_taken(head: bytes) -> bool:
    problem = problem_of(check_request_head, head)
    assert problem is None or (problem.status in (400, 414, 431, 501, 505) and problem.reason)
    return problem is None


@given(heads)
@example(b"")
@example(b"\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
def test_what_strict_takes_h11_reads_as_one_request_with_the_same_meaning(head: bytes) -> None:
    if not is_taken(head):
        return
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(head)
    request = judge.next_event()
    assert isinstance(request, h11.Request)
    line, *lines = head[:-4].split(b"\r\n")
    assert line == request.method + b" " + request.target + b" HTTP/" + request.http_version
    pairs = [line.partition(b":") for line in lines]
    meant = [(name, value.strip(b" \t")) for name, _, value in pairs]
    framing = (b"transfer-encoding",)  # h11 lowers its value
    assert [(n, v.lower() if n.lower() in framing else v) for n, v in meant] == list(
        request.headers.raw_items()
    )
    assert judge.trailing_data == (b"", False)


@given(good_heads())
def test_the_grammar_is_taken(head: bytes) -> None:
    """Guards the other properties: a reader that refuses everything would keep them all."""
    line = head.partition(b"\r\n")[0]
    target = line.split(b" ")[1]
    odd = target == b"*" or b"%00" in target or (b"HTTP/1.0" in line and b"transfer-encoding" in head.lower())
    assert odd or is_taken(head)


@given(heads)
def test_the_plain_pass_takes_nothing_that_the_tables_refuse(head: bytes) -> None:
    if strict._is_plain_request(head, REQUEST_LIMITS):
        strict._check_request_by_tables(head, REQUEST_LIMITS)


status_lines = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 404 Not Found",
        b"HTTP/1.1 304",
        b"HTTP/1.1 103 ",
        b"HTTP/1.1 700 X",
        b"HTTP/3.0 200 A",
    ]
)
framing_names = st.sampled_from([b"Content-Length", b"content-length", b"Transfer-Encoding", b"X"])
framing_values = st.sampled_from(
    [b"5", b"05", b"5,5", b"-5", b"", b"chunked", b"CHUNKED", b"gzip", b"chunked, gzip"]
)
response_fields = st.lists(st.tuples(tokens, values) | st.tuples(framing_names, framing_values), max_size=6)
response_heads = st.builds(render, status_lines, response_fields) | st.binary(max_size=80)


@given(response_heads, st.sampled_from([b"", b"\n", b"\r", b"\0", b" ", b"\x0b"]), st.integers(0, 40))
def test_what_strict_takes_of_an_app_h11_reads_as_one_response(head: bytes, piece: bytes, at: int) -> None:
    head = head[:at] + piece + head[at:]
    if problem := problem_of(check_response_head, head):
        assert problem.status == 502
        return
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    judge.receive_data(head)
    response = judge.next_event()
    assert isinstance(response, h11.Response | h11.InformationalResponse)
    line, *lines = head[:-4].split(b"\r\n")
    assert line.startswith(b"HTTP/%s %d" % (response.http_version, response.status_code))
    pairs = [line.partition(b":") for line in lines]
    meant = [(name, value.strip(b" \t")) for name, _, value in pairs]
    framing = (b"transfer-encoding",)
    assert [(n, v.lower() if n.lower() in framing else v) for n, v in meant] == list(
        response.headers.raw_items()
    )
