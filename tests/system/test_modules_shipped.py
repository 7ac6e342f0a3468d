"""Shipped modules in a real front of two workers that are not root."""

from __future__ import annotations

import hashlib
import http.client
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Visitor
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until

FILTERING = """
[[front.modules]]
use = "filtering"
rate = "1/h"
burst = 40
denied_methods = ["TRACE"]
max_body = "1KiB"
"""
HEADERS = """
[[front.modules]]
use = "headers"
response.set = { X-Frame-Options = "DENY" }

[[apps.shop.modules]]
use = "headers"
request.set = { X-Key = "ours" }
"""


def test_filtering_holds_for_all_workers_together_and_outlives_them(folder: Path) -> None:
    with PorticoRun(folder, front() + app() + FILTERING + HEADERS) as run:
        with Visitor(run.url) as visitor:
            assert visitor.get("/%2egit/config").status == 404
            assert visitor.get("/App_Data/x").status == 404
            assert visitor.request("TRACE", "/").status == 405
            assert visitor.request("POST", "/echo", body=b"x" * 1025).status == 413
        seen = run.get("/facts", [("X-Key", "theirs"), ("X_Key", "theirs")])
        assert seen.status == 200
        assert seen.header("x-frame-options") == "DENY"
        said = [pair for pair in seen.json()["headers"] if pair[0].lower().replace("_", "-") == "x-key"]
        assert [value for _, value in said] == ["ours"]
        statuses = [run.get("/facts").status for _ in range(40)]
        assert statuses == [200] * 35 + [429] * 5  # whichever worker took them: five were spent before
        before = run.workers()
        assert run.supervisorctl("restart", "portico-front:*").status == 0
        assert run.workers() != before
        late = run.get("/facts")
        assert late.status == 429
        assert int(late.header("retry-after") or 0) > 3000
        assert late.header("x-frame-options") == "DENY"
        (rates,) = run.run_directory.glob("rates-*")
        assert stat.S_IMODE(rates.stat().st_mode) == 0o600


def test_check_names_rules_that_are_nobodys_to_make(folder: Path) -> None:
    rule = '[[front.modules]]\nuse = "headers"\nresponse.set = { Content-Length = "5" }\n'
    ended = PorticoRun(folder, front() + app() + rule).command("check")
    assert ended.status == 2
    assert "front.modules.0" in ended.err
    assert "response: Content-Length frames the message" in ended.err


STATIC = """
[[front.modules]]
use = "static"
path = "/files"
folder = "closed/public"
cache_control = "max-age=60"
"""
BIG = 3_000_000


def with_files(folder: Path) -> bytes:
    """A folder that everybody may read, in one that only we may enter; returns what is in its big file."""
    closed = folder / "closed"
    public = closed / "public"
    public.mkdir(parents=True)
    public.chmod(0o755)
    closed.chmod(0o700)
    big = os.urandom(BIG)
    for name, data in (("big.bin", big), ("a.css", b"body{}"), ("private.txt", b"SECRET")):
        (public / name).write_bytes(data)
    (public / "private.txt").chmod(0o600)
    (public / "out").symlink_to("/etc/passwd")
    (closed / "secret.txt").write_text("SECRET")
    (public / "up").symlink_to("..")
    return big


