"""The pairing of an app with its front: what the environment says, and who is let in.

The only home of variable and header names. Imported at every interpreter start of the app: nothing heavy here.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOKEN_VARIABLE = "ASPNETCORE_TOKEN"
BASE_VARIABLE = "ASPNETCORE_APPL_PATH"
PORT_VARIABLE = "ASPNETCORE_PORT"
SOCKET_VARIABLE = "PORTICO_SOCKET"
LISTEN_FDS_VARIABLE = "LISTEN_FDS"
LISTEN_PID_VARIABLE = "LISTEN_PID"
PID_VARIABLE = "PORTICO_PID"
SCHEMES_VARIABLE = "PORTICO_AUTHENTICATION"  # how the front finds out who asks; empty where it does not
TAKEN_VARIABLE = "PORTICO_SHIM_TAKEN"  # set by the process whose server took the address: its pid

# Header names in the spelling of `spelled`. Whatever else begins with the prefix is nothing an app should see.
HEADER_PREFIX = "ms-aspnetcore"
TOKEN_HEADER = "ms-aspnetcore-token"
EVENT_HEADER = "ms-aspnetcore-event"
IDENTITY_HEADER = "ms-aspnetcore-identity"
REQUEST_ID_HEADER = "x-request-id"
USER_HEADER = "remote-user"  # what Django makes HTTP_REMOTE_USER of; our word alone
FOR_THE_APP = frozenset({"ms-aspnetcore-clientcert"})

HOST = "127.0.0.1"
FIRST_LISTEN_FD = 3  # sd_listen_fds(3)

# Keys in a WSGI environ or ASGI scope
IDENTITY = "portico.identity"
CREDENTIALS = "portico.credentials"
CREDENTIAL_CACHE = "KRB5CCNAME"  # as mod_auth_gssapi names it
PAIRED = "portico.paired"
SEAL = object()  # its value: known by identity, so that no variable or header can pretend


def spelled(name: str) -> str:
    """A header name as we compare it: CGI-like environments cannot tell `-` from `_`, so neither do we."""
    return name.lower().replace("_", "-")


class Address:
    """Where the front expects the app: a port of 127.0.0.1, the path of a Unix socket, or a descriptor."""

    __slots__ = ("fd", "path", "port")

    def __init__(self, port: int = 0, path: str = "", fd: int = -1) -> None:
        self.port = port
        self.path = path
        self.fd = fd

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Address | None:
        """None: no address, or a port that is no number between 1 and 65535."""
        port = environ.get(PORT_VARIABLE)
        if port:
            usable = port.isascii() and port.isdigit() and 0 < int(port) < 65536
            return cls(port=int(port)) if usable else None
        if environ.get(SOCKET_VARIABLE):
            return cls(path=environ[SOCKET_VARIABLE])
        if environ.get(LISTEN_FDS_VARIABLE) and environ.get(LISTEN_PID_VARIABLE):
            return cls(fd=FIRST_LISTEN_FD)
        return None


class Pairing:
    """What the front and this app agreed on at the start. `base` is the application path, "" for "/"."""

    __slots__ = ("_token", "address", "base", "knows_visitors", "pid")

    def __init__(
        self, token: str, base: str, address: Address | None, pid: int = 0, knows_visitors: bool = False
    ) -> None:
        self._token = token.encode("utf-8", "surrogateescape")
        self.base = "/" + base.strip("/") if base.strip("/") else ""
        self.address = address
        self.pid = pid  # the process that the front started; 0: not told
        self.knows_visitors = knows_visitors  # the front has modules that find out who asks

    def __repr__(self) -> str:
        return f"Pairing(base={self.base or '/'!r})"

    @staticmethod
    def is_in(environ: Mapping[str, str]) -> bool:
        """Is there a token, an application path and at least one address? Without any of them we do nothing."""
        if not (environ.get(TOKEN_VARIABLE) and environ.get(BASE_VARIABLE)):
            return False
        descriptor = environ.get(LISTEN_FDS_VARIABLE) and environ.get(LISTEN_PID_VARIABLE)
        return bool(environ.get(PORT_VARIABLE) or environ.get(SOCKET_VARIABLE) or descriptor)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Pairing | None:
        """None outside Portico."""
        if not cls.is_in(environ):
            return None
        pid = environ.get(PID_VARIABLE, "")
        return cls(
            environ[TOKEN_VARIABLE],
            environ[BASE_VARIABLE],
            Address.from_environ(environ),
            int(pid) if pid.isascii() and pid.isdigit() else 0,
            bool(environ.get(SCHEMES_VARIABLE)),
        )

    def key(self, label: bytes) -> bytes:
        """A key for one purpose: who learns it knows neither the token nor another purpose's key."""
        from hmac import digest  # see `admits`

        return digest(self._token, label, "sha256")

    def admits(self, tokens: Iterable[bytes | str]) -> bool:
        """Exactly one token header, equal to ours; compared in constant time."""
        from hmac import compare_digest  # not above: loads OpenSSL at every interpreter start

        given = [
            token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token for token in tokens
        ]
        return len(given) == 1 and compare_digest(given[0], self._token)
