"""py-spy's stacks, summed up."""

from __future__ import annotations

from benchmarks.folded import Frame, parse_stack, summed

LINES = [
    "run (gevent/hub.py:647);_serve (proxy/connection.py:101);send (proxy/streams.py:343) 6",
    "run (gevent/hub.py:647);_serve (proxy/connection.py:101);_serve (proxy/connection.py:102) 3",
    "run (gevent/hub.py:647) 1",
    "not a stack",
]


def test_a_stack_is_frames_and_a_count() -> None:
    assert parse_stack(LINES[2]) == ([Frame("run", "gevent/hub.py", 647)], 1)
    assert parse_stack("f (<string>:2);g.<locals>.<listcomp> (a b.py) 12") == (
        [Frame("f", "<string>", 2), Frame("g.<locals>.<listcomp>", "a b.py", 0)],
        12,
    )
    assert parse_stack("not a stack") is None


def test_paths_begin_with_their_package() -> None:
    parsed = parse_stack("f (/opt/v/lib/python3.11/site-packages/gevent/hub.py:1) 1")
    assert parsed == ([Frame("f", "gevent/hub.py", 1)], 1)


def test_own_time_and_time_within() -> None:
    profile = summed(LINES)
    assert profile.samples == 10
    assert profile.own["send (proxy/streams.py)"] == 6
    assert profile.own_lines["proxy/connection.py:102 _serve"] == 3
    assert profile.own_files["proxy/connection.py"] == 3
    assert profile.within["_serve (proxy/connection.py)"] == 9  # once, however deep it calls itself
    assert profile.within["run (gevent/hub.py)"] == 10
