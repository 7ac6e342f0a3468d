"""The bodies of answers that Portico itself makes: HTML, problem+json (RFC 9457) or plain text.

Every page is whole by itself (nothing external, no script; its style is inline, so `PAGE_POLICY` can be sent
with it), and every word that is not ours is escaped. An app's last lines are shown only where `show_report`
and `loopback` both say so.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from enum import Enum
from html import escape

from proxy.failures import Cause, Failure, reason_word
from proxy.reasons import standard_reason
from supervisor_conf.control.messages import Report

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""A Content-Security-Policy under which the HTML works and nothing else would."""


class Form(Enum):
    """A representation; the value is its Content-Type."""

    HTML = b"text/html; charset=utf-8"
    JSON = b"application/problem+json"
    TEXT = b"text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Page:
    """What every form shows, already decided: what may not be seen is not in here."""

    status: int
    code: str  # "502.5" where the status alone says too little
    phrase: str
    sentence: str
    word: str
    app: str
    request_id: str
    report: Report | None
    last_lines: str
    link: str


def render(
    status: int,
    failure: Failure,
    *,
    accept: bytes,
    request_id: str,
    app: str = "",
    loopback: bool = False,
    show_report: bool = False,
    link: str = "",
) -> tuple[bytes, bytes]:
    """Content-Type and body of the answer to a request that failed.

    `accept`: all Accept values joined by commas, or b"". A refusal that brings a body of its own
    (app_offline.htm) is answered with its bytes, as HTML whose charset only the file knows.
    `link`: the URL of `startup_error_link`, shown where a start has failed.
    """
    if failure.refusal and failure.refusal.verbatim:
        return b"text/html", failure.refusal.body.encode("utf-8", "surrogateescape")
    page = _page(status, failure, request_id, app, loopback, show_report, link)
    form = preferred_form(accept)
    if form is Form.HTML:
        return form.value, _html(page)
    if form is Form.JSON:
        return form.value, _json(page)
    return form.value, _text(page)


def _page(
    status: int,
    failure: Failure,
    request_id: str,
    app: str,
    loopback: bool,
    show_report: bool,
    link: str,
) -> _Page:
    report = failure.refusal.report if failure.refusal and show_report else None
    # ANCM's users know a failed start by this number.
    start_failed = status == 502 and report is not None
    return _Page(
        status=status,
        code="502.5" if start_failed else str(status),
        phrase="The app could not start" if start_failed else _phrase(status),
        sentence=_sentence(failure),
        word=reason_word(failure),
        app=app,
        request_id=request_id,
        report=report,
        last_lines=report.last_lines if report and loopback else "",
        link=link if start_failed else "",
    )


def _phrase(status: int) -> str:
    return standard_reason(status).decode("ascii") or "Error"


def _sentence(failure: Failure) -> str:
    if failure.refusal:
        return failure.refusal.sentence
    sentence = _SENTENCES[failure.cause]
    return f"{sentence} ({failure.detail})" if failure.detail else sentence


