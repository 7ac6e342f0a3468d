"""What modules make of answers that begin alike: remembered, never mixed up, and the app's own stays as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.editable import Edit
from proxy.failures import Cause, Failure
from proxy.head import QuickReader
from proxy.peer import Response, read_request
from proxy.responders import Responders, ResponseHead
from proxy.strict import Limits

ASKED = read_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Limits())
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: old\r\n\r\n"
ONE, TWO = Edit.of(sets=[("X-One", "1")], removes=["Server"]), Edit.of(sets=[("X-Two", "2")])


def visit(request_id: bytes = b"id") -> Any:
    return SimpleNamespace(exchange=SimpleNamespace(late=b"", request_id=request_id))


def remembered() -> Response:
    reader = QuickReader(Limits())
    first, second = reader.response(HEAD, ASKED), reader.response(HEAD, ASKED)
    assert first is second is not None
    return first


def of(*responders: Any) -> Responders:
    found = Responders.of([(f"m{n}", responder) for n, responder in enumerate(responders)])
    assert found is not None
    return found


def test_nobody_has_anything_to_say() -> None:
    assert Responders.of([]) is None


def test_what_is_done_to_every_answer_is_done_once() -> None:
    response, responders = remembered(), of(ONE, TWO)
    edited = responders.response(visit(), response)
    assert edited.lines == b"Content-Length: 2\r\nX-One: 1\r\nX-Two: 2\r\n"
    assert responders.response(visit(), response) is edited
    assert response.lines == b"Content-Length: 2\r\nServer: old\r\n"
    assert (b"Server", b"old") in response.fields


def test_two_apps_that_answer_alike_keep_their_own_modules() -> None:
    response, one, two = remembered(), of(ONE), of(TWO)
    for _ in range(2):
        assert b"X-Two" not in one.response(visit(), response).lines
        assert b"X-One" not in two.response(visit(), response).lines
    assert two.response(visit(), response).lines == b"Content-Length: 2\r\nServer: old\r\nX-Two: 2\r\n"


def test_those_who_look_come_in_their_order_and_change_nothing_for_others() -> None:
    seen: list[str | None] = []

    def looks(_: Any, head: ResponseHead) -> None:
        seen.append(head.get("X-Two"))
        head.set("X-Two", f"{len(seen)}")

    response, responders = remembered(), of(ONE, looks, TWO)
    for count in (1, 2):
        assert responders.response(visit(), response).lines.count(b"X-Two: 2\r\n") == 1
        assert seen == [None] * count


def test_what_is_said_late_is_of_this_visit() -> None:
    late = Edit(None, late=lambda visit: (b"X-Request-ID", visit.exchange.request_id))
    response, responders = remembered(), of(ONE, late)
    for request_id in (b"a", b"b"):
        asking = visit(request_id)
        assert b"X-Request-ID" not in responders.response(asking, response).lines
        assert asking.exchange.late == b"X-Request-ID: %b\r\n" % request_id
        assert responders.fields(asking, 404, [])[-1] == (b"X-Request-ID", request_id)


def test_one_that_fails_is_a_failure() -> None:
    def fails(_: Any, head: ResponseHead) -> None:
        raise RuntimeError("no")

    for ask in (
        lambda: of(fails).response(visit(), remembered()),
        lambda: of(fails).fields(visit(), 200, []),
    ):
        with pytest.raises(Failure) as caught:
            ask()
        assert caught.value.cause is Cause.MODULE_FAILED
        assert "m0" in caught.value.detail
