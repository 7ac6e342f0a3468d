"""The one line an app's log gets for a request that did not come through the front."""

from __future__ import annotations

GUARD_QUESTION = "/iisintegration"
LONGEST = 200  # characters of a path in the log


def log_refused(method: str, path: str) -> None:
    """Neither query nor fields: they may hold secrets. `%r` keeps the line one line.

    The front itself asks `GET …/iisintegration` without the token when an app is ready, to see it refused: that is
    no event.
    """
    if method == "GET" and path.lower().endswith(GUARD_QUESTION):
        return
    import logging  # most apps are never asked past the front; those that do not log need not load it at their start

    logging.getLogger("portico").warning(
        "refused without the pairing token: %r %r", method[:LONGEST], path[:LONGEST]
    )
