"""callgrind's dumps, summed up."""

from __future__ import annotations

from benchmarks.instructions import Count, less, parse

DUMP = """# callgrind format
version: 1
positions: line
events: Ir
summary: 130

fl=(1) a.c
fn=(1) main
1 10
cfn=(2) work
calls=3 1
2 100
+3 5

fn=(2)
* 90
-1 10
fn=(3) work'2
4 15
"""


def test_own_instructions_by_function_without_those_of_calls() -> None:
    assert parse(DUMP) == Count(130, {"main": 15, "work": 115})


def test_what_happens_as_time_passes_is_no_requests() -> None:
    idle = Count(40, {"tick": 40})
    busy = Count(1080, {"tick": 80, "work": 1000})
    assert less(busy, idle, 2.0, 10) == Count(100, {"tick": 0, "work": 100})
