"""Every file of the corpus through the pure parts: the strict reader, h11, and the fields an app is given."""

from __future__ import annotations

import h11
import pytest

from proxy.headers import Caller, request_fields, response_fields, trailer_fields, upgrade_of
from proxy.strict import Malformed, check_request_head, check_response_head, split_target
from tests.kit.corpus import REQUESTS, RESPONSES, Case, load

REQUEST_CASES = load(REQUESTS)
RESPONSE_CASES = load(RESPONSES)
CALLER = Caller("127.0.0.1", 40000, "http")


def named(cases: list[Case]) -> list[object]:
    return [pytest.param(case, id=case.name) for case in cases]


def test_there_is_a_corpus() -> None:
    assert len(REQUEST_CASES) >= 150
    assert len(RESPONSE_CASES) >= 40
    kinds = {case.kind for case in REQUEST_CASES}
    assert kinds >= {
        "CL.TE",
        "TE.CL",
        "TE.TE",
        "CL.CL",
        "CL.0",
        "0.CL",
        "chunk",
        "name",
        "target",
        "connection",
        "token",
    }


@pytest.mark.parametrize("case", named([c for c in REQUEST_CASES if c.refused_head]))
def test_a_bad_request_head_is_refused_with_its_status(case: Case) -> None:
    with pytest.raises(Malformed) as refused:
        check_request_head(case.head)
    assert refused.value.status == case.refused_head, refused.value.reason


@pytest.mark.parametrize("case", named([c for c in REQUEST_CASES if not c.refused_head]))
def test_a_good_request_head_passes_and_the_app_gets_what_the_file_says(case: Case) -> None:
    check_request_head(case.head)
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    judge.receive_data(case.data)
    request = judge.next_event()
    assert isinstance(request, h11.Request)
    fields = list(request.headers.raw_items())
    host = dict(request.headers).get(b"host", b"")
    sent = request_fields(
        fields,
        caller=CALLER,
        host=host,
        token=b"ours",
        request_id=b"id",
        upgrade=upgrade_of(request.http_version, fields),
        http_version=request.http_version,
    )
    for marker in case.lacks:
        assert not [pair for pair in sent if marker in pair[0] or marker in pair[1]]
    for wanted in case.has:
        assert wanted in sent
    if case.seen:
        assert request.method == case.seen[0].method
        assert split_target(request.target).origin == case.seen[0].target
    if case.expect[0] == "forwarded":
        _check_body(judge, case)


def _check_body(judge: h11.Connection, case: Case) -> None:
    length = 0
    while isinstance(event := judge.next_event(), h11.Data):
        length += len(event.data)
    assert isinstance(event, h11.EndOfMessage)
    for name, value in trailer_fields(list(event.headers.raw_items())):
        assert not any(marker in name + value for marker in case.lacks)
    if case.seen:
        assert length == case.seen[0].body


@pytest.mark.parametrize("case", named([c for c in RESPONSE_CASES if c.refused_head]))
def test_a_bad_response_head_is_refused(case: Case) -> None:
    with pytest.raises(Malformed) as refused:
        check_response_head(case.head)
    assert refused.value.status == 502


@pytest.mark.parametrize("case", named([c for c in RESPONSE_CASES if not c.refused_head]))
def test_a_good_response_head_passes_and_the_client_gets_what_the_file_says(case: Case) -> None:
    check_response_head(case.head)
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method=case.request, target="/", headers=[("Host", "a")]))
    judge.receive_data(case.data)
    response = judge.next_event()
    assert isinstance(response, h11.Response | h11.InformationalResponse)
    told = response_fields(list(response.headers.raw_items()))
    for marker in case.lacks:
        assert not [pair for pair in told if marker in pair[0] or marker in pair[1]]
    for wanted in case.has:
        assert wanted in told
