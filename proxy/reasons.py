"""Reason phrases of statuses (RFC 9110 15)."""

from __future__ import annotations

from http import HTTPStatus


def standard_reason(status: int) -> bytes:
    """As this Python's `http` has it; b"" for a status that it does not know."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
