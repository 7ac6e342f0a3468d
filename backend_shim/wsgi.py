"""The guard of a WSGI application (PEP 3333)."""

from __future__ import annotations

from backend_shim.caller import Caller
from backend_shim.mount import mounted
from backend_shim.pairing import EVENT_HEADER, FOR_THE_APP, HEADER_PREFIX, PAIRED, SEAL, TOKEN_HEADER, spelled
from backend_shim.processes import stop_app
from backend_shim.refusal import log_refused
from backend_shim.shutdown import is_shutdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable

    from backend_shim.pairing import Pairing

    Environ = Dict[str, Any]
    App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class WsgiGuard:
    """Token first; then the app sees the request as if the front were not there."""

    def __init__(self, app: App, pairing: Pairing) -> None:
        self.app = app
        self.pairing = pairing
        self.base = pairing.base.encode("utf-8", "surrogateescape")

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get(PAIRED) is SEAL:
            return self.app(environ, start_response)
        tokens, event = _take_headers(environ)
        if not self.pairing.admits(tokens):
            log_refused(environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", ""))
            return _empty(start_response, "400 Bad Request")
        environ[PAIRED] = SEAL
        self._mount(environ)
        _set_caller(environ)
        path = environ.get("PATH_INFO", "").encode("latin-1")
        if is_shutdown(environ.get("REQUEST_METHOD", ""), path, event):
            stop_app(self.pairing.pid)
            return _empty(start_response, "202 Accepted")
        return self.app(environ, start_response)

    def _mount(self, environ: Environ) -> None:
        script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
        if script and script.encode("latin-1").lower() == self.base.lower():
            return  # the server was told the same path by its own settings
        size = mounted(self.base, path.encode("latin-1"))
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = script + path[:size], path[size:]


def _take_headers(environ: Environ) -> tuple[list[str], str]:
    """Removes what is between the front and us; returns the token fields and the event."""
    tokens, event = [], ""
    for key in [key for key in environ if key[:5] == "HTTP_"]:
        name = spelled(key[5:])
        if not name.startswith(HEADER_PREFIX) or name in FOR_THE_APP:
            continue
        value = environ.pop(key)
        if name == TOKEN_HEADER:
            tokens.append(value)
        elif name == EVENT_HEADER:
            event = value
    return tokens, event


def _set_caller(environ: Environ) -> None:
    caller = Caller(environ.get("HTTP_X_FORWARDED_FOR", ""), environ.get("HTTP_X_FORWARDED_PROTO", ""))
    if caller.scheme:
        environ["wsgi.url_scheme"] = caller.scheme
    if caller.host:
        environ["REMOTE_ADDR"] = caller.host
        environ.pop("REMOTE_HOST", None)  # this and the port were the front's
        environ.pop("REMOTE_PORT", None)
        if caller.port:
            environ["REMOTE_PORT"] = str(caller.port)


def _empty(start_response: Callable[..., Any], status: str) -> list[bytes]:
    start_response(status, [("Content-Length", "0")])
    return []
