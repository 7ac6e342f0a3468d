"""Shipped modules in a real front of two workers that are not root."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.kit.client import Visitor
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun

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
    assert ended.status == 1
    assert "front.modules.0" in ended.err
    assert "response: Content-Length frames the message" in ended.err
