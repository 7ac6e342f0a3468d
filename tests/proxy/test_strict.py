"""The strict reader, row by row. What attacks look like is in the corpus; here are the limits and the edges."""

from __future__ import annotations

import pytest

from proxy.strict import (
    FAULTS,
    MAX_CONTENT_LENGTH,
    Limits,
    Malformed,
    Target,
    check_request_head,
    check_response_head,
    check_trailers,
    is_host,
    split_target,
)


def status_of(head: bytes, limits: Limits | None = None) -> int:
    """0 when it passes."""
    try:
        check_request_head(head, limits or Limits())
    except Malformed as problem:
        return problem.status
    return 0


def get(target: bytes = b"/", *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: a", *fields, b"", b""])


# A head for each row of the table that this row alone refuses.
ROWS = {
    "a NUL byte in the head": get(b"/", b"X: \0"),
    "a line that ends in LF without CR": get(b"/", b"X: \n"),
    "a CR without LF": get(b"/", b"X: \ry"),
    "a control byte in the head": get(b"/", b"X: \x01"),
    "bytes after the end of the head": get() + b"x",
    "an empty line where the first line must be": b"\r\n" + get(),
    "white space before the first line": b" " + get(),
    "white space before the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a folded field line": get(b"/", b"X: y", b" z"),
    "a field without a name": get(b"/", b": y"),
    "white space before a colon": get(b"/", b"X : y"),
    "a field line without a colon": get(b"/", b"X"),
    "a field name that is no token": get(b"/", b"X(: y"),
    "a head without an end": b"GET / HTTP/1.1\r\nHost: a\r\n",
}


def test_every_row_of_the_fault_table_has_its_head() -> None:
    assert [fault.reason for fault in FAULTS] == list(ROWS)


@pytest.mark.parametrize("reason", ROWS)
def test_a_row_refuses_its_head_and_says_why(reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        check_request_head(ROWS[reason])
    assert refused.value.status == 400
    assert refused.value.reason == reason


def test_a_reason_never_shows_what_was_sent() -> None:
    for head in (
        get(b"/", b"Secret\xff: s3cret"),
        get(b"s3cret"),
        b"s3cret\r\n\r\n",
        get(b"/", b"Content-Length: s3cret"),
    ):
        with pytest.raises(Malformed) as refused:
            check_request_head(head)
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/" + b"a" * 8191, 0),
        (b"/" + b"a" * 8192, 414),
        (b"http://a/" + b"b" * 8183, 0),
        (b"http://a/" + b"b" * 8184, 414),
    ],
)
def test_the_limit_of_a_target_is_exact(target: bytes, status: int) -> None:
    assert status_of(get(target)) == status


def test_the_limit_of_a_head_is_exact() -> None:
    empty = len(get(b"/", b"X: "))
    assert status_of(get(b"/", b"X: " + b"a" * (65536 - empty))) == 0
    assert status_of(get(b"/", b"X: " + b"a" * (65537 - empty))) == 431


def test_the_limit_of_fields_is_exact() -> None:
    assert status_of(get(b"/", *[b"X: y"] * 99)) == 0
    assert status_of(get(b"/", *[b"X: y"] * 100)) == 431
    assert status_of(get(b"/", b"X: y"), Limits(max_fields=1)) == 431


def test_a_target_that_is_too_long_is_said_before_the_head_is() -> None:
    assert status_of(get(b"/" + b"a" * 70000)) == 414


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"0", 0),
        (b"%d" % MAX_CONTENT_LENGTH, 0),
        (b"%d" % (MAX_CONTENT_LENGTH + 1), 400),
        (b"0" * 19, 0),
        (b"0" * 20, 400),
        (b" 5", 0),
        (b"5\t", 0),
        ("５".encode(), 400),
    ],
)
def test_a_length_is_digits_up_to_63_bits(value: bytes, status: int) -> None:
    assert status_of(get(b"/", b"Content-Length: " + value)) == status


@pytest.mark.parametrize("method", [b"A" * 64, b"PATCH", b"M-SEARCH", b"CONNECTED"])
def test_methods_that_pass(method: bytes) -> None:
    assert status_of(method + get()[3:]) == 0


