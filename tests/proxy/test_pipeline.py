"""Modules in a whole worker: what they see, what they may do, and what becomes of the request when they fail."""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from structlog.testing import capture_logs

from proxy.modules import Answer, Module, Refuse, ResponseHead, Visit
from proxy.pipeline import BadModule, Chain, Pipeline, find, made
from supervisor_conf.module_settings import shipped_module
from supervisor_conf.setting_kinds import Place
from supervisor_conf.settings import ModuleSettings
from tests.kit.memory_front import MemoryFront, memory_front, settings_of_memory

GET = b"GET /a?q=1 HTTP/1.1\r\nHost: shop.test\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-App: yes\r\n\r\nok"


class Told(Module):
    """Does what a test says, and remembers the order of its calls."""

    def __init__(
        self,
        name: str = "m",
        calls: list[str] | None = None,
        request: Callable[[Visit], Any] = lambda visit: None,
        response: Callable[[Visit, ResponseHead], None] = lambda visit, head: None,
    ) -> None:
        self.name, self.calls = name, calls if calls is not None else []
        self._request, self._response = request, response

    def request(self, visit: Visit) -> Answer | Refuse | None:
        self.calls.append(f"{self.name} asked {visit.app or 'before'}")
        answer: Answer | Refuse | None = self._request(visit)
        return answer

    def response(self, visit: Visit, head: ResponseHead) -> None:
        self.calls.append(f"{self.name} told {head.status}")
        self._response(visit, head)

    def finished(self, visit: Visit) -> None:
        self.calls.append(f"{self.name} finished")


@contextmanager
def front_with(
    *front: Module, app: tuple[Module, ...] = (), quick_lane: bool = True
) -> Iterator[MemoryFront]:
    with memory_front(quick_lane=quick_lane) as memory:
        chains = [Chain([(f"m{n}", module) for n, module in enumerate(modules)]) for modules in (front, app)]
        memory.pipeline = Pipeline(chains[0], {"shop": chains[1]})
        memory.publish(1)
        yield memory


def ask(front: MemoryFront, data: bytes = GET, answer: bytes = OK) -> tuple[bytes, bytes]:
    """What the app got and what the visitor got."""
    visitor = front.visit()
    got = front.ask(visitor, data)
    if not front.apps:
        return b"", got
    seen = front.apps[-1].recv_all()
    if seen:
        front.apps[-1].send(answer)
        front.settle()
    return seen, got + visitor.recv_all()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# ------------------------------------------------------------------------------------------------------------
# Order


def test_requests_pass_in_written_order_and_answers_in_the_opposite_one() -> None:
    calls: list[str] = []
    with front_with(Told("one", calls), Told("two", calls), app=(Told("own", calls),)) as front:
        seen, got = ask(front)
        assert seen
        assert status(got) == 200
    assert calls == [
        "one asked before",
        "two asked before",
        "own asked shop",
        "own told 200",
        "two told 200",
        "one told 200",
        "own finished",
        "one finished",
        "two finished",
    ]


def test_a_visit_that_is_over_is_freed_at_once() -> None:
    """It and its exchange hold each other: a module must not make the collector's work of every request."""
    with front_with(Told()) as front:
        ask(front)
        gc.collect()
        gc.disable()
        try:
            before = [
                one for one in gc.get_objects() if isinstance(one, Visit)
            ]  # of tests that left some waiting
            assert status(ask(front)[1]) == 200
            assert [one for one in gc.get_objects() if isinstance(one, Visit) and one not in before] == []
        finally:
            gc.enable()


