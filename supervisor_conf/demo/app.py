"""One page that shows what an app sees behind Portico. A plain WSGI app: nothing in it knows of Portico."""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

_requests = itertools.count(1)

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portico demo</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; color: #223; }}
  h1 {{ font-size: 1.6rem; }}
  code, td {{ font-family: ui-monospace, monospace; font-size: .9rem; }}
  td, th {{ text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; overflow-wrap: anywhere; }}
  .box {{ background: #f2f4f8; border-radius: .5rem; padding: .75rem 1rem; }}
  @media (prefers-color-scheme: dark) {{ body {{ background: #161a22; color: #dde; }} .box {{ background: #222836; }} }}
</style>
<h1>This app was started by your request</h1>
<p class="box">Process <b>{pid}</b> answers on port <b>{port}</b>. This is its request number <b>{number}</b>.</p>
<p>Try <code>kill -9 {pid}</code> and reload: another process answers, on another port.<br>
Try <code>curl -i http://127.0.0.1:{port}/</code>: without the token of the front, the app says 400.</p>
<h2>What the front passed on</h2>
<table>
<tr><td>{method}</td><td>{target}</td></tr>
{headers}
</table>
</html>
"""


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Any path: the page, or as plain text for whoever does not ask for HTML (curl)."""
    shown = headers_of(environ)
    if "text/html" in environ.get("HTTP_ACCEPT", ""):
        kind, body = "text/html", _html(environ, shown)
    else:
        kind, body = "text/plain", _text(environ, shown)
    content = body.encode()
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
    ]
    start_response("200 OK", headers)
    return [content]


def headers_of(environ: Environ) -> list[tuple[str, str]]:
    """Request fields as an app sees them. A token would be a secret; the shim has taken it away before.

    wsgiref puts the process's own variables into `environ` too: HTTP_PLATFORM_PORT is no field.
    """
    fields = (name for name in environ if name.startswith("HTTP_") and name not in os.environ)
    names = sorted(name for name in fields if "TOKEN" not in name)
    return [(name[5:].replace("_", "-").title(), str(environ[name])) for name in names]


def _html(environ: Environ, shown: list[tuple[str, str]]) -> str:
    rows = (f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in shown)
    return _PAGE.format(
        pid=os.getpid(),
        port=html.escape(os.environ.get("PORT", "?")),
        number=next(_requests),
        method=html.escape(environ["REQUEST_METHOD"]),
        target=html.escape(_target(environ)),
        headers="\n".join(rows),
    )


def _text(environ: Environ, shown: list[tuple[str, str]]) -> str:
    lines = [
        f"Process {os.getpid()} answers on port {os.environ.get('PORT', '?')}, request number {next(_requests)}.",
        f"{environ['REQUEST_METHOD']} {_target(environ)}",
        *(f"{name}: {value}" for name, value in shown),
    ]
    return "\n".join(lines) + "\n"


def _target(environ: Environ) -> str:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    return f"{path}?{query}" if query else path