_SENTENCES = {
    Cause.BAD_REQUEST: "The request is not valid HTTP and was not passed on.",
    Cause.HEAD_TOO_LARGE: "The request's header fields are larger than this server allows.",
    Cause.TARGET_TOO_LONG: "The request's address is longer than this server allows.",
    Cause.PLAIN_HTTP: "This port speaks HTTPS, and the request came in plain HTTP: use https:// in the address.",
    Cause.BODY_TOO_LARGE: "The request's body is larger than this server allows.",
    Cause.SLOW_HEAD: "The request did not arrive in time.",
    Cause.SLOW_BODY: "The request's body did not arrive in time.",
    Cause.NOT_IMPLEMENTED: "The request asks for something this server does not offer.",
    Cause.BAD_VERSION: "The request is in an HTTP version that this server does not speak.",
    Cause.NO_APP: "No app answers at this address.",
    Cause.METHOD_NOT_ALLOWED: "The app at this address does not take this method.",
    Cause.REFUSED_BY_MODULE: "This server does not let the request pass.",
    Cause.MODULE_FAILED: "A module of this server failed on the request.",
    Cause.START_FAILED: "The app could not be started.",
    Cause.REFUSED: "The app does not take requests at the moment.",
    Cause.QUEUE_FULL: "Too many requests wait for the app to start.",
    Cause.QUEUE_TIMEOUT: "The app took too long to start.",
    Cause.ENDING: "This server is being stopped.",
    Cause.NO_CREDENTIALS: "What you have delegated cannot be given to the app at the moment.",
    Cause.CONNECT_REFUSED: "The app did not take the connection.",
    Cause.CONNECT_TIMEOUT: "The app did not take the connection in time.",
    Cause.APP_BROKE_BEFORE_HEAD: "The app closed the connection before it answered.",
    Cause.APP_SENT_NONSENSE: "The app's answer is not valid HTTP.",
    Cause.APP_HEAD_TOO_LARGE: "The app's answer has larger header fields than this server allows.",
    Cause.APP_SILENT: "The app did not answer in time.",
    Cause.APP_BROKE_OFF: "The app broke off in the middle of its answer.",
    Cause.UPGRADE_FAILED: "The app did not switch protocols as it said.",
    Cause.CLIENT_GONE: "The client closed the connection.",
    Cause.INTERNAL: "Something went wrong inside this server.",
}

# ------------------------------------------------------------------------------------------------------------
# Which form (RFC 9110 12.5.1)

_MEDIA = re.compile(rb"[ \t]*([^;,\s/]+)/([^;,\s]+)[ \t]*(.*)", re.DOTALL)
_QUALITY = re.compile(rb";[ \t]*q[ \t]*=[ \t]*([01](?:\.[0-9]{0,3})?)[ \t]*(?:;|\Z)", re.IGNORECASE)

# The types that name each form. Text comes first: it is what `*/*` of curl and scripts gets.
_NAMES = {
    Form.TEXT: (b"text/plain",),
    Form.JSON: (b"application/problem+json", b"application/json"),
    Form.HTML: (b"text/html", b"application/xhtml+xml"),
}


def preferred_form(accept: bytes) -> Form:
    """The form an Accept value likes best; text when it likes none of them or says nothing."""
    ranges = [parsed for member in accept.lower().split(b",") if (parsed := _media_range(member))]
    best, best_rank = Form.TEXT, (0.0, 0, 0)
    for form, names in _NAMES.items():
        rank = max(_rank(name, ranges) for name in names)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = form, rank
    return best


def _media_range(member: bytes) -> tuple[bytes, bytes, float] | None:
    match = _MEDIA.fullmatch(member)
    if match is None:
        return None
    quality = _QUALITY.search(match[3])
    return match[1], match[2], min(float(quality[1]), 1.0) if quality else 1.0


def _rank(name: bytes, ranges: list[tuple[bytes, bytes, float]]) -> tuple[float, int, int]:
    """Quality of `name`, how exactly it was named, how early: the most exact range decides its quality.

    Among equals the one named first wins, as `application/json, text/plain, */*` (axios) means it.
    """
    main, _, sub = name.partition(b"/")
    matches = [
        (2 if wanted_sub == sub else 1 if wanted_main == main else 0, -place, quality)
        for place, (wanted_main, wanted_sub, quality) in enumerate(ranges)
        if wanted_main in (main, b"*") and wanted_sub in (sub, b"*")
    ]
    if not matches:
        return 0.0, 0, 0
    exactness, place, quality = max(matches)
    return quality, exactness, place


# ------------------------------------------------------------------------------------------------------------
# The three forms


def _text(page: _Page) -> bytes:
    lines = [f"{page.code} {page.phrase}", "", page.sentence]
    lines += [f"{label}: {value}" for label, value in _facts(page)]
    if page.report and page.report.advice:
        lines += ["", *(f"- {advice}" for advice in page.report.advice)]
    if page.link:
        lines += ["", f"More: {page.link}"]
    if page.last_lines:
        lines += ["", "Last output of the app:", page.last_lines.rstrip()]
    return "\n".join([*lines, ""]).encode("utf-8", "replace")


