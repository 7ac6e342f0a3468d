"""Reason phrases are RFC 9110's, whatever this Python's `http` is called after."""

from __future__ import annotations

import pytest

from proxy.reasons import standard_reason


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, b"OK"),
        (413, b"Content Too Large"),
        (414, b"URI Too Long"),
        (416, b"Range Not Satisfiable"),
        (422, b"Unprocessable Content"),
        (599, b""),
    ],
)
def test_the_phrase(status: int, phrase: bytes) -> None:
    assert standard_reason(status) == phrase
