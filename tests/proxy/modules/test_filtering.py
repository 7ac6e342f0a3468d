from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.connection import Connection
from proxy.headers import Caller
from proxy.modules import Module
from proxy.modules.filtering import rated_as
from proxy.streams import Stream
from tests.kit.memory_front import MemoryFront
from tests.kit.shipped import module_of
from tests.proxy.test_pipeline import OK, ask, front_with, status


def request(target: str = "/", *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


def answered(module: Module, data: bytes, quick_lane: bool = True) -> int:
    with front_with(module, quick_lane=quick_lane) as front:
        seen, got = ask(front, data)
        assert bool(seen) == (status(got) == 200)
        return status(got)


def ask_from(front: MemoryFront, address: str, data: bytes) -> int:
    """The status that a visitor from there gets."""
    ours, theirs = front.loop.pair(1 << 20)
    front.front_ends.append(ours)
    stream = Stream(ours, front.deadlines)  # type: ignore[arg-type]
    front._connections.add(Connection(stream, Caller(address, 40000, "http"), front))
    got = front.ask(theirs, data)
    if not got:
        front.apps[-1].recv_all()
        front.apps[-1].send(OK)
        front.settle()
        got = theirs.recv_all()
    return status(got)


# ------------------------------------------------------------------------------------------------------------
# Who


@pytest.mark.parametrize(
    ("options", "address", "expected"),
    [
        ('allow = ["192.0.2.0/24"]', "192.0.2.7", 200),
        ('allow = ["192.0.2.0/24"]', "::ffff:192.0.2.7", 200),
        ('allow = ["192.0.2.0/24"]\ndeny = ["192.0.2.7"]', "192.0.2.7", 403),
        ('allow = ["198.51.100.0/24"]', "192.0.2.7", 403),
        ('allow = ["198.51.100.0/24"]', "", 403),
        ('allow = ["198.51.100.0/24", "unix"]', "", 200),
        ('deny = ["unix"]', "", 403),
        ('deny = ["::ffff:192.0.2.7"]', "192.0.2.7", 403),
        ('deny = ["2001:db8::/32"]', "2001:db8:1::1", 403),
        ('deny = ["::/0", "unix"]', "192.0.2.7", 200),
        ("", "192.0.2.7", 200),
    ],
)
def test_addresses(tmp_path: Path, options: str, address: str, expected: int) -> None:
    with front_with(module_of(tmp_path, "filtering", options)) as front:
        assert ask_from(front, address, request()) == expected


def test_more_than_the_rate_is_told_to_come_back(tmp_path: Path) -> None:
    module = module_of(tmp_path, "filtering", 'rate = "1/h"\nburst = 2')
    with front_with(module) as front:
        assert [ask_from(front, "192.0.2.7", request()) for _ in range(3)] == [200, 200, 429]
        assert ask_from(front, "::ffff:192.0.2.7", request()) == 429
        assert [ask_from(front, "2001:db8::1", request()) for _ in range(2)] == [200, 200]
        assert ask_from(front, "2001:db8::2", request()) == 429
        assert ask_from(front, "2001:db8:0:1::2", request()) == 200
        assert [ask_from(front, "", request()) for _ in range(5)] == [200] * 5
    module.close()


def test_what_is_refused_counts_too(tmp_path: Path) -> None:
    """Who looks for holes is told to wait like everybody."""
    module = module_of(tmp_path, "filtering", 'rate = "1/h"\nburst = 1')
    with front_with(module) as front:
        assert ask_from(front, "192.0.2.7", request("/.git/config")) == 404
        assert ask_from(front, "192.0.2.7", request()) == 429
    module.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_who_counts_as_one_client(one: str, other: str, same: bool) -> None:
    assert (rated_as(one) == rated_as(other)) is same


# ------------------------------------------------------------------------------------------------------------
# What


@pytest.mark.parametrize(
    ("options", "method", "expected", "allow"),
    [
        ('methods = ["GET", "HEAD"]', "GET", 200, b""),
        ('methods = ["GET", "HEAD"]', "POST", 405, b"Allow: GET, HEAD\r\n"),
        ('methods = ["GET", "HEAD"]', "get", 405, b"Allow: GET, HEAD\r\n"),
        (
            'denied_methods = ["TRACE"]',
            "TRACE",
            405,
            b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n",
        ),
        ('denied_methods = ["TRACE"]', "PATCH", 200, b""),
        ('methods = ["GET", "PUT"]\ndenied_methods = ["PUT"]', "PUT", 405, b"Allow: GET\r\n"),
    ],
)
def test_methods(tmp_path: Path, options: str, method: str, expected: int, allow: bytes) -> None:
    with front_with(module_of(tmp_path, "filtering", options)) as front:
        _, got = ask(front, request(method=method))
        assert status(got) == expected
        assert allow in got


@pytest.mark.parametrize("quick_lane", [True, False])
@pytest.mark.parametrize(
    ("options", "data", "expected"),
    [
        ("max_target = 10", request("/" + 9 * "a"), 200),
        ("max_target = 10", request("/" + 10 * "a"), 414),
        ("max_path = 10", request("/" + 9 * "a" + "?long=query"), 200),
        ("max_path = 10", request("/" + 10 * "a"), 414),
        ("max_query = 3", request("/aaaaaaaaa?abc"), 200),
        ("max_query = 3", request("/?abcd"), 414),
        ("max_query = 3", request("/aaaaaaaaa"), 200),
        ("max_query = 3", request("/?a?bc"), 414),
        ('max_fields = { Cookie = 4, "*" = 8 }', request("/", "Cookie: abcd", "X: abcdefgh"), 200),
        ('max_fields = { Cookie = 4, "*" = 8 }', request("/", "COOKIE: abcde"), 431),
        ('max_fields = { Cookie = 4, "*" = 8 }', request("/", "X: abcdefghi"), 431),
        ("max_fields = { Cookie = 4 }", request("/", "X: abcdefghi"), 200),
        ("max_body = 4", request("/", "Content-Length: 5", method="POST") + b"abcde", 413),
        ("max_body = 4", request("/", "Content-Length: 4", method="POST") + b"abcd", 200),
    ],
)
def test_lengths(tmp_path: Path, options: str, data: bytes, expected: int, quick_lane: bool) -> None:
    assert answered(module_of(tmp_path, "filtering", options), data, quick_lane) == expected


def test_a_body_whose_length_nobody_has_said_is_counted(tmp_path: Path) -> None:
    data = request("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nabcde\r\n0\r\n\r\n"
    with front_with(module_of(tmp_path, "filtering", "max_body = 4")) as front:
        assert status(ask(front, data)[1]) == 413
    with front_with(module_of(tmp_path, "filtering", "max_body = 5")) as front:
        assert status(ask(front, data)[1]) == 200


HIDDEN = [
    "/.git/config", "/a/.GIT", "/.env", "/.env.local", "/x/%2eenv", "/%2E%67it/HEAD", "//.git",
    "/a//.git/x", "/.git;x=1/HEAD", "/.git%3bx/HEAD", "/a\\.git\\config", "/a%5c.git%5Cconfig",
    "/a%2f.git%2fconfig", "/.git./config", "/.git%20/config", "/web.config", "/WEB.CONFIG",
    "/web.config.", "/web.config%20", "/web.config::$DATA", "/web.config%3a%3a$DATA", "/web.config%3fx",
    "/web.config%23x", "/App_Data/users.mdf", "/app_data", "/static/../App_Data/x", "/x/./App_Data",
    "/%61pp%5fdata/x", "/a/b/../../.git/x", "/.htpasswd", "http://a/.git/config",
]  # fmt: skip


@pytest.mark.parametrize("quick_lane", [True, False])
@pytest.mark.parametrize("target", HIDDEN)
def test_hidden_names_are_not_there_in_any_spelling(tmp_path: Path, target: str, quick_lane: bool) -> None:
    assert answered(module_of(tmp_path, "filtering"), request(target), quick_lane) == 404


@pytest.mark.parametrize(
    "target",
    ["/", "/gitignore", "/x.git", "/envelope", "/.well-known/acme-challenge/x", "/web.configs", "/webaconfig",
     "/a?x=/.git/", "/my-web.config", "/App_Database", "/caf%C3%A9", "/100%25", "/a%20b", "/a;b=c", "*"],
)  # fmt: skip
def test_what_only_looks_like_them_is(tmp_path: Path, target: str) -> None:
    method = "OPTIONS" if target == "*" else "GET"
    assert answered(module_of(tmp_path, "filtering"), request(target, method=method)) == 200


@pytest.mark.parametrize(
    "target",
    [
        "/%252e",
        "/a%252fb",
        "/a%2525",
        "/%25%32%65",
        "/%c0%ae%c0%ae/",
        "/%e0%80%ae",
        "/%f0%80%80%ae",
        "/%25u002e",
    ],
)
def test_what_is_escaped_twice(tmp_path: Path, target: str) -> None:
    assert answered(module_of(tmp_path, "filtering"), request(target)) == 404
    lenient = module_of(tmp_path, "filtering", "double_escaping = true")
    assert answered(lenient, request(target)) == 200


def test_hidden_names_stay_hidden_however_often_they_are_escaped(tmp_path: Path) -> None:
    lenient = module_of(tmp_path, "filtering", "double_escaping = true")
    for target in (
        "/%252egit",
        "/%25252egit",
        "/a%252f.git",
        "/%" + "25" * 9 + "2egit",
        "/%2525252525252egit",
    ):
        assert answered(lenient, request(target)) == 404


@pytest.mark.parametrize(
    ("options", "target", "expected"),
    [
        ('denied_extensions = [".php"]', "/a.php", 404),
        ('denied_extensions = [".php"]', "/a.PhP", 404),
        ('denied_extensions = [".php"]', "/a.php/info", 404),
        ('denied_extensions = [".php"]', "/a.ph%70", 404),
        ('denied_extensions = [".php"]', "/a.php.", 404),
        ('denied_extensions = [".php"]', "/a.php;x", 404),
        ('denied_extensions = [".php"]', "/a.php%20", 404),
        ('denied_extensions = [".php"]', "/a.php3", 200),
        ('denied_extensions = [".php"]', "/aphp", 200),
        ('denied_extensions = [".php"]', "/?x=a.php", 200),
        ('extensions = [".html", ""]', "/a.html", 200),
        ('extensions = [".html", ""]', "/a", 200),
        ('extensions = [".html", ""]', "/", 200),
        ('extensions = [".html", ""]', "/a.exe", 404),
        ('extensions = [".html", ""]', "/a.html/b.exe", 404),
        ('extensions = [".html", ""]', "/a.html;.exe", 404),
        ('extensions = [".html", ""]', "/a.exe/", 404),
        ('extensions = [".html", ""]', "/a.exe/.", 404),
        ('extensions = [".html", ""]', "/a.exe/x/..", 404),
        ('extensions = [".html", ""]', "/a.html/", 200),
        ('extensions = [".html"]', "/a", 404),
        ('extensions = [".html"]', "/a.html%2f..%2fb.exe", 404),
    ],
)
def test_extensions(tmp_path: Path, options: str, target: str, expected: int) -> None:
    assert answered(module_of(tmp_path, "filtering", options), request(target)) == expected


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryFront]:
    with front_with(module_of(tmp_path_factory.mktemp("filtering"), "filtering")) as front:
        yield front


def spelled(name: str) -> st.SearchStrategy[str]:
    """Every letter as it is, in the other case, or encoded."""
    return st.tuples(
        *(st.sampled_from([c, c.swapcase(), f"%{ord(c):02x}", f"%{ord(c.swapcase()):02X}"]) for c in name)
    ).map("".join)


separators = st.sampled_from(
    ["/", "//", "\\", "%2f", "%5C", "/./", "/x/../", "/x/..;a/", "/%2e/", "/;a/", "/..a/../"]
)
endings = st.sampled_from(
    ["", "/", "//", ";v=1", "%3bv", ".", "..", "%20", ".%2e", "/x", "\\x", "%2fx", "?q", "/../y"]
)
harmless = st.lists(st.sampled_from(["a", "b.html", ".well-known", "config"]), max_size=2)


@given(
    harmless,
    separators,
    st.sampled_from([".git", ".env", "web.config", "App_Data"]).flatmap(spelled),
    endings,
)
def test_no_spelling_gets_past(
    front: MemoryFront, before: list[str], between: str, name: str, end: str
) -> None:
    target = "/" + "/".join(before) + between + name + end
    seen, got = ask(front, request(target))
    assert (seen, status(got)) == (b"", 404)


@given(harmless, separators, st.sampled_from(["", "?.git", "?/web.config"]))
def test_harmless_paths_pass(front: MemoryFront, before: list[str], between: str, end: str) -> None:
    seen, got = ask(front, request("/" + between.join(["", *before, "c"]).lstrip("/") + end), OK)
    assert status(got) == 200
    assert seen


def test_nothing_of_it_is_open_to_defaults_that_do_nothing(tmp_path: Path) -> None:
    """Each check can be taken away; without any there is none."""
    bare = module_of(tmp_path, "filtering", "hidden_segments = []\ndouble_escaping = true")
    for target in HIDDEN:
        assert answered(bare, request(target)) == 200
