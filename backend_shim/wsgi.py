"""The guard of a WSGI application (PEP 3333)."""

from __future__ import annotations

from backend_shim.caller import Caller
from backend_shim.certificate import set_in_environ
from backend_shim.identity import KEY_LABEL, Unverified, Visitor, visitor_of
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
    from typing import Any, Callable, Dict, Iterable, Sequence

    from backend_shim.pairing import Pairing

    Environ = Dict[str, Any]
    App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class WsgiGuard:
    """Token first; then the app sees the request as if the front were not there."""

    def __init__(self, app: App, pairing: Pairing) -> None:
        self.app = app
        self.pairing = pairing
        self.base = pairing.base.encode("utf-8", "surrogateescape")
        self.identity_key = pairing.key(KEY_LABEL)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get(PAIRED) is SEAL:
            return self.app(environ, start_response)
        asked = environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", "")
        ours = _take_headers(environ)
        if not self.pairing.admits(ours.get(TOKEN_HEADER, ())):
            log_refused(*asked)
            return _empty(start_response, "400 Bad Request")
        try:
            visitor = self._visitor(ours.get(IDENTITY_HEADER, ()), environ)
        except Unverified as why:
            log_refused(*asked, f"with an identity that cannot be believed ({why})")
            return _empty(start_response, "400 Bad Request")
        environ[PAIRED] = SEAL
        set_visitor(environ, visitor)
        self._mount(environ)
        _set_caller(environ)
        set_in_environ(environ)
        path = environ.get("PATH_INFO", "").encode("latin-1")
        event = "".join(ours.get(EVENT_HEADER, ()))
        if is_shutdown(environ.get("REQUEST_METHOD", ""), path, event):
            stop_app(self.pairing.pid)
            return _empty(start_response, "202 Accepted")
        return self.app(environ, start_response)

    def _visitor(self, fields: Sequence[str], environ: Environ) -> Visitor | None:
        request_id = environ.get("HTTP_X_REQUEST_ID", "").encode("latin-1", "replace")
        raw = [field.encode("latin-1", "replace") for field in fields]
        return visitor_of(raw, self.identity_key, [request_id])

    def _mount(self, environ: Environ) -> None:
        script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
        if script and script.encode("latin-1").lower() == self.base.lower():
            return  # the server was told the same path by its own settings
        size = mounted(self.base, path.encode("latin-1"))
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = script + path[:size], path[size:]


def _take_headers(environ: Environ) -> dict[str, list[str]]:
    """Removes what is between the front and us, and returns it; removes whatever else says who the visitor is."""
    ours: dict[str, list[str]] = {}
    for key in [key for key in environ if key[:5] == "HTTP_"]:
        name = spelled(key[5:])
        if name == USER_HEADER:
            del environ[key]
        elif name.startswith(HEADER_PREFIX) and name not in FOR_THE_APP:
            ours.setdefault(name, []).append(environ.pop(key))
    return ours


def set_visitor(environ: Environ, visitor: Visitor | None) -> None:
    for key in ("REMOTE_USER", "AUTH_TYPE", CREDENTIAL_CACHE):  # wsgiref puts os.environ in
        environ.pop(key, None)
    if visitor is None:
        return
    environ[IDENTITY] = visitor
    environ["REMOTE_USER"], environ["AUTH_TYPE"] = visitor.user, visitor.scheme
    environ["HTTP_REMOTE_USER"] = visitor.user.encode("utf-8").decode("latin-1")  # as a server would
    if visitor.credentials:
        environ[CREDENTIALS] = environ[CREDENTIAL_CACHE] = visitor.credentials


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
