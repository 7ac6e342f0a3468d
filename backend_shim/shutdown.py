"""The shutdown message of ANCM: `POST {base}/iisintegration` with `MS-ASPNETCORE-EVENT: shutdown`."""

from __future__ import annotations

PATH = b"/iisintegration"
EVENT = "shutdown"


def is_shutdown(method: str, path: bytes, event: str) -> bool:
    """`path` is without the application path. ANCM sends the event with a trailing space."""
    return method == "POST" and path.lower() == PATH and event.strip(" \t").lower() == EVENT
