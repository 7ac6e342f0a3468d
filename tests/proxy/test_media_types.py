from __future__ import annotations

import pytest

from proxy.media_types import MediaTypes

TYPES = MediaTypes({".foo": "x/foo", ".txt": "text/plain; charset=latin-1"}, "utf-8")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("A.HTML", "text/html; charset=utf-8"),
        ("a.min.js", "text/javascript; charset=utf-8"),
        ("a.js.gz", "application/gzip"),
        ("a.svg", "image/svg+xml; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.wasm", "application/wasm"),
        ("a.woff2", "font/woff2"),
        ("a.png", "image/png"),
        ("a.foo", "x/foo"),
        ("a.txt", "text/plain; charset=latin-1"),
        ("a", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_types(name: str, kind: str) -> None:
    assert TYPES.of(name) == kind


def test_no_charset() -> None:
    assert MediaTypes({}, "").of("a.html") == "text/html"
