"""`static` in a whole worker: what is sent, in which form, and what is not there."""

from __future__ import annotations

import gzip
import os
import pwd
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.modules import Module
from proxy.modules.static import Static
from tests.kit.shipped import module_of
from tests.kit.strangers import as_a_stranger, letter
from tests.proxy.modules.test_filtering import request
from tests.proxy.test_pipeline import ask, front_with, status

CHANGED = 1_600_000_000
SCRIPT = b"let a = 1;\n" * 50


def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (CHANGED, CHANGED))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    public = tmp_path / "public"
    put(public / "index.html", b"<p>home")
    put(public / "sub" / "index.html", b"<p>sub")
    put(public / "empty" / "x.txt", b"x")
    put(public / "a.js", SCRIPT)
    put(public / "a.js.gz", gzip.compress(SCRIPT))
    put(public / "a.js.br", b"brotli, to whom it concerns")
    put(public / "digits.txt", b"0123456789" * 10)
    put(public / ".env", b"SECRET")
    put(public / ".well-known" / "acme", b"token")
    put(public / "caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait.txt", b"coffee")
    put(tmp_path / "secret.txt", b"SECRET")
    (public / "out.txt").symlink_to("../secret.txt")
    return public


def static(site: Path, options: str = "") -> Static:
    module = module_of(site.parent, "static", f'folder = "public"\n{options}')
    assert isinstance(module, Static)
    module._folder._in_thread = at_once  # a test on memory has no threads
    return module


@contextmanager
def asking(site: Path, options: str = "") -> Iterator[Callable[..., bytes]]:
    """What a visitor gets, the head and the body."""
    module = static(site, options)
    with front_with(module) as front:
        yield lambda target, *lines, method="GET": ask(front, request(target, *lines, method=method))[1]
    module.close()


def field(answer: bytes, name: str) -> str | None:
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    found = re.search(rf"^{name}: (.*)\r?$", head, re.MULTILINE | re.IGNORECASE)
    return found[1].rstrip("\r") if found else None


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


# ------------------------------------------------------------------------------------------------------------
# Which file


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", b"<p>home"),
        ("/index.html", b"<p>home"),
        ("/?x=1", b"<p>home"),
        ("/sub/", b"<p>sub"),
        ("/%73ub/", b"<p>sub"),
        ("/empty/x.txt", b"x"),
        ("/.well-known/acme", b"token"),
        ("/caf%C3%A9%20au%20lait.txt", b"coffee"),
        ("http://a/index.html", b"<p>home"),
    ],
)
def test_files(site: Path, target: str, expected: bytes) -> None:
    with asking(site) as get:
        answer = get(target)
        assert (status(answer), body(answer)) == (200, expected)
        assert field(answer, "content-length") == str(len(expected))
        assert field(answer, "last-modified") == formatdate(CHANGED, usegmt=True)
        assert field(answer, "x-content-type-options") == "nosniff"


@pytest.mark.parametrize(
    "target",
    ["/nothing", "/nothing/", "/empty/", "/empty", "/index.html/", "/.env", "/%2eenv", "/out.txt", "/../secret.txt",
     "/sub/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/..%5csecret.txt", "/..\\secret.txt",
     "/..;/secret.txt", "/.%2e/secret.txt", "//index.html", "/sub//index.html", "/./index.html", "/sub/%2e/index.html",
     "/%c0%ae%c0%ae/secret.txt", "/%e0%80%ae/x", "/caf%e9", "/index.html%0a", "/%2findex.html", "/index.html%20",
     "/sub%2findex.html", "/empty%2f..%2f.env", "/" + "a" * 300],
)  # fmt: skip
def test_what_is_not_there(site: Path, target: str) -> None:
    with asking(site) as get:
        answer = get(target)
        assert status(answer) == 404
        assert b"SECRET" not in answer


def test_a_folder_without_its_slash(site: Path) -> None:
    with asking(site) as get:
        answer = get("/sub?q=%2f&r=1")
        assert (status(answer), field(answer, "location")) == (301, "/sub/?q=%2f&r=1")
    with asking(site, 'path = "/s"') as get:
        assert field(get("/s"), "location") == "/s/"
        assert status(get("/s/")) == 200
        assert status(get("//evil.example")) == 200  # the app's
        assert status(get("/s//evil.example")) == 404


def test_without_an_index(site: Path) -> None:
    with asking(site, 'index = ""') as get:
        assert [status(get(target)) for target in ("/", "/sub/", "/sub")] == [404] * 3
        assert status(get("/sub/index.html")) == 200


def test_a_path_of_its_own_leaves_the_rest_to_the_app(site: Path) -> None:
    with asking(site, 'path = "/static"') as get:
        assert body(get("/static/digits.txt")) == b"0123456789" * 10
        assert body(get("/st%61tic/digits.txt")) == b"0123456789" * 10
        for target in ("/", "/staticky", "/x/static/digits.txt", "/statics/digits.txt"):
            assert body(get(target)) == b"ok"
        assert status(get("/static/nothing")) == 404


