"""Reason phrases of statuses (RFC 9110 15)."""

from __future__ import annotations

from http import HTTPStatus

# RFC 9110 15.5; `http` before Python 3.13 has those of older RFCs.
_RENAMED = {
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}


def standard_reason(status: int) -> bytes:
    """b"" for a status that this Python does not know: the phrase may be empty (RFC 9112 4)."""
    if (phrase := _RENAMED.get(status)) is not None:
        return phrase
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
