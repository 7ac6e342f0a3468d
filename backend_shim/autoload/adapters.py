"""What makes a WSGI environ of an ASGI scope, in servers and frameworks: the scope's visitor is the environ's too."""

from __future__ import annotations

from functools import wraps

from backend_shim.autoload.claim import Claim
from backend_shim.pairing import IDENTITY, PAIRED, SEAL
from backend_shim.wsgi import set_visitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def knowing(own: Callable[..., Any], position: int) -> Callable[..., Any]:
    """`own` makes an environ; its argument at this position is the scope."""

    @wraps(own)
    def build_environ(*args: Any, **kwargs: Any) -> Any:
        environ = own(*args, **kwargs)
        scope = args[position] if len(args) > position else kwargs["scope"]
        if scope.get(PAIRED) is SEAL:
            set_visitor(environ, scope.get(IDENTITY))
        return environ

    return build_environ


def function(name: str) -> Callable[[Any, Claim], None]:
    def patch(module: Any, claim: Claim) -> None:
        setattr(module, name, knowing(getattr(module, name), 0))

    return patch


def asgiref(module: Any, claim: Claim) -> None:
    cls = module.WsgiToAsgiInstance
    cls.build_environ = knowing(cls.build_environ, 1)


ADAPTERS: dict[str, Callable[[Any, Claim], None]] = {
    "a2wsgi.wsgi": function("build_environ"),
    "asgiref.wsgi": asgiref,
    "hypercorn.app_wrappers": function("_build_environ"),
    "starlette.middleware.wsgi": function("build_environ"),
    "uvicorn.middleware.wsgi": function("build_environ"),
}
