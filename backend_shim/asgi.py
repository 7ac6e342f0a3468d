"""The guard of an ASGI 3 application: HTTP, WebSocket and lifespan scopes."""

from __future__ import annotations

from backend_shim.caller import Caller
from backend_shim.mount import mounted
from backend_shim.pairing import EVENT_HEADER, FOR_THE_APP, HEADER_PREFIX, PAIRED, SEAL, TOKEN_HEADER, spelled
from backend_shim.processes import stop_app
from backend_shim.refusal import log_refused
from backend_shim.shutdown import is_shutdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Awaitable, Callable, Dict, Sequence

    from backend_shim.pairing import Pairing

    Scope = Dict[str, Any]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[Any]]


class AsgiGuard:
    """Token first; then the app sees the connection as if the front were not there."""

    def __init__(self, app: App, pairing: Pairing) -> None:
        self.app = app
        self.pairing = pairing
        self.base = pairing.base.encode("utf-8", "surrogateescape")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "lifespan" or scope.get(PAIRED) is SEAL:
            return await self.app(scope, receive, send)
        headers, tokens, event = _sort_headers(scope["headers"])
        if not self.pairing.admits(tokens):
            log_refused(scope.get("method") or scope["type"], scope.get("path") or "")
            return await _refuse(scope, receive, send)
        scope = dict(scope, headers=headers)
        scope[PAIRED] = SEAL
        path = self._mount(scope)
        _set_caller(scope)
        if scope["type"] == "http" and is_shutdown(scope["method"], path, event):
            stop_app(self.pairing.pid)
            return await _respond(send, "http.response", 202)
        return await self.app(scope, receive, send)

    def _mount(self, scope: Scope) -> bytes:
        """Sets `root_path`; `path` stays whole, as ASGI has it. Returns the path below the application path."""
        root: str = scope.get("root_path", "")
        path: str = scope["path"]
        below = path[len(root) :] if path.startswith(root) else path
        raw = below.encode("utf-8", "surrogatepass")
        size = mounted(self.base, raw)
        if not size:
            return raw
        prefix = raw[:size].decode("utf-8", "surrogatepass")
        if root.lower() == prefix.lower():
            # The server put its --root-path, which is the same, in front of a path that begins with it already.
            scope["path"] = below
            if scope.get("raw_path"):
                scope["raw_path"] = scope["raw_path"][len(root.encode("utf-8", "surrogatepass")) :]
            scope["root_path"] = prefix
        else:
            scope["root_path"] = root + prefix
        return raw[size:]


def _sort_headers(headers: Any) -> tuple[list[tuple[bytes, bytes]], list[bytes], str]:
    """What the app may see, the token fields, the event."""
    kept, tokens, event = [], [], ""
    for name, value in headers:
        known = spelled(name.decode("latin-1"))
        if not known.startswith(HEADER_PREFIX) or (known in FOR_THE_APP and b"_" not in name):
            kept.append((name, value))
        elif known == TOKEN_HEADER:
            tokens.append(value)
        elif known == EVENT_HEADER:
            event = value.decode("latin-1")
    return kept, tokens, event


def _set_caller(scope: Scope) -> None:
    fields = {
        name.lower(): value.decode("latin-1") for name, value in scope["headers"]
    }  # the last line counts
    caller = Caller(fields.get(b"x-forwarded-for", ""), fields.get(b"x-forwarded-proto", ""))
    if caller.host:
        scope["client"] = (caller.host, caller.port)
    if caller.scheme:
        scope["scheme"] = (
            caller.scheme.replace("http", "ws") if scope["type"] == "websocket" else caller.scheme
        )


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        return await _respond(send, "http.response", 400)
    if scope["type"] != "websocket":
        raise RuntimeError(
            f"a connection of the unknown type {scope['type']!r} came without the pairing token"
        )
    await receive()  # websocket.connect
    if "websocket.http.response" in (scope.get("extensions") or {}):
        # The handshake is over and so is its connection; HTTP/2 has streams instead (RFC 8441).
        ends = [(b"connection", b"close")] if scope.get("http_version", "1.1").startswith("1.") else []
        return await _respond(send, "websocket.http.response", 400, ends)
    return await send({"type": "websocket.close"})  # the server makes a 403 of it


async def _respond(send: Send, kind: str, status: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await send({"type": kind + ".start", "status": status, "headers": [(b"content-length", b"0"), *headers]})
    await send({"type": kind + ".body", "body": b""})
