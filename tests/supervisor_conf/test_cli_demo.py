"""The app of `portico demo`, asked as a WSGI server would ask it."""

from __future__ import annotations

import os
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from supervisor_conf.demo.app import application


def ask(**fields: str) -> tuple[str, dict[str, str], str]:
    environ: dict[str, Any] = {"QUERY_STRING": "", "SCRIPT_NAME": "", "PATH_INFO": "/", **fields}
    setup_testing_defaults(environ)
    answer: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        answer.append((status, dict(headers)))

    body = validator(application)(environ, start_response)
    text = b"".join(body).decode()
    body.close()
    ((status, headers),) = answer
    assert headers["Content-Length"] == str(len(text.encode()))
    return status, headers, text


def test_a_browser_gets_a_page_with_the_pid() -> None:
    status, headers, text = ask(HTTP_ACCEPT="text/html,*/*", PATH_INFO="/<x>", QUERY_STRING="a=<b>")
    assert status == "200 OK"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert f"kill -9 {os.getpid()}" in text
    assert "/&lt;x&gt;?a=&lt;b&gt;" in text


def test_others_get_text() -> None:
    _, headers, text = ask(HTTP_X_FORWARDED_FOR="127.0.0.1")
    assert headers["Content-Type"].startswith("text/plain")
    assert f"Process {os.getpid()} answers" in text
    assert "X-Forwarded-For: 127.0.0.1" in text


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_neither_the_token_nor_variables_are_shown(monkeypatch: pytest.MonkeyPatch, accept: str) -> None:
    monkeypatch.setenv("HTTP_PLATFORM_PORT", "12345")
    _, _, text = ask(HTTP_ACCEPT=accept, HTTP_MS_ASPNETCORE_TOKEN="geheim", HTTP_PLATFORM_PORT="12345")
    assert "geheim" not in text
    assert "Platform" not in text
