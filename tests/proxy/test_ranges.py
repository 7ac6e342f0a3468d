"""RFC 9110 14: ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ranges import MOST, Unsatisfiable, ranges_of


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-99", [(0, 100)]),
        ("bytes=0-1000", [(0, 100)]),
        ("bytes=90-", [(90, 10)]),
        ("bytes=-10", [(90, 10)]),
        ("bytes=-1000", [(0, 100)]),
        ("bytes=0-1,5-6", [(0, 2), (5, 2)]),
        ("bytes=5-6, 0-1", [(5, 2), (0, 2)]),
        ("bytes=, 0-1 ,, 5-6 ,", [(0, 2), (5, 2)]),
        ("bytes=0-5,3-8", [(0, 9)]),
        ("bytes=0-4,5-9", [(0, 10)]),
        ("bytes=0-1,200-300", [(0, 2)]),
        ("bytes=0-49,50-99,20-30", [(0, 100)]),
        ("bytes=0-60,0-60,10-99", [(0, 100)]),
        # what does not count
        ("bytes=5-4", None),
        ("bytes=0-1,5-4", None),
        ("bytes=a-b", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes 0-1", None),
        ("items=0-1", None),
        ("bytes=0-1;5-6", None),
        ("bytes=0-9999999999999999999", [(0, 100)]),
        ("Bytes=0-0", [(0, 1)]),  # RFC 9110 14.1: names of units are not case-sensitive
        ("bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MOST + 1)), None),
    ],
)
def test_ranges(value: str, ranges: list[tuple[int, int]] | None) -> None:
    assert ranges_of(value, 100) == ranges


@pytest.mark.parametrize(
    "value", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=200-300,400-", "bytes=9999999999999999999-"]
)
def test_unsatisfiable(value: str) -> None:
    with pytest.raises(Unsatisfiable):
        ranges_of(value, 100)


def test_nothing_of_an_empty_file() -> None:
    for value in ("bytes=0-", "bytes=-5"):
        with pytest.raises(Unsatisfiable):
            ranges_of(value, 0)


specs = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: f"{min(pair)}-{max(pair)}")
    | st.integers(0, 30).map(lambda n: f"{n}-")
    | st.integers(0, 30).map(lambda n: f"-{n}"),
    min_size=1,
    max_size=6,
)


def asked_for(spec: str, size: int) -> set[int]:
    first, _, last = spec.partition("-")
    if not first:
        return set(range(max(size - int(last), 0), size))
    return set(range(int(first), min(int(last), size - 1) + 1 if last else size))


@given(specs, st.integers(0, 25))
def test_every_byte_asked_for_comes_once_and_no_other(specs: list[str], size: int) -> None:
    wanted = set().union(*(asked_for(spec, size) for spec in specs))
    try:
        ranges = ranges_of("bytes=" + ",".join(specs), size)
    except Unsatisfiable:
        assert not wanted
        return
    if ranges is not None:  # None: the whole file
        bytes_sent = [n for begin, count in ranges for n in range(begin, begin + count)]
        assert sorted(bytes_sent) == sorted(wanted)
        assert all(count > 0 for _, count in ranges)


@given(st.text(max_size=30).map(lambda text: "bytes=" + text) | st.text(max_size=30))
def test_nonsense_asks_for_the_whole(value: str) -> None:
    try:
        ranges = ranges_of(value, 10)
    except Unsatisfiable:
        return
    assert ranges is None or all(0 <= begin < begin + count <= 10 for begin, count in ranges)
