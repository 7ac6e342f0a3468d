"""Portico's half inside the app: `integrate` lets in only what came through the front.

    from backend_shim import integrate
    app = integrate(app)

Runs in any Python app that Portico starts, on Python 3.8 or newer, with the standard library alone. This module and
`pairing` are imported at every interpreter start of the app (see `autoload`), so they import nothing heavy.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    App = TypeVar("App")

__all__ = ["integrate"]


def integrate(app: App) -> App:
    """A WSGI or ASGI application that answers 400 to whatever does not carry the pairing token.

    Returns `app` itself outside Portico (token, application path or every address is missing from the environment).
    Applying it twice, or to an app that zero-code activation guards already, changes nothing.
    """
    from backend_shim.guard import guard
    from backend_shim.pairing import Pairing

    pairing = Pairing.from_environ()
    return app if pairing is None else guard(app, pairing)
