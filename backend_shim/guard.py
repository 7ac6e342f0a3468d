"""Which guard an application gets."""

from __future__ import annotations

from backend_shim.asgi import AsgiGuard
from backend_shim.wsgi import WsgiGuard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from backend_shim.pairing import Pairing


def guard(app: Any, pairing: Pairing) -> Any:
    """`app` behind the guard of its kind; itself when it has one."""
    if isinstance(app, (WsgiGuard, AsgiGuard)):
        return app
    return AsgiGuard(app, pairing) if is_asgi(app) else WsgiGuard(app, pairing)


def wsgi_guard(app: Any, pairing: Pairing) -> Any:
    """The same where a server can serve nothing but WSGI."""
    return app if isinstance(app, WsgiGuard) else WsgiGuard(app, pairing)


def is_asgi(app: Any) -> bool:
    """A coroutine function, or something called with three arguments (WSGI: two)."""
    import inspect  # slow to load: only where an application is of an unknown kind

    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None)):  # noqa: B004
        return True
    try:
        inspect.signature(app).bind(None, None)
    except TypeError:  # not callable with two arguments
        return True
    except ValueError:  # a C function without a signature
        return False
    return False