def test_falling_through(site: Path) -> None:
    with asking(site, "fallthrough = true") as get:
        assert body(get("/digits.txt")) == b"0123456789" * 10
        for target in ("/nothing", "/empty/", "/.env", "/out.txt", "/..%2fsecret.txt"):
            assert body(get(target)) == b"ok"
        assert body(get("/digits.txt", method="POST")) == b"ok"


def doubts(module: Module) -> list[str]:
    with as_a_stranger():
        return list(module.doubts())


def test_a_folder_that_the_workers_may_not_enter_is_doubted(site: Path) -> None:
    module = static(site)
    assert doubts(module) == []
    site.chmod(0o600)
    (doubt,) = doubts(module)
    user = pwd.getpwuid(os.geteuid() or pwd.getpwnam("nobody").pw_uid).pw_name
    assert doubt.startswith(
        f"the workers ({user}) may not enter the folder {site}, whose mode is 0600 and owner "
    )
    assert doubt.endswith(f": chmod {letter()}+x {site}")
    site.chmod(0o711)  # it need not be listed
    assert doubts(module) == []
    site.chmod(0o755)
    module.close()


def test_what_is_closed_in_the_folder_is_doubted_unless_it_is_hidden(site: Path) -> None:
    module, hidden = static(site), static(site, "dotfiles = true")
    (site / ".env").chmod(0)
    (site / "out.txt").unlink()
    (site / "nowhere").symlink_to("/nowhere")
    assert doubts(module) == []
    assert [f"{site}/.env, whose mode is 0000" in one for one in doubts(hidden)] == [True]
    (site / "a.js").chmod(0)
    (site / "sub").chmod(0)
    (doubt,) = doubts(module)
    assert f"may not read the file {site}/a.js, whose mode is 0000" in doubt
    assert doubt.endswith(f": chmod {letter()}+r {site}/a.js; and 1 more in the same folder")
    (site / "sub").chmod(0o755)
    module.close()
    hidden.close()


def test_other_methods(site: Path) -> None:
    with asking(site) as get:
        answer = get("/digits.txt", method="POST")
        assert (status(answer), field(answer, "allow")) == (405, "GET, HEAD, OPTIONS")
        answer = get("/digits.txt", method="OPTIONS")
        assert (status(answer), field(answer, "allow"), body(answer)) == (204, "GET, HEAD, OPTIONS", b"")
        assert body(get("*", method="OPTIONS")) == b"ok"  # of the whole server: not ours


def test_dotfiles_on_request(site: Path) -> None:
    with asking(site, "dotfiles = true") as get:
        assert body(get("/.env")) == b"SECRET"
        assert status(get("/..")) == 404


def test_no_links(site: Path) -> None:
    (site / "in.txt").symlink_to("digits.txt")
    with asking(site) as get:
        assert status(get("/in.txt")) == 200
    with asking(site, "links = false") as get:
        assert status(get("/in.txt")) == 404


# ------------------------------------------------------------------------------------------------------------
# Which form of it


def test_precompressed(site: Path) -> None:
    with asking(site) as get:
        plain, zipped = get("/a.js"), get("/a.js", "Accept-Encoding: gzip")
        assert body(plain) == SCRIPT
        assert gzip.decompress(body(zipped)) == SCRIPT
        assert field(zipped, "content-encoding") == "gzip"
        assert field(plain, "content-encoding") is None
        assert body(get("/a.js", "Accept-Encoding: gzip, br")).startswith(b"brotli")
        assert body(get("/a.js", "Accept-Encoding: br;q=0.5, gzip;q=0.9")) == body(zipped)
        assert body(get("/a.js", "Accept-Encoding: zstd")) == SCRIPT
        assert field(plain, "etag") != field(zipped, "etag")
        for answer in (plain, zipped):
            assert field(answer, "vary") == "Accept-Encoding"
            assert field(answer, "content-type") == "text/javascript; charset=utf-8"
        assert field(get("/a.js.gz"), "content-type") == "application/gzip"
    with asking(site, "precompressed = false") as get:
        answer = get("/a.js", "Accept-Encoding: gzip")
        assert (body(answer), field(answer, "vary")) == (SCRIPT, None)


def test_what_is_said_of_a_file(site: Path) -> None:
    options = 'cache_control = "public, max-age=60"\ntypes = { ".txt" = "x/y" }\ncharset = "latin-1"'
    with asking(site, options) as get:
        answer = get("/digits.txt")
        assert field(answer, "cache-control") == "public, max-age=60"
        assert field(answer, "content-type") == "x/y"
        assert field(get("/"), "content-type") == "text/html; charset=latin-1"
        assert field(get("/nothing"), "cache-control") == "no-store"


def test_head(site: Path) -> None:
    with asking(site) as get:
        for lines in ((), ("Accept-Encoding: gzip",), ("Range: bytes=0-1",)):
            whole = get("/a.js", *(line for line in lines if "Range" not in line))
            head = get("/a.js", *lines, method="HEAD")
            assert (status(head), body(head)) == (200, b"")
            for name in ("content-length", "etag", "content-type", "content-encoding", "vary"):
                assert field(head, name) == field(whole, name)