@pytest.mark.parametrize("method", [b"A" * 65, b"CONNECT"])
def test_methods_that_are_not_implemented(method: bytes) -> None:
    assert status_of(method + get()[3:]) == 501


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"A.b-c_d~e",
        b"1.2.3.4:0",
        b"[::]",
        b"[::ffff:1.2.3.4]:65535",
        b"a" * 255,
        b"a" * 255 + b":65535",
        b"a.",
    ],
)
def test_hosts(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [b"", b"a" * 256, b"[]", b"[::1", b"::1", b"[::1]:", b"[g::1]", b"[::1]]", b"[1.2.3.4]", b"a:-1", b"a:65536",
     b"a:999999", b"a\n", b"a b", b"[fe80::1%1]", b"*", b"a=b", b"a;b", b"a+b"],
)  # fmt: skip
def test_no_hosts(host: bytes) -> None:
    assert not is_host(host)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://a/", b"a", 0),
        (b"http://A/", b"a", 0),
        (b"http://a:80/", b"a", 0),
        (b"http://a/", b"a:80", 0),
        (b"https://a:443/", b"a", 0),
        (b"https://a:80/", b"a", 400),
        (b"http://a:443/", b"a", 400),
        (b"http://a.b/", b"a", 400),
        (b"http://[::1]:80/", b"[::1]", 0),
    ],
)
def test_a_host_is_the_authority_of_an_absolute_target(target: bytes, host: bytes, status: int) -> None:
    assert status_of(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n") == status


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/a/../b?c?d", Target(b"", b"/a/../b", b"/a/../b?c?d")),
        (b"*", Target(b"", b"*", b"*")),
        (b"http://a", Target(b"a", b"/", b"/")),
        (b"HTTPS://A:1/x%2F?y", Target(b"A:1", b"/x%2F", b"/x%2F?y")),
        (b"http://a?y/z", Target(b"a", b"/", b"/?y/z")),
        (b"//a/b", Target(b"", b"//a/b", b"//a/b")),
    ],
)
def test_targets_taken_apart(target: bytes, parts: Target) -> None:
    assert split_target(target) == parts


def test_splitting_what_was_never_checked_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="check_request_head"):
        split_target(b"a:80")


@pytest.mark.parametrize(
    ("line", "passes"),
    [
        (b"HTTP/1.1 200 OK", True),
        (b"HTTP/1.1 200", True),
        (b"HTTP/1.1 200 ", True),
        (b"HTTP/1.0 599 \xff\t", True),
        (b"HTTP/1.1 100 Continue", True),
        (b"HTTP/1.1 600 X", False),
        (b"HTTP/1.1 99 X", False),
        (b"HTTP/1.1 200OK", False),
        (b"HTTP/1.1\t200 OK", False),
        (b"HTTP/1.2 200 OK", False),
    ],
)
def test_status_lines(line: bytes, passes: bool) -> None:
    if passes:
        check_response_head(line + b"\r\nX: y\r\n\r\n")
    else:
        with pytest.raises(Malformed):
            check_response_head(line + b"\r\nX: y\r\n\r\n")


def test_whatever_is_wrong_with_an_app_is_502() -> None:
    for head in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"x\r\n\r\n",
    ):
        with pytest.raises(Malformed) as refused:
            check_response_head(head)
        assert refused.value.status == 502


def test_an_app_may_set_many_cookies() -> None:
    check_response_head(b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 1000 + b"\r\n")
    with pytest.raises(Malformed):
        check_response_head(b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 1001 + b"\r\n")


@pytest.mark.parametrize("section", [b"\r\n", b"X: y\r\n\r\n", b"X: y\r\nZ:\r\n\r\n"])
def test_trailers_that_pass(section: bytes) -> None:
    check_trailers(section)


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"\n",
        b"X: y\r\n",
        b"X : y\r\n\r\n",
        b"X: y\n\r\n",
        b" X: y\r\n\r\n",
        b"X\r\n\r\n",
        b"\r\nX: y\r\n\r\n",
    ],
)
def test_trailers_that_do_not(section: bytes) -> None:
    with pytest.raises(Malformed):
        check_trailers(section)