@pytest.mark.parametrize("quick_lane", [True, False])
def test_a_trace_that_ends_here_tells_what_the_visitor_sent_and_passes_the_modules(quick_lane: bool) -> None:
    """What a module says to the app alone is not the visitor's to read."""
    secret = Told(
        request=lambda visit: visit.set_field("X-Backend-Key", "s3cr3t"),
        response=lambda visit, head: head.set("X-Everywhere", "1"),
    )
    for method in (b"TRACE", b"OPTIONS"):
        with front_with(secret, quick_lane=quick_lane) as front:
            trace = (
                method
                + b" / HTTP/1.1\r\nHost: shop.test\r\nMax-Forwards: 0\r\nCookie: c=1\r\nX-Mine: 1\r\n\r\n"
            )
            seen, got = ask(front, trace)
        assert not seen
        assert status(got) == 200
        assert b"\r\nX-Everywhere: 1\r\n" in got
        assert b"s3cr3t" not in got
        assert b"c=1" not in got
        assert (b"\r\nX-Mine: 1\r\n" in got) is (method == b"TRACE")


def test_the_first_answer_ends_the_walk_and_the_app_hears_nothing() -> None:
    calls: list[str] = []
    answering = Told("two", calls, lambda visit: Answer(200, [("X-By", "two")], b"here"))
    with front_with(Told("one", calls), answering, Told("three", calls), app=(Told("own", calls),)) as front:
        seen, got = ask(front)
        assert not seen
        assert not front.apps
    assert got.endswith(b"\r\n\r\nhere")
    assert b"X-By: two\r\n" in got
    assert [call for call in calls if "asked" in call] == ["one asked before", "two asked before"]
    assert [call for call in calls if "told" in call] == ["three told 200", "two told 200", "one told 200"]


def test_what_has_no_app_was_seen_by_the_front_s_modules_and_is_changed_by_them() -> None:
    calls: list[str] = []
    adding = Told("one", calls, response=lambda visit, head: head.set("X-Everywhere", "1"))
    with front_with(adding) as front:
        front.handlers = type(front.handlers)([dataclasses.replace(front.settings.apps[0], path="/shop")])
        _, got = ask(front)
    assert status(got) == 404
    assert b"\r\nX-Everywhere: 1\r\n" in got
    assert calls == ["one asked before", "one told 404", "one finished"]


# ------------------------------------------------------------------------------------------------------------
# Failing


def broken(*_: object) -> Any:
    raise RuntimeError("the secret of the module")


@pytest.mark.parametrize("place", ["front", "app"])
def test_a_module_that_fails_lets_no_request_through(place: str) -> None:
    module = Told(request=broken)
    with front_with(
        *([module] if place == "front" else []), app=(module,) if place == "app" else ()
    ) as front:
        seen, got = ask(front)
        assert not seen
        assert not front.apps
    assert status(got) == 500
    assert b"secret" not in got
    assert module.calls[-1] == "m finished"


def test_an_answer_that_a_module_fails_on_is_not_shown() -> None:
    with front_with(Told(response=broken)) as front:
        seen, got = ask(front)
    assert seen
    assert status(got) == 500
    assert b"X-App" not in got
    assert b"secret" not in got


def test_a_refusal_is_a_page_with_the_module_s_fields() -> None:
    refuse = Refuse(401, "who are you", [("WWW-Authenticate", 'Basic realm="shop"')])
    with front_with(Told(request=lambda visit: refuse)) as front:
        _, got = ask(front)
    assert got.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b'\r\nWWW-Authenticate: Basic realm="shop"\r\n' in got
    assert b"http_request_denied" in got


@pytest.mark.parametrize(
    "fields",
    [[("X-A", "1\r\nX-B: 2")], [("X A", "1")], [("Content-Length", "5")], [("Transfer-Encoding", "chunked")]],
)
def test_an_answer_with_a_field_that_cannot_be_said_is_a_failure(fields: list[tuple[str, str]]) -> None:
    with front_with(Told(request=lambda visit: Answer(200, fields, b"x"))) as front:
        _, got = ask(front)
    assert status(got) == 500
    assert b"X-B" not in got