def test_not_modified_keeps_the_connection_in_step(site: Path) -> None:
    module = static(site, 'cache_control = "max-age=60"')
    with front_with(module) as front:
        visitor = front.visit()
        first = front.ask(visitor, request("/digits.txt"))
        tag = field(first, "etag")
        again = front.ask(visitor, request("/digits.txt", f"If-None-Match: {tag}"))
        assert (status(again), body(again)) == (304, b"")
        assert field(again, "content-length") is None
        assert field(again, "content-type") is None
        for name in ("etag", "last-modified", "vary", "cache-control"):
            assert field(again, name) == field(first, name)
        assert body(front.ask(visitor, request("/digits.txt"))) == b"0123456789" * 10
    module.close()


def test_conditions(site: Path) -> None:
    same, before = (formatdate(CHANGED - ago, usegmt=True) for ago in (0, 1))
    with asking(site) as get:
        assert status(get("/digits.txt", f"If-Modified-Since: {same}")) == 304
        assert status(get("/digits.txt", f"If-Modified-Since: {before}")) == 200
        assert status(get("/digits.txt", 'If-Match: "x"')) == 412
        assert status(get("/digits.txt", f"If-Unmodified-Since: {before}")) == 412
        assert status(get("/digits.txt", 'If-None-Match: "x"', f"If-Modified-Since: {same}")) == 200
        zipped = field(get("/a.js", "Accept-Encoding: gzip"), "etag")
        assert status(get("/a.js", "Accept-Encoding: gzip", f"If-None-Match: {zipped}")) == 304
        assert status(get("/a.js", f"If-None-Match: {zipped}")) == 200
        assert status(get("/nothing", "If-None-Match: *")) == 404


# ------------------------------------------------------------------------------------------------------------
# Which part of it


def test_one_range(site: Path) -> None:
    with asking(site) as get:
        answer = get("/digits.txt", "Range: bytes=5-7")
        assert (status(answer), body(answer)) == (206, b"567")
        assert field(answer, "content-range") == "bytes 5-7/100"
        assert field(answer, "content-length") == "3"
        assert field(get("/digits.txt"), "accept-ranges") == "bytes"
        assert status(get("/digits.txt", "Range: bytes=7-5")) == 200
        tag, date = field(answer, "etag"), field(answer, "last-modified")
        for validator, expected in ((tag, 206), (date, 206), ('"x"', 200), (f"W/{tag}", 200)):
            assert status(get("/digits.txt", "Range: bytes=0-0", f"If-Range: {validator}")) == expected
        assert status(get("/digits.txt", "Range: bytes=0-0", f"If-None-Match: {tag}")) == 304


def test_no_such_range(site: Path) -> None:
    with asking(site) as get:
        answer = get("/digits.txt", "Range: bytes=100-")
        assert (status(answer), field(answer, "content-range")) == (416, "bytes */100")


def test_several_ranges(site: Path) -> None:
    with asking(site) as get:
        answer = get("/digits.txt", "Range: bytes=90-,5-7")
        assert status(answer) == 206
        assert field(answer, "content-range") is None
        kind = field(answer, "content-type") or ""
        assert kind.startswith("multipart/byteranges; boundary=")
        boundary = kind.partition("=")[2].encode()
        assert field(answer, "content-length") == str(len(body(answer)))
        empty, *parts, end = body(answer).split(b"\r\n--" + boundary)
        assert (empty, end) == (b"", b"--\r\n")
        assert [part.partition(b"\r\n\r\n") for part in parts] == [
            (
                b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes %b/100" % span,
                b"\r\n\r\n",
                data,
            )
            for span, data in ((b"90-99", b"0123456789"), (b"5-7", b"567"))
        ]


# ------------------------------------------------------------------------------------------------------------
# Whatever is asked for


pieces = st.sampled_from(
    [
        "a",
        "b",
        "..",
        ".",
        "",
        "link",
        "up",
        "%2e%2e",
        "%2e",
        "..%2f",
        "%2f",
        "\\",
        "%5c..",
        "..;",
        "%00",
        "%c0%ae",
        "~",
        "*",
    ]
)


@pytest.fixture(scope="module")
def maze() -> Iterator[Module]:
    """Files say INSIDE; outside is everything else."""
    with tempfile.TemporaryDirectory() as place:
        outside = Path(place)
        public = outside / "public"
        put(outside / "a", b"OUTSIDE")
        put(outside / "b" / "a", b"OUTSIDE")
        put(public / "a", b"INSIDE")
        put(public / "b" / "a", b"INSIDE")
        put(public / "b" / "..;" / "a", b"INSIDE")
        (public / "link").symlink_to("b")
        (public / "up").symlink_to("..")
        (public / "b" / "up").symlink_to("../..")
        (public / "b" / "link").symlink_to(outside / "b")
        module = static(public, "dotfiles = true")
        yield module
        module.close()


@given(st.lists(pieces, max_size=6))
def test_no_path_escapes(maze: Module, segments: list[str]) -> None:
    with front_with(maze) as front:
        answer = ask(front, request("/" + "/".join(segments)))[1]
        assert b"OUTSIDE" not in answer
        if status(answer) == 200:
            assert body(answer) == b"INSIDE"
