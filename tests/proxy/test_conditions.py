"""RFC 9110 13: the preconditions, each and in their order."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.conditions import Verdict, date_of, http_date, judge, range_still_holds

TAG, OTHER, WEAK = '"a-1"', '"b-2"', 'W/"a-1"'
NOW = 1_700_000_000
BEFORE, SAME, AFTER = (formatdate(NOW + seconds, usegmt=True) for seconds in (-1, 0, 1))
GO, NOT, FAILED = Verdict.PERFORM, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, GO),
        ({b"if-none-match": TAG}, NOT),
        ({b"if-none-match": WEAK}, NOT),
        ({b"if-none-match": f"{OTHER}, {TAG}"}, NOT),
        ({b"if-none-match": f"{OTHER},{WEAK}"}, NOT),
        ({b"if-none-match": "*"}, NOT),
        ({b"if-none-match": OTHER}, GO),
        ({b"if-none-match": "a-1"}, GO),
        ({b"if-modified-since": BEFORE}, GO),
        ({b"if-modified-since": SAME}, NOT),
        ({b"if-modified-since": AFTER}, NOT),
        ({b"if-modified-since": "yesterday"}, GO),
        ({b"if-match": TAG}, GO),
        ({b"if-match": "*"}, GO),
        ({b"if-match": f"{OTHER}, {TAG}"}, GO),
        ({b"if-match": WEAK}, FAILED),
        ({b"if-match": OTHER}, FAILED),
        ({b"if-unmodified-since": BEFORE}, FAILED),
        ({b"if-unmodified-since": SAME}, GO),
        ({b"if-unmodified-since": AFTER}, GO),
        ({b"if-unmodified-since": "soon"}, GO),
        # the order: If-Match, or else If-Unmodified-Since; then If-None-Match, or else If-Modified-Since
        ({b"if-match": TAG, b"if-unmodified-since": BEFORE}, GO),
        ({b"if-match": OTHER, b"if-none-match": TAG}, FAILED),
        ({b"if-match": TAG, b"if-none-match": TAG}, NOT),
        ({b"if-none-match": OTHER, b"if-modified-since": AFTER}, GO),
        ({b"if-none-match": TAG, b"if-modified-since": BEFORE}, NOT),
        ({b"if-unmodified-since": AFTER, b"if-modified-since": AFTER}, NOT),
    ],
)
def test_preconditions(fields: dict[bytes, str], verdict: Verdict) -> None:
    assert judge(fields, TAG, NOW) is verdict


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (None, True),
        (TAG, True),
        (WEAK, False),
        (OTHER, False),
        (SAME, True),
        (BEFORE, False),
        (AFTER, False),
        ("x", False),
    ],
)
def test_if_range(value: str | None, holds: bool) -> None:
    assert range_still_holds(value, TAG, NOW) is holds


@pytest.mark.parametrize(
    "value", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_of_a_date(value: str) -> None:
    assert date_of(value) == 784111777


@given(
    st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
)
def test_what_is_no_date_is_none(value: str) -> None:
    found = date_of(value)
    assert found is None or isinstance(found, int)


@given(st.integers(0, 4_000_000_000))
def test_our_own_dates_are_read_back(seconds: int) -> None:
    assert http_date(seconds) == formatdate(seconds, usegmt=True)
    assert date_of(http_date(seconds)) == seconds
