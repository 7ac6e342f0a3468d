"""What the next keeper is left."""

from __future__ import annotations

import pytest

from supervisor_conf.law.past import FALLBACK_RETRY, Past, read_past


def test_it_is_read_as_it_was_written() -> None:
    past = Past((1.5, 2.0), (0.25,), 3, 1, (7, 8), ((7, "app recycle"),))
    assert read_past(past.to_text()) == past
    assert past.why_obsolete(7) == "app recycle"
    assert past.why_obsolete(8) == ""


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", "[[], [], 0, 0, [], [1]]", "nonsense", "null"])
def test_what_another_version_wrote_is_nothing(text: str) -> None:
    assert read_past(text) == Past()


@pytest.mark.parametrize(
    ("seconds", "retry"), [((), FALLBACK_RETRY), ((0.2,), 1), ((0.5, 9.0, 2.2), 3), ((4.0, 4.0), 4)]
)
def test_retry_after_is_the_usual_start_in_whole_seconds(seconds: tuple[float, ...], retry: int) -> None:
    assert Past(start_seconds=seconds).retry_after == retry
