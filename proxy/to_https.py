"""What keeps visitors on https://: the redirect of those who came without, and Strict-Transport-Security (RFC 6797)."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.exchange import Exchange
from proxy.failures import Cause, Failure, Side, Stage
from proxy.headers import Caller
from proxy.modules.answers import Answer
from proxy.strict import split_target
from supervisor_conf.settings import FrontSettings, Listen

HTTPS_PORT = 443
_HSTS = b"Strict-Transport-Security"


@dataclass(frozen=True, slots=True)
class Redirect:
    """`[front.tls] redirect`, with the port that visitors are sent to."""

    status: int
    port: int

    @classmethod
    def of(cls, front: FrontSettings, bound: Iterable[tuple[Listen, socket.socket]]) -> Redirect | None:
        """`bound`: the addresses and their sockets, which know the port where the settings leave it to the kernel."""
        tls = front.tls
        if tls is None or not tls.redirect:
            return None
        ports = [listen.port or sock.getsockname()[1] for listen, sock in bound if listen.scheme == "https"]
        port = tls.redirect_port or next(iter(ports), 0)
        return cls(tls.redirect, port) if port else None

    def answer(self, exchange: Exchange) -> Answer | None:
        """None for a visitor whose way is encrypted already, as far as we or a trusted proxy can tell, and for one who
        came over a Unix socket. Raises Failure for a request that names no host."""
        if exchange.caller.scheme == "https" or not exchange.caller.address:
            return None
        host = _without_port(exchange.visitor.host or exchange.request.host)
        if not host:
            detail = "it came without TLS, and names no host to ask with it"
            raise Failure(Cause.BAD_REQUEST, Stage.CHOOSE, Side.CLIENT, detail)
        port = "" if self.port == HTTPS_PORT else f":{self.port}"
        location = f"https://{host}{port}{_origin_form(exchange.request.target)}"
        return Answer(self.status, [("Location", location)])


def _without_port(host: bytes) -> str:
    """`a.example:80` and `[::1]:80` to what stands before the port."""
    name, colon, port = host.decode("latin-1").rpartition(":")
    return name if colon and port.isdigit() else f"{name}{colon}{port}"


def _origin_form(target: bytes) -> str:
    """The path and query; `/` for OPTIONS of the whole server."""
    origin = target if target.startswith(b"/") else split_target(target).origin
    return origin.decode("latin-1") if origin.startswith(b"/") else "/"


def hsts_line(front: FrontSettings, caller: Caller) -> bytes:
    """The field as it is written, or b"": it means nothing over plain HTTP (RFC 6797 7.2)."""
    tls = front.tls
    if tls is None or not tls.hsts or caller.scheme != "https":
        return b""
    more = b"; includeSubDomains" * tls.hsts_subdomains + b"; preload" * tls.hsts_preload
    return b"%b: max-age=%d%b\r\n" % (_HSTS, tls.hsts, more)


def with_hsts(lines: bytes, front: FrontSettings, caller: Caller) -> bytes:
    """Field lines of an answer, with the field at their end, unless the app has its own."""
    line = hsts_line(front, caller)
    if not line or _is_said(lines.lower()):
        return lines
    return lines + line


def _is_said(lower: bytes) -> bool:
    name = _HSTS.lower() + b":"
    return lower.startswith(name) or b"\r\n" + name in lower
