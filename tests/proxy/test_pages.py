from __future__ import annotations

import json
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest

from proxy.failures import Cause, Failure, Side, Stage
from proxy.pages import PAGE_POLICY, Form, preferred_form, render
from supervisor_conf.control.messages import Refusal, Report, Step

FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
EVIL = "<script>alert('x')</script>&\"'"
REPORT = Report(
    app="shop",
    generation=7,
    pid=99,
    summary="The process ended before it listened.",
    failed_step="listening",
    steps=(Step("spawned", 0.01), Step("listening", 1.5, EVIL)),
    exit="exit status 3",
    seconds=1.5,
    last_lines=f"Traceback: {EVIL}",
    advice=("Look at the app's log.", EVIL),
    at=1_700_000_000.0,
)
START_FAILED = Failure(
    Cause.START_FAILED,
    Stage.START,
    Side.APP,
    refusal=Refusal(502, "start-failed", "The app could not be started.", report=REPORT),
)


def shown(failure: Failure, accept: bytes, **more: bool) -> tuple[bytes, str]:
    kind, body = render(failure.status, failure, accept=accept, request_id="id-1", app="shop", **more)
    return kind, body.decode()


class Tags(HTMLParser):
    """Element names and attributes; complains about what is left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"", Form.TEXT),
        (b"*/*", Form.TEXT),
        (FIREFOX, Form.HTML),
        (b"text/html", Form.HTML),
        (b"TEXT/HTML;Q=1.0", Form.HTML),
        (b"application/json", Form.JSON),
        (b"application/problem+json", Form.JSON),
        (b"application/json, text/plain, */*", Form.JSON),
        (b"text/plain, application/json", Form.TEXT),
        (b"application/*", Form.JSON),
        (b"text/html;q=0.5, application/json;q=0.9", Form.JSON),
        (b"text/html;q=0.9, application/json;q=0.5", Form.HTML),
        (b"text/html;q=0, */*", Form.TEXT),
        (b"text/html;level=1;q=0.3, text/plain;q=0.2", Form.HTML),
        (b"text/plain;q=0, text/html;q=0, application/json;q=0, application/problem+json;q=0", Form.TEXT),
        (b"image/png", Form.TEXT),
        (b"text/html;q=0", Form.TEXT),
        (b";;;,,,\xff/\xff;q=nan", Form.TEXT),
        (b"text/html;q=9", Form.HTML),
    ],
)
def test_the_form_a_client_likes_best(accept: bytes, form: Form) -> None:
    assert preferred_form(accept) is form


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("accept", [FIREFOX, b"application/json", b""])
def test_every_cause_has_a_page_in_every_form(cause: Cause, accept: bytes) -> None:
    failure = Failure(cause, Stage.HEAD, Side.FRONT)
    kind, page = shown(failure, accept)
    assert "id-1" in page
    assert str(failure.status) in page
    if kind == Form.HTML.value:
        assert Tags(page).open == []
    if kind == Form.JSON.value:
        assert json.loads(page)["reason"] == cause.value


def test_a_failed_start_for_a_browser_on_this_machine() -> None:
    kind, page = shown(START_FAILED, FIREFOX, loopback=True, show_report=True)
    assert kind == b"text/html; charset=utf-8"
    text = Tags(page).text
    for fact in (
        "502.5",
        "listening",
        "exit status 3",
        "1.5 s",
        "2023-11-14 22:13:20 UTC",
        "Look at the app's log.",
    ):
        assert fact in text
    assert f"Traceback: {EVIL}" in text


def test_markup_of_others_is_text() -> None:
    _, page = shown(START_FAILED, FIREFOX, loopback=True, show_report=True)
    tags = Tags(page)
    assert tags.open == []
    assert "script" not in tags.seen


def test_the_word_of_an_operator_is_text_too() -> None:
    """`app offline NAME MESSAGE`."""
    offline = Failure(Cause.REFUSED, Stage.CHOOSE, Side.FRONT, refusal=Refusal(503, "offline", EVIL))
    _, page = shown(offline, FIREFOX)
    assert "script" not in Tags(page).seen
    assert EVIL in Tags(page).text


def test_a_page_asks_for_nothing_else() -> None:
    _, page = shown(START_FAILED, FIREFOX, loopback=True, show_report=True)
    assert not {"src", "href", "style", "onload"} & set(Tags(page).attributes)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in PAGE_POLICY


@pytest.mark.parametrize("accept", [FIREFOX, b"application/json", b""])
@pytest.mark.parametrize(("loopback", "show_report"), [(False, True), (True, False), (False, False)])
def test_an_apps_output_is_for_this_machine_alone(accept: bytes, loopback: bool, show_report: bool) -> None:
    _, page = shown(START_FAILED, accept, loopback=loopback, show_report=show_report)
    assert "Traceback" not in page
    assert ("exit status 3" in page) is show_report
    assert ("listening" in page) is show_report


@pytest.mark.parametrize("accept", [FIREFOX, b"application/json", b""])
def test_an_apps_output_is_shown_here(accept: bytes) -> None:
    _, page = shown(START_FAILED, accept, loopback=True, show_report=True)
    assert "Traceback" in page


def test_without_the_error_page_it_is_a_bare_502() -> None:
    _, page = shown(START_FAILED, b"", loopback=True, show_report=False)
    assert page.startswith("502 Bad Gateway\n")


def test_a_problem_for_a_program() -> None:
    kind, page = shown(START_FAILED, b"application/json", loopback=True, show_report=True)
    problem = json.loads(page)
    assert kind == b"application/problem+json"
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", "Bad Gateway", 502)
    assert (problem["detail"], problem["reason"]) == ("The app could not be started.", "start-failed")
    assert (problem["app"], problem["request_id"]) == ("shop", "id-1")
    assert problem["report"]["failed_step"] == "listening"
    assert problem["report"]["steps"][1] == {"name": "listening", "after": 1.5, "note": EVIL}


def test_the_link_of_a_failed_start_is_on_every_form_of_its_page() -> None:
    link = 'https://wiki.example/?a=1&b="<x>'
    for accept, written in ((FIREFOX, escape(link)), (b"application/json", json.dumps(link)), (b"", link)):
        for report in (True, False):
            more = {"show_report": report, "link": link}
            _, body = render(502, START_FAILED, accept=accept, request_id="i", **more)  # type: ignore[arg-type]
            assert (written in body.decode()) is report
    Tags(render(502, START_FAILED, accept=FIREFOX, request_id="i", show_report=True, link=link)[1].decode())
    other = Failure(Cause.APP_SILENT, Stage.HEAD, Side.APP)
    assert b"wiki" not in render(504, other, accept=b"", request_id="i", show_report=True, link=link)[1]


def test_offline_is_the_operators_own_page() -> None:
    refusal = Refusal(503, "offline", "The app is offline.", retry_after=10, verbatim=True)
    for content in (b"<h1>Back soon</h1>", b"<h1>\xe4 in Latin-1</h1>", b""):
        given = replace(refusal, body=content.decode("utf-8", "surrogateescape"))
        offline = Failure(Cause.REFUSED, Stage.CHOOSE, Side.FRONT, refusal=given)
        answer = render(503, offline, accept=b"application/json", request_id="i")
        assert answer == (b"text/html", content)


def test_bytes_that_are_no_text_do_not_stop_a_page() -> None:
    report = Report("shop", 1, 0, "s", "ready", last_lines="bad \udcff byte")
    failure = Failure(
        Cause.START_FAILED, Stage.START, Side.APP, refusal=Refusal(502, "w", "s", report=report)
    )
    for accept in (FIREFOX, b"application/json", b""):
        _, body = render(502, failure, accept=accept, request_id="i", loopback=True, show_report=True)
        assert body.decode()
