"""The application path: how much of a request's path is the app's own mount point."""

from __future__ import annotations


def mounted(base: bytes, path: bytes) -> int:
    """Length of the prefix of `path` that is `base`, 0 if it is not below it.

    Whole segments only, ASCII letters without regard to case (PathString.StartsWithSegments); the caller keeps the
    request's own spelling by slicing.
    """
    size = len(base)
    if size and path[:size].lower() == base.lower() and path[size : size + 1] in (b"", b"/"):
        return size
    return 0