def _json(page: _Page) -> bytes:
    """`type` is about:blank, so `title` is the status' own phrase (RFC 9457 4.2.1); then extensions."""
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": _phrase(page.status),
        "status": page.status,
        "detail": page.sentence,
        "reason": page.word,
        "request_id": page.request_id,
    }
    if page.app:
        problem["app"] = page.app
    if page.link:
        problem["link"] = page.link
    if page.report:
        problem["report"] = _report_members(page.report, page.last_lines)
    return json.dumps(problem, ensure_ascii=True).encode("ascii")


def _report_members(report: Report, last_lines: str) -> dict[str, object]:
    members: dict[str, object] = {
        "summary": report.summary,
        "failed_step": report.failed_step,
        "exit": report.exit,
        "seconds": round(report.seconds, 3),
        "steps": [{"name": s.name, "after": round(s.after, 3), "note": s.note} for s in report.steps],
        "advice": list(report.advice),
    }
    if last_lines:
        members["last_lines"] = last_lines
    return members


def _facts(page: _Page) -> list[tuple[str, str]]:
    """Label and value, in the order of reading."""
    facts = [("App", page.app)]
    if page.report:
        report = page.report
        facts += [
            ("What happened", report.summary if report.summary != page.sentence else ""),
            ("Failed step", report.failed_step),
            ("Exit", report.exit),
            ("Time spent", f"{report.seconds:.1f} s" if report.seconds else ""),
            ("At", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(report.at)) if report.at else ""),
        ]
    facts.append(("Request", page.request_id))
    return [(label, value) for label, value in facts if value]


_STYLE = (
    ":root{color-scheme:light dark;--ink:#1d232b;--soft:#5b6673;--paper:#f6f7f9;--card:#fff;--line:#dfe3e8;"
    "--mark:#a8432f}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa5b1;--paper:#14171b;--card:#1c2026;"
    "--line:#313842;--mark:#e58a74}}"
    "body{margin:0;padding:8vh 1.25rem;background:var(--paper);color:var(--ink);"
    "font:16px/1.55 system-ui,sans-serif}"
    "main{max-width:44rem;margin:auto;padding:2rem;background:var(--card);border:1px solid var(--line);"
    "border-radius:12px}"
    "h1{margin:0 0 .5rem;font-size:1.45rem;line-height:1.25}h1 b{color:var(--mark)}"
    "h2{margin:1.75rem 0 .5rem;font-size:1rem}p{margin:.25rem 0}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:1.5rem 0 0}"
    "dt,small{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}ul,ol{margin:0;padding-left:1.25rem}"
    "pre{margin:0;padding:1rem;overflow:auto;background:var(--paper);border:1px solid var(--line);"
    "border-radius:8px;font:13px/1.5 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def _html(page: _Page) -> bytes:
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="robots" content="noindex">',
        f"<title>{escape(page.code)} {escape(page.phrase)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1><b>{escape(page.code)}</b> {escape(page.phrase)}</h1><p>{escape(page.sentence)}</p>",
        _html_report(page),
        "<dl>",
        *(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in _facts(page)),
        "</dl></main></body></html>\n",
    ]
    return "".join(parts).encode("utf-8", "replace")


def _html_report(page: _Page) -> str:
    if page.report is None:
        return ""
    return "".join(
        (
            _html_list("What to try", "ul", list(page.report.advice)),
            f'<p><a href="{escape(page.link)}">{escape(page.link)}</a></p>' if page.link else "",
            _html_list(
                "How far it came", "ol", [f"{s.name} {s.after:.2f} s {s.note}" for s in page.report.steps]
            ),
            f"<h2>Last output</h2><pre>{escape(page.last_lines)}</pre>" if page.last_lines else "",
        )
    )


def _html_list(title: str, tag: str, items: list[str]) -> str:
    if not items:
        return ""
    return f"<h2>{title}</h2><{tag}>" + "".join(f"<li>{escape(item)}</li>" for item in items) + f"</{tag}>"
