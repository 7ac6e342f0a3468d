"""The one line an app's log gets for a request that did not come through the front."""

from __future__ import annotations

LONGEST = 200  # characters of a path in the log
NO_TOKEN = "without the pairing token"


def log_refused(method: str, path: str, why: str = NO_TOKEN) -> None:
    """Neither query nor fields: they may hold secrets. `%r` keeps the line one line."""
    if why is NO_TOKEN and method == "GET" and path.lower().endswith("/iisintegration"):
        return  # asked by the front itself, of an app that is ready, to see it refused
    import logging  # an app that does not log need not load it at its start

    logging.getLogger("portico").warning("refused %s: %r %r", why, method[:LONGEST], path[:LONGEST])
