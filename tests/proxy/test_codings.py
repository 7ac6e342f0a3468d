from __future__ import annotations

import pytest

from proxy.codings import preferred

OURS = ["br", "zstd", "gzip"]


@pytest.mark.parametrize(
    ("accept", "codings"),
    [
        (None, []),
        ("", []),
        ("gzip", ["gzip"]),
        ("gzip, deflate, br, zstd", ["br", "zstd", "gzip"]),
        ("GZIP", ["gzip"]),
        ("x-gzip", ["gzip"]),
        ("*", ["br", "zstd", "gzip"]),
        ("gzip;q=1.0, br;q=0.5", ["gzip", "br"]),
        ("gzip;q=0", []),
        ("gzip; q=0.000, *", ["br", "zstd"]),
        ("*;q=0", []),
        ("br;q=0.2, identity;q=0.8, gzip", ["gzip"]),
        ("identity", []),
        ("gzip;q=2", []),
        ("gzip;level=9", []),
        ("gzip, nonsense/here, br", ["br", "gzip"]),
    ],
)
def test_what_a_client_takes(accept: str | None, codings: list[str]) -> None:
    assert preferred(accept, OURS) == codings