def throw(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: Answer(99), id="no status"),
        pytest.param(lambda: Answer(103), id="not final"),
        pytest.param(lambda: Answer(200, body="text"), id="text"),  # type: ignore[arg-type]
        pytest.param(lambda: Answer(200, [("X-A", 5)]), id="a number"),  # type: ignore[list-item]
        pytest.param(lambda: Answer(200, {"X-A": "b"}), id="a dictionary"),  # type: ignore[arg-type]
        pytest.param(lambda: Refuse(200, "fine"), id="refuses nothing"),
        pytest.param(lambda: Refuse(503, "later", retry_after=-1), id="in the past"),
        pytest.param(lambda: sys.exit(1), id="the end of everything"),
        pytest.param(lambda: throw(gevent.Timeout(1)), id="a time that is up"),
        pytest.param(lambda: "yes", id="a word"),
        pytest.param(lambda: True, id="truth"),
    ],
)
def test_what_is_no_answer_is_a_failure(answer: Callable[[], Any]) -> None:
    with front_with(Told(request=lambda visit: answer())) as front, capture_logs() as told:
        seen, got = ask(front)
    assert (seen, status(got)) == (b"", 500)
    assert b"the module m0 failed" in got
    assert [line["module"] for line in told if line["event"] == "module.failed"] == ["m0"]


@pytest.mark.parametrize("who", ["ann", ("ann", "Badge"), None])
def test_who_is_no_identity_is_nobody_and_the_module_has_failed(who: Any) -> None:
    with front_with(Told(request=lambda visit: visit.authenticate(who))) as front:
        seen, got = ask(front)
    assert (seen, status(got)) == (b"", 500)


def test_a_refusal_s_field_that_is_no_text_is_left_out() -> None:
    refuse = Refuse(401, "who are you", [("X-A", 5)])  # type: ignore[list-item]
    with front_with(Told(request=lambda visit: refuse)) as front:
        _, got = ask(front)
    assert status(got) == 401
    assert b"X-A" not in got


@pytest.mark.parametrize("error", [SystemExit(1), gevent.Timeout(1), gevent.GreenletExit()])
def test_the_end_of_everything_in_a_response_is_a_failure_too(error: BaseException) -> None:
    with front_with(Told(response=lambda visit, head: throw(error))) as front:
        _, got = ask(front)
    assert status(got) == 500


def test_a_body_that_is_sent_has_its_own_length() -> None:
    """Another one would shift every answer after it on the connection."""
    with front_with(Told(request=lambda visit: Answer(200, body=b"four", length=9))) as front:
        _, got = ask(front)
        assert b"\r\nContent-Length: 4\r\n" in got
        _, got = ask(front, GET.replace(b"GET", b"HEAD"))
        assert b"\r\nContent-Length: 9\r\n" in got


# ------------------------------------------------------------------------------------------------------------
# What they see and change


def test_a_visit_tells_what_was_asked() -> None:
    seen: dict[str, object] = {}

    def look(visit: Visit) -> None:
        names = ("method", "target", "path", "query", "host", "client", "scheme")
        seen.update({name: getattr(visit, name) for name in names})
        seen["fields"] = (visit.field("x-twice"), visit.field_values("X-TWICE"), visit.field("none"))

    with front_with(Told(request=look)) as front:
        ask(front)
    assert seen == {
        "method": "GET",
        "target": "/a?q=1",
        "path": "/a",
        "query": "q=1",
        "host": "shop.test",
        "client": "",  # as of a Unix socket
        "scheme": "http",
        "fields": ("1, 2", ["1", "2"], None),
    }


@pytest.mark.parametrize("quick_lane", [True, False])
def test_the_app_gets_what_modules_say(quick_lane: bool) -> None:
    def edit(visit: Visit) -> None:
        visit.add_field("X-New", "n")
        visit.set_field("X-Twice", "once")
        visit.remove_field("x-absent")
        assert visit.field("X-New") == "n"
        assert visit.field_values("x-twice") == ["once"]

    with front_with(Told(request=edit), quick_lane=quick_lane) as front:
        first, _ = ask(front)
        assert b"\r\nX-New: n\r\n" in first
        assert b"\r\nX-Twice: once\r\n" in first
        assert first.count(b"X-Twice") == 1
        # The quick reader remembers header blocks: what a module said of one request is not said of the next.
        front.pipeline = None
        second, _ = ask(front)
        assert b"X-New" not in second
        assert second.count(b"X-Twice") == 2


