"""The guard of an RSGI application (granian's own interface). Its scope cannot be changed: the app sees what came."""

from __future__ import annotations

from backend_shim.identity import KEY_LABEL, Unverified, visitor_of
from backend_shim.mount import mounted
from backend_shim.pairing import EVENT_HEADER, IDENTITY_HEADER, REQUEST_ID_HEADER, TOKEN_HEADER, spelled
from backend_shim.processes import stop_app
from backend_shim.refusal import log_refused
from backend_shim.shutdown import is_shutdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from backend_shim.pairing import Pairing


class RsgiGuard:
    """Token first; 400 and nothing else without it. A WebSocket handshake is closed with that status."""

    def __init__(self, app: Any, pairing: Pairing) -> None:
        self.app = getattr(app, "__rsgi__", app)
        self.pairing = pairing
        self.base = pairing.base.encode("utf-8", "surrogateescape")
        self.identity_key = pairing.key(KEY_LABEL)
        for name in ("__rsgi_init__", "__rsgi_del__"):
            if hasattr(app, name):
                setattr(self, name, getattr(app, name))

    async def __rsgi__(self, scope: Any, protocol: Any) -> Any:
        fields = [(spelled(name), value) for name, value in scope.headers.items()]
        is_http = scope.proto == "http"
        asked = scope.method if is_http else scope.proto, scope.path
        if not self.pairing.admits([value for name, value in fields if name == TOKEN_HEADER]):
            log_refused(*asked)
            return protocol.response_empty(400, []) if is_http else protocol.close(400)
        try:
            visitor_of(
                _values(fields, IDENTITY_HEADER), self.identity_key, _values(fields, REQUEST_ID_HEADER)
            )
        except Unverified as why:
            log_refused(*asked, f"with an identity that cannot be believed ({why})")
            return protocol.response_empty(400, []) if is_http else protocol.close(400)
        path = scope.path.encode("utf-8", "surrogatepass")
        event = "".join(value for name, value in fields if name == EVENT_HEADER)
        if is_http and is_shutdown(scope.method, path[mounted(self.base, path) :], event):
            stop_app(self.pairing.pid)
            return protocol.response_empty(202, [])
        return await self.app(scope, protocol)


def _values(fields: Any, wanted: str) -> list[bytes]:
    return [value.encode("latin-1", "replace") for name, value in fields if name == wanted]
