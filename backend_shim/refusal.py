"""The one line an app's log gets for a request that did not come through the front."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("portico")
LONGEST = 200  # characters of a path in the log


def log_refused(method: str, path: str) -> None:
    """Neither query nor fields: they may hold secrets. `%r` keeps the line one line."""
    LOGGER.warning("refused without the pairing token: %r %r", method[:LONGEST], path[:LONGEST])