def test_only_adding_keeps_a_request_in_the_quick_lane() -> None:
    lines: list[bytes] = []

    def add(visit: Visit) -> None:
        visit.set_field("X-New", "n")
        lines.append(visit.exchange.request.lines)

    with front_with(Told(request=add)) as front:
        ask(front)
    assert lines[0].endswith(b"X-Twice: 2\r\nX-New: n\r\n")


@pytest.mark.parametrize(
    "name",
    ["Host", "content_length", "Transfer-Encoding", "Connection", "MS-ASPNETCORE-TOKEN", "X-Forwarded-For"],
)
def test_what_is_not_a_module_s_to_say_is_a_failure(name: str) -> None:
    with front_with(Told(request=lambda visit: visit.set_field(name, "x"))) as front:
        seen, got = ask(front)
    assert (seen, status(got)) == (b"", 500)


@pytest.mark.parametrize("quick_lane", [True, False])
def test_the_visitor_gets_what_modules_make_of_the_answer(quick_lane: bool) -> None:
    def edit(visit: Visit, head: ResponseHead) -> None:
        head.remove("X-App")
        head.add("X-New", str(head.status))

    with front_with(Told(response=edit), quick_lane=quick_lane) as front:
        _, got = ask(front)
        assert b"X-App" not in got
        assert b"\r\nX-New: 200\r\n" in got
        assert b"\r\nContent-Length: 2\r\n" in got
        front.pipeline = None
        _, again = ask(front)
        assert b"X-App: yes" in again
        assert b"X-New" not in again


def test_a_connection_s_notes_last_and_a_visit_s_do_not() -> None:
    found: list[tuple[int, int]] = []

    def count(visit: Visit) -> Answer:
        visit.connection["n"] = visit.connection.get("n", 0) + 1
        visit.notes["n"] = visit.notes.get("n", 0) + 1
        found.append((visit.connection["n"], visit.notes["n"]))
        return Answer(204)

    with front_with(Told(request=count)) as front:
        visitor, other = front.visit(), front.visit()
        for who in (visitor, visitor, other):
            assert front.ask(who, GET).startswith(b"HTTP/1.1 204 No Content\r\n")
    assert found == [(1, 1), (2, 1), (1, 1)]


# ------------------------------------------------------------------------------------------------------------
# Answers and bodies