def test_static_files_are_sent_by_who_may_not_enter_the_folders_above(folder: Path) -> None:
    big = with_files(folder)
    with PorticoRun(folder, front() + app() + STATIC) as run:
        with Visitor(run.url) as visitor:
            assert visitor.get("/files/big.bin").body == big
            css = visitor.get("/files/a.css")
            assert (css.status, css.body, css.header("cache-control")) == (200, b"body{}", "max-age=60")
            tag = css.header("etag") or ""
            assert visitor.get("/files/a.css", [("If-None-Match", tag)]).status == 304
            assert (
                visitor.get("/files/big.bin", [("Range", "bytes=1000000-2000000")]).body
                == big[1000000:2000001]
            )
            parts = visitor.get("/files/big.bin", [("Range", "bytes=0-99999,200000-")])
            assert parts.status == 206
            assert len(parts.body) == int(parts.header("content-length") or 0)
            assert big[:100000] in parts.body
            assert big[200000:] in parts.body
            assert visitor.request("HEAD", "/files/big.bin").header("content-length") == str(BIG)
            for target in ("out", "up/secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "up/public/a.css"):
                assert visitor.get(f"/files/{target}").status == 404
            assert visitor.get("/facts").status == 200
        if os.geteuid() == 0:  # the workers are another user than the one who may read it
            assert run.get("/files/private.txt").status == 403
            sentence = f"chmod o+r {folder}/closed/public/private.txt"
            doubts = run.events("front.module-doubt", module="static")
            assert len(doubts) == len(run.workers())
            assert all(one["problem"].endswith(sentence) for one in doubts)
            assert sentence in run.command("check").err


def test_a_release_that_is_switched_by_a_link_is_served_at_once(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "a.txt").write_text(name)
        (folder / name).chmod(0o755)
    (folder / "current").symlink_to("one")
    with PorticoRun(folder, front() + app() + STATIC.replace("closed/public", "current")) as run:
        assert run.get("/files/a.txt").body == b"one"
        (folder / "next").symlink_to("two")
        os.replace(folder / "next", folder / "current")
        wait_until(lambda: all(run.get("/files/a.txt").body == b"two" for _ in range(8)), "the new release")


def test_static_files_over_tls(folder: Path) -> None:
    big = with_files(folder)
    authority = Authority(folder)
    tls = "[front.tls]\n" + authority.issue("localhost", "127.0.0.1").toml
    config = front(listen=["https://127.0.0.1:@PORT@"]) + tls + app() + STATIC
    with PorticoRun(folder, config) as run:
        connection = http.client.HTTPSConnection(
            urlsplit(run.url).netloc, context=authority.context(), timeout=30
        )
        for fields, expected in (({}, big), ({"Range": "bytes=5-2999990"}, big[5:2999991])):
            connection.request("GET", "/files/big.bin", headers=fields)
            body = connection.getresponse().read()
            assert hashlib.sha256(body).digest() == hashlib.sha256(expected).digest()
        connection.close()


@pytest.mark.parametrize(
    ("written", "says"), [("nowhere", "No such file"), ("portico.toml", "Not a directory")]
)
def test_check_names_a_folder_that_is_none(folder: Path, written: str, says: str) -> None:
    ended = PorticoRun(folder, front() + app() + STATIC.replace("closed/public", written)).command("check")
    assert ended.status == 1
    assert "front.modules.0" in ended.err
    assert says in ended.err
    assert written in ended.err


LATE = """
[[front.modules]]
use = "request_id"
trust = true

[[front.modules]]
use = "offline"
file = "offline.html"
"""


def test_one_id_for_visitor_access_log_and_app(folder: Path) -> None:
    with PorticoRun(folder, front() + app() + LATE) as run:
        seen = run.get("/facts", [("X-Request-ID", "order-66")])
        assert seen.header("x-request-id") == "order-66"
        assert ["x-request-id", "order-66"] in seen.json()["headers"]
        own = run.get("/facts")
        assert ["x-request-id", own.header("x-request-id")] in own.json()["headers"]
        log = folder / "logs" / "access.log"
        for request_id in ("order-66", own.header("x-request-id")):
            wait_until(lambda wanted=request_id: f" {wanted} " in log.read_text(), "the id in the access log")


def test_a_file_closes_the_front_until_it_goes(folder: Path) -> None:
    with PorticoRun(folder, front() + app() + LATE) as run:
        assert run.get("/facts").status == 200
        page = folder / "offline.html"
        page.write_text("<h1>back at noon")
        page.chmod(0o644)
        wait_until(lambda: all(run.get("/facts").status == 503 for _ in range(8)), "both workers closed")
        closed = run.get("/facts")
        assert closed.body == b"<h1>back at noon"
        assert closed.header("retry-after") == "120"
        assert closed.header("x-request-id")
        page.unlink()
        wait_until(lambda: all(run.get("/facts").status == 200 for _ in range(8)), "both workers open")
