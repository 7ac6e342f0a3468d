"""Every app is asked whether it refuses requests without the token; `app status` tells, `require_pairing` insists."""

from __future__ import annotations

from pathlib import Path

from tests.kit.client import get
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until

# `python -I` ignores PYTHONPATH, so that nothing can be activated in it; it reads PORT itself.
UNGUARDED = [
    "python",
    "-I",
    "-c",
    "import os; from wsgiref.simple_server import *;"
    "make_server('127.0.0.1', int(os.environ['PORT']), demo_app).serve_forever()",
]


def test_an_app_that_cannot_be_guarded_is_served_and_status_says_so(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=UNGUARDED)) as run:
        assert run.get("/").status == 200
        wait_until(lambda: "not guarded" in run.app("status").out, "«not guarded» in app status")


def test_require_pairing_refuses_an_app_that_answers_without_the_token(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command=UNGUARDED, require_pairing=True)) as run:
        refused = run.get("/", [("Accept", "text/html")])
        assert refused.status == 502
        assert "token" in refused.text
        assert refused.header("proxy-status")


def test_require_pairing_serves_a_guarded_app(folder: Path) -> None:
    with PorticoRun(folder, front() + app(require_pairing=True)) as run:
        assert run.get("/").status == 200
        status = run.app("status").out
        assert "guarded" in status
        assert "not guarded" not in status


def test_without_the_shim_the_app_is_on_its_own(folder: Path) -> None:
    with PorticoRun(folder, front() + app(command="uvicorn --port {port} probe:asgi", shim="off")) as run:
        facts = run.get("/facts").json()
        assert dict(facts["headers"])["ms-aspnetcore-token"] == run.token_of(facts["pid"])
        assert get(f"http://127.0.0.1:{facts['environment']['PORT']}", "/").status == 200
