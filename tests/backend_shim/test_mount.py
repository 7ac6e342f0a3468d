"""Path base as ANCM splits it: whole segments, any case, the request's own spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.mount import mounted


@pytest.mark.parametrize(
    ("base", "path", "prefix"),
    [
        (b"/pathbase", b"/PathBase/Path", b"/PathBase"),
        (b"/PathBase", b"/pathbase", b"/pathbase"),
        (b"/shop", b"/shop/", b"/shop"),
        (b"/shop", b"/shop//x", b"/shop"),
        (b"/shop", b"/shopping", b""),
        (b"/shop", b"/", b""),
        (b"/shop", b"/x/shop", b""),
        (b"/a/b", b"/A/b/c", b"/A/b"),
        (b"/a/b", b"/a", b""),
        (b"", b"/x", b""),
        ("/café".encode(), "/CAFé/x".encode(), "/CAFé".encode()),
    ],
)
def test_splits(base: bytes, path: bytes, prefix: bytes) -> None:
    assert path[: mounted(base, path)] == prefix


@given(st.binary(), st.binary())
def test_what_is_split_off_is_the_base(base: bytes, path: bytes) -> None:
    size = mounted(base, path)
    assert path[:size].lower() == (base.lower() if size else b"")
    assert size == 0 or path[size : size + 1] in (b"", b"/")
