from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.pipeline import BadModule
from tests.kit.shipped import module_of
from tests.proxy.modules.test_filtering import request
from tests.proxy.modules.test_static import field
from tests.proxy.test_pipeline import OK, ask, front_with, status

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OURS = re.compile(r"[0-9a-f]{12}-[0-9a-f]+")
PARENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"


def ids(
    folder: Path,
    options: str,
    *lines: str,
    answer: bytes = OK,
    name: str = "X-Request-ID",
    quick_lane: bool = True,
) -> tuple[str | None, str | None]:
    """What the app and the visitor are told, each once."""
    with front_with(module_of(folder, "request_id", options), quick_lane=quick_lane) as front:
        seen, got = ask(front, request("/", *lines), answer)
        for data in (seen, got.partition(b"\r\n\r\n")[0]):
            assert len(re.findall(rb"\r\n" + name.encode() + rb":", data, re.IGNORECASE)) == 1
        return field(seen, "X-Request-ID"), field(got, name)


@pytest.mark.parametrize("quick_lane", [True, False])
def test_visitor_and_app_are_told_the_same(tmp_path: Path, quick_lane: bool) -> None:
    app, visitor = ids(tmp_path, "", "X-Request-ID: mine", quick_lane=quick_lane)
    assert app == visitor
    assert visitor != "mine"


def test_what_the_app_calls_it_is_replaced(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Request-ID: the-apps\r\nContent-Length: 2\r\n\r\nok"
    app, visitor = ids(tmp_path, "", answer=answer)
    assert app == visitor


@pytest.mark.parametrize(
    ("options", "lines", "expected"),
    [
        ("trust = true", ("X-Request-ID: mine-1:2",), "mine-1:2"),
        ("trust = true", ("x-request-id: mine",), "mine"),
        ("trust = true", ("X_Request_ID: mine",), None),
        ("trust = true", ("X-Request-ID: two", "X-Request-ID: ids"), None),
        ("trust = true", ("X-Request-ID: a b",), None),
        ("trust = true", ('X-Request-ID: a"b',), None),
        ("trust = true", ("X-Request-ID: " + "a" * 129,), None),
        ("trust = true", (PARENT,), None),
        ("traceparent = true", (PARENT,), TRACE),
        ("traceparent = true", (PARENT, "X-Request-ID: mine"), TRACE),
        ("traceparent = true\ntrust = true", (PARENT, "X-Request-ID: mine"), "mine"),
        ("traceparent = true", (PARENT.replace("00-", "ff-", 1),), None),
        ("traceparent = true", (PARENT.replace(TRACE, "0" * 32),), None),
        ("traceparent = true", (PARENT.replace(TRACE, TRACE.upper()),), None),
        ("traceparent = true", (PARENT, PARENT), None),
    ],
)
def test_who_may_name_it(tmp_path: Path, options: str, lines: tuple[str, ...], expected: str | None) -> None:
    app, visitor = ids(tmp_path, options, *lines)
    assert app == visitor
    assert visitor is not None
    assert visitor == expected if expected is not None else OURS.fullmatch(visitor)


def test_another_name_for_the_field(tmp_path: Path) -> None:
    options = 'header = "X-Correlation-ID"'
    app, visitor = ids(tmp_path, options, "X-Correlation-ID: mine", name="X-Correlation-ID")
    assert app == visitor != "mine"
    app, visitor = ids(
        tmp_path, options + "\ntrust = true", "X-Correlation-ID: mine", name="X-Correlation-ID"
    )
    assert app == visitor == "mine"


def test_error_pages_say_it_once(tmp_path: Path) -> None:
    with front_with(module_of(tmp_path, "request_id", "trust = true")) as front:
        _, got = ask(front, request("/", "X-Request-ID: mine"), b"nonsense\r\n\r\n")
        assert status(got) == 502
        assert got.lower().count(b"x-request-id") == 1
        assert field(got, "x-request-id") == "mine"


@pytest.mark.parametrize("name", ["Host", "Content-Length", "X-Forwarded-For", "MS-ASPNETCORE-TOKEN"])
def test_fields_that_mean_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadModule, match="means something else to Portico"):
        module_of(tmp_path, "request_id", f'header = "{name}"')