def test_head_gets_the_length_and_no_body_and_the_connection_goes_on() -> None:
    with front_with(Told(request=lambda visit: Answer(200, body=b"hello"))) as front:
        visitor = front.visit()
        head = front.ask(visitor, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert head.endswith(b"Content-Length: 5\r\n\r\n")
        assert front.ask(visitor, GET).endswith(b"\r\n\r\nhello")
        assert not visitor.ended


def test_what_was_not_read_of_a_body_ends_the_connection() -> None:
    with front_with(Told(request=lambda visit: Answer(200, body=b"no"))) as front:
        _, got = ask(front, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert b"\r\nConnection: close\r\n" in got


@pytest.mark.parametrize("quick_lane", [True, False])
@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_a_body_that_a_module_has_read_reaches_the_app_with_its_length(
    framed: bytes, quick_lane: bool
) -> None:
    bodies: list[bytes] = []
    module = Told(request=lambda visit: bodies.extend((visit.body(5), visit.body(5))))
    with front_with(module, quick_lane=quick_lane) as front:
        seen, got = ask(front, b"POST / HTTP/1.1\r\nHost: a\r\n" + framed)
    assert bodies == [b"hello", b"hello"]
    assert seen.endswith(b"Content-Length: 5\r\n\r\nhello")
    assert b"chunked" not in seen
    assert status(got) == 200


@pytest.mark.parametrize(
    "framed",
    [b"Content-Length: 6\r\n\r\nhello!", b"Transfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n"],
)
def test_a_body_longer_than_a_module_reads_is_413(framed: bytes) -> None:
    with front_with(Told(request=lambda visit: visit.body(5) and None)) as front:
        seen, got = ask(front, b"POST / HTTP/1.1\r\nHost: a\r\n" + framed)
    assert (seen, status(got)) == (b"", 413)


def test_who_waits_to_be_told_to_go_on_is_told_by_us_and_the_app_is_not_asked() -> None:
    with front_with(Told(request=lambda visit: visit.body(5) and None)) as front:
        visitor = front.visit()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        assert front.ask(visitor, head) == b"HTTP/1.1 100 Continue\r\n\r\n"
        front.ask(visitor, b"ab")
        seen = front.apps[-1].recv_all()
    assert b"Expect" not in seen
    assert seen.endswith(b"\r\n\r\nab")


def test_a_visitor_who_leaves_while_a_module_reads_leaves_nothing_behind() -> None:
    module = Told(request=lambda visit: visit.body(5) and None)
    with front_with(module) as front:
        visitor = front.visit()
        front.ask(visitor, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        visitor.close()
        front.settle()
        front.check_at_rest()
    assert module.calls[-1] == "m finished"


# ------------------------------------------------------------------------------------------------------------
# Loading


def test_without_modules_there_is_no_pipeline() -> None:
    assert Pipeline.of(settings_of_memory(), lambda: 0.0) is None


@pytest.mark.parametrize(
    ("use", "says"),
    [
        ("no.such.module:Class", "cannot be imported"),
        ("proxy.modules:NoSuchClass", "cannot be imported"),
        ("proxy.modules:Answer", "no subclass"),
        ("json:loads", "no subclass"),
    ],
)
def test_what_cannot_be_loaded_is_said(use: str, says: str) -> None:
    with pytest.raises(BadModule, match=says):
        find(use)


class Choosy(Module):
    def __init__(self, options: Any, context: Any) -> None:
        self.options, self.context = options, context
        if "bad" in options:
            raise ValueError("bad is not good")


def test_a_module_is_made_with_its_options_and_its_place() -> None:
    use = f"{__name__}:Choosy"
    assert find(use) is Choosy
    settings = settings_of_memory()
    front = dataclasses.replace(settings.front, modules=(ModuleSettings(use, '{"good": [1]}'),))
    app = dataclasses.replace(settings.apps[0], modules=(ModuleSettings(use), ModuleSettings(use)))
    pipeline = Pipeline.of(dataclasses.replace(settings, front=front, apps=(app,)), lambda: 7.0)
    assert pipeline is not None
    (of_front,) = pipeline._front.modules
    assert isinstance(of_front, Choosy)
    assert (of_front.options, of_front.context.app, of_front.context.now()) == ({"good": [1]}, "", 7.0)
    places = [(module.context.app, module.context.number) for module in pipeline._apps["shop"].modules]  # type: ignore[attr-defined]
    assert places == [("shop", 0), ("shop", 1)]


def test_a_module_that_does_not_like_its_options_says_so() -> None:
    settings = settings_of_memory()
    front = dataclasses.replace(settings.front, modules=(ModuleSettings(f"{__name__}:Choosy", '{"bad": 1}'),))
    with pytest.raises(BadModule, match="bad is not good"):
        Pipeline.of(dataclasses.replace(settings, front=front), lambda: 0.0)


def test_a_folder_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    table = shipped_module("static", {"folder": str(tmp_path / "nowhere")}, Place(tmp_path))
    says = f"the module static does not start: {tmp_path}/nowhere: No such file or directory"
    with pytest.raises(BadModule) as told:
        made(table, "", 0, settings_of_memory(), lambda: 0.0)
    assert str(told.value) == says
