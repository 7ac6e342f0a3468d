"""What wrk is told, and what is read out of what it prints."""

from __future__ import annotations

import json
import re

import h11
import pytest

from benchmarks.load import wrk
from benchmarks.load.request import VARYING, filled, templates
from benchmarks.works import Load, Work

OUTPUT = """Running 2s test @ http://127.0.0.1:8080/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.45ms    0.66ms   9.83ms   91.15%
  1067 requests in 2.00s, 1.04GB read
Requests/sec:    533.39
RESULT {"requests": 1067, "bytes": 1121976320, "microseconds": 2000437, "errors": 3}
"""


def test_requests_are_counted_as_wrk_counts_them() -> None:
    outcome = wrk.parse(OUTPUT, Work.GET.plan)
    assert (outcome.operations, outcome.seconds, outcome.errors) == (1067, 2.000437, 3)


def test_large_bodies_are_counted_by_their_bytes() -> None:
    assert wrk.parse(OUTPUT, Work.DOWN_1M.plan).operations == 1121976320 / (1024 * 1024)


def test_wrk_that_says_nothing_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(wrk.NoResult, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused\n", Work.GET.plan)


@pytest.mark.parametrize("work", [work for work in Work if work.plan.load is Load.WRK])
def test_the_script_holds_its_templates_and_its_body(work: Work) -> None:
    script = wrk.script(8080, work.plan, first=7)
    for template in templates(8080, work.plan.method, work.plan.path, 1024 if work is Work.POST else None):
        assert json.dumps(template) in script
    assert "local number = 7\n" in script
    assert ('"' + "x" * 1024 + '"' in script) == (work is Work.POST)
    assert script.count("%d") - 4 == len(templates(1, "GET", "/%d")) * VARYING  # 4 in what it prints


@pytest.mark.parametrize("work", list(Work))
def test_heads_are_requests_and_no_two_alike(work: Work) -> None:
    plan = work.plan
    length = plan.size if plan.method == "POST" else None
    seen = set()
    for number, template in enumerate(templates(8080, plan.method, plan.path, length) * 2):
        head = filled(template, number)
        seen.add(head)
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head)
        request = connection.next_event()
        assert isinstance(request, h11.Request)
        assert request.method == plan.method.encode()
        assert re.search(rb"[=/]%d$" % number, request.target)
        assert dict(request.headers)[b"host"] == b"127.0.0.1:8080"
    assert len(seen) == 6
