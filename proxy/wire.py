"""What heads and pieces of bodies look like on the wire, in both directions (RFC 9112)."""

from __future__ import annotations

from typing import TypeGuard

from proxy.body import Body, LengthBody
from proxy.chunked import framed
from proxy.exchange import Exchange
from proxy.headers import Fields, own_lines, request_fields, response_fields
from proxy.peer import Framing, Request, Response
from proxy.reasons import standard_reason
from proxy.splice import WORTH_IT
from proxy.strict import split_target
from proxy.to_https import with_hsts

#: Framings under which a body's length is known only at its end.
NO_LENGTH = (Framing.CHUNKED, Framing.UNTIL_CLOSE)


def request_head(request: Request, exchange: Exchange, token: bytes) -> bytes:
    """The head as the app gets it: the target byte for byte, the fields that may cross, our own."""
    target = request.target
    if not target.startswith(b"/"):
        target = _origin_form(request)
    if request.lines and not exchange.via:  # the quick reader has written them
        visitor = exchange.visitor
        host = visitor.host or request.host
        lines = request.lines
        own = own_lines(visitor.lines, host, exchange.request_id, token, visitor.forwarded)
    else:
        lines, own = _lines_up(request, exchange, token), b""
    if exchange.identity is not None:
        own += exchange.lines_of_visitor(token)
    framing = b"" if request.framing is Framing.NONE else _framing_line(request)
    return b"".join((request.method, b" ", target, b" HTTP/1.1\r\n", lines, own, framing, b"\r\n"))


def _framing_line(request: Request) -> bytes:
    if request.framing is Framing.CHUNKED:
        return b"Transfer-Encoding: chunked\r\n"
    return b"Content-Length: %d\r\n" % request.length


def _origin_form(request: Request) -> bytes:
    """What an origin server is asked for (RFC 9112 3.2.1); OPTIONS of a whole server is `*` (3.2.4)."""
    target = split_target(request.target)
    whole_server = request.method == b"OPTIONS" and request.target.endswith(target.authority)
    return b"*" if whole_server and target.authority else target.origin


def _lines_up(request: Request, exchange: Exchange, token: bytes) -> bytes:
    return field_lines(
        request_fields(
            request.fields,
            caller=exchange.caller,
            host=request.host,
            token=token,
            request_id=exchange.request_id,
            upgrade=request.upgrade or None,
            forwarded_for_port=exchange.front.forwarded_for_port,
            trusted=exchange.trusted,
            forwarded_host=exchange.visitor.host,
            forwarded=exchange.visitor.forwarded,
            via=exchange.via,
            http_version=request.version,
        )
    )


def response_head(response: Response, exchange: Exchange, chunked: bool) -> bytes:
    """The head as the client gets it; written once for all answers that begin alike, where nothing depends on who
    asks."""
    same = exchange.keep_alive and exchange.request.version == b"1.1" and not (exchange.via or chunked)
    same = same and exchange.front.tls is None  # HSTS is for those who came by TLS
    head = response.head if same else b""
    if not head:
        head = _written(response, exchange, chunked)
        if same:
            response.head = head
    return head[:-2] + exchange.late + b"\r\n" if exchange.late else head


def _written(response: Response, exchange: Exchange, chunked: bool) -> bytes:
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    lines = _lines_down(response, exchange)
    if exchange.front.tls is not None:
        lines = with_hsts(lines, exchange.front, exchange.caller)
    return status_line(response) + lines + framing + connection_line(response, exchange) + b"\r\n"


def _lines_down(response: Response, exchange: Exchange) -> bytes:
    bare = response.status in (101, 204)
    if response.lines and not (exchange.via or bare):
        return response.lines
    upgrade = upgrade_value(response.fields) if response.status in (101, 426) else None
    fields = response_fields(
        response.fields, via=exchange.via, http_version=response.version, upgrade=upgrade
    )
    return field_lines(without_length(fields) if bare else fields)


def connection_line(response: Response, exchange: Exchange) -> bytes:
    """Whether the client's connection lives on (RFC 9112 9.3); after 101 the question is another protocol's."""
    if response.status == 101:
        return b""
    if not exchange.keep_alive:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if exchange.request.version == b"1.0" else b""


def status_line(response: Response) -> bytes:
    """RFC 9112 section 4; our own version, the app's reason phrase or the standard's."""
    return b"HTTP/1.1 %d %b\r\n" % (response.status, response.reason or standard_reason(response.status))


def without_length(fields: Fields) -> Fields:
    """RFC 9110 8.6: no Content-Length in 1xx and 204; a client that believes it waits for a body, or takes the
    next response for one."""
    return [pair for pair in fields if pair[0].lower() != b"content-length"]


def field_lines(fields: Fields) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def upgrade_value(fields: Fields) -> bytes | None:
    """The protocol an app switches to, or asks for."""
    return next((value for name, value in fields if name.lower() == b"upgrade"), None)


def is_offered(offered: bytes, fields: Fields) -> bool:
    """Whether a 101 switches to what the client asked for, and to nothing else (RFC 9110 7.8)."""
    said = b",".join(value for name, value in fields if name.lower() == b"upgrade")
    return bool(said) and _protocols(said) <= _protocols(offered)


def _protocols(value: bytes) -> set[bytes]:
    return {protocol.strip(b" \t").lower() for protocol in value.split(b",")}


def may_chunk(request: Request, response: Response) -> bool:
    """Whether the client gets the chunked coding: a length nobody knows, and HTTP/1.1 (RFC 9112 6.1)."""
    return request.version == b"1.1" and response.framing in NO_LENGTH


def frame(chunked: bool, body: Body, piece: bytes) -> bytes:
    """A piece of `body` in the framing that its receiver gets; the end too, once it has been seen."""
    return framed(piece, body.trailers if body.done else None) if chunked else piece


def is_worth_splicing(body: Body) -> TypeGuard[LengthBody]:
    """A body of which the kernel can move what is left by itself, and enough of it."""
    return isinstance(body, LengthBody) and body.left >= WORTH_IT
