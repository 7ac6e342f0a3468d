"""The guard of an ASGI 3 application: HTTP, WebSocket and lifespan scopes."""

from __future__ import annotations

from backend_shim.caller import Caller
from backend_shim.certificate import FIELD, extension_of
from backend_shim.identity import KEY_LABEL, Scopes, Unverified, Visitor, visitor_of
from backend_shim.mount import mounted
from backend_shim.pairing import (
    CREDENTIAL_CACHE,
    CREDENTIALS,
    EVENT_HEADER,
    FOR_THE_APP,
    HEADER_PREFIX,
    IDENTITY,
    IDENTITY_HEADER,
    PAIRED,
    REQUEST_ID_HEADER,
    SEAL,
    TOKEN_HEADER,
    USER_HEADER,
    spelled,
)
from backend_shim.processes import stop_app
from backend_shim.refusal import log_refused
from backend_shim.shutdown import is_shutdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Awaitable, Callable, Dict, List, Sequence, Tuple

    from backend_shim.pairing import Pairing

    Scope = Dict[str, Any]
    Headers = List[Tuple[bytes, bytes]]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[Any]]


class AsgiGuard:
    """Token first; then the app sees the connection as if the front were not there."""

    def __init__(self, app: App, pairing: Pairing) -> None:
        self.app = app
        self.pairing = pairing
        self.base = pairing.base.encode("utf-8", "surrogateescape")
        self.identity_key = pairing.key(KEY_LABEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "lifespan" or scope.get(PAIRED) is SEAL:
            return await self.app(scope, receive, send)
        asked = scope.get("method") or scope["type"], scope.get("path") or ""
        headers, ours = _sort_headers(scope["headers"])
        if not self.pairing.admits(ours.get(TOKEN_HEADER, ())):
            log_refused(*asked)
            return await _refuse(scope, receive, send)
        try:
            visitor = self._visitor(ours.get(IDENTITY_HEADER, ()), headers)
        except Unverified as why:
            log_refused(*asked, f"with an identity that cannot be believed ({why})")
            return await _refuse(scope, receive, send)
        scope = dict(scope, headers=headers)
        scope[PAIRED] = SEAL
        _set_visitor(scope, visitor or (Visitor() if self.pairing.knows_visitors else None))
        path = self._mount(scope)
        _set_caller(scope)
        if scope["type"] == "http" and is_shutdown(
            scope["method"], path, b"".join(ours.get(EVENT_HEADER, ())).decode("latin-1")
        ):
            stop_app(self.pairing.pid)
            return await _respond(send, "http.response", 202)
        return await self.app(scope, receive, send)

    def _visitor(self, fields: Sequence[bytes], headers: Headers) -> Visitor | None:
        name = REQUEST_ID_HEADER.encode("ascii")
        return visitor_of(fields, self.identity_key, [value for key, value in headers if key.lower() == name])

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


def _sort_headers(headers: Any) -> tuple[Headers, dict[str, list[bytes]]]:
    """What the app may see, and what is between the front and us. Gone is whatever else says who the visitor is."""
    kept: Headers = []
    ours: dict[str, list[bytes]] = {}
    for name, value in headers:
        known = spelled(name.decode("latin-1"))
        if known == USER_HEADER:
            continue
        if not known.startswith(HEADER_PREFIX) or (known in FOR_THE_APP and b"_" not in name):
            kept.append((name, value))
        else:
            ours.setdefault(known, []).append(value)
    return kept, ours


def _set_visitor(scope: Scope, visitor: Visitor | None) -> None:
    """Nothing where nobody looks who the visitors are: Channels takes a `user` that is there for its own."""
    if visitor is None:
        return
    scope["user"], scope["auth"] = visitor, Scopes(visitor)
    if not visitor.user:
        return
    scope[IDENTITY] = visitor
    # Django's RemoteUserMiddleware reads HTTP_REMOTE_USER where it is asynchronous.
    scope["headers"].append((USER_HEADER.encode("ascii"), visitor.user.encode("utf-8")))
    if visitor.credentials:
        scope[CREDENTIALS] = scope[CREDENTIAL_CACHE] = visitor.credentials


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
    if caller.scheme == "https":
        tls = extension_of(fields.get(FIELD, ""))
        scope["extensions"] = dict(scope.get("extensions") or {}, tls=tls)


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
