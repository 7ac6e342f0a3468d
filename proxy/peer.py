"""The judge: a head is what h11 says it is, after the strict reader has let it pass.

Every message comes in here: bytes are collected to the end of the head, `strict.py` refuses what is ambiguous, h11
decides what the rest means. What comes out says how the body is framed, once; nothing after this decides again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import h11

from proxy.headers import Fields, expects_continue, upgrade_of, wants_close
from proxy.streams import Stream, TimedOut
from proxy.strict import (
    TCHAR,
    Limits,
    Malformed,
    check_request_head,
    check_response_head,
    split_target,
)

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
_FIRST_BYTE = re.compile(rb"[" + TCHAR + rb"]")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00")
#: h11 keeps what it has not understood yet; heads are bounded before it sees them (Limits).
_H11_BUFFER = 1 << 20


class Framing(Enum):
    """How a body is delimited (RFC 9112 section 6)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"


@dataclass(slots=True)
class Request:
    """A request head. `fields`: names as received, values without surrounding white space, in order."""

    method: bytes
    target: bytes
    version: bytes  # b"1.0" or b"1.1"
    fields: Fields
    framing: Framing
    length: int  # of the body; 0 unless framing is LENGTH
    keep_alive: bool
    judge: h11.Connection | None = None  # goes on to read a chunked body
    host: bytes = b""
    upgrade: bytes = b""
    expects_continue: bool = False
    accept: bytes = b""
    lines: bytes = b""  # from the quick reader: the fields that cross, as they are written


@dataclass(slots=True)
class Response:
    """A response head, of a final or of an interim (1xx) response.

    `length` is what Content-Length says, also where there is no body (HEAD, 304); -1 without one.
    """

    status: int
    reason: bytes
    version: bytes
    fields: Fields
    framing: Framing
    length: int
    keep_alive: bool
    judge: h11.Connection | None = None
    lines: bytes = b""
    head: bytes = b""  # as it went to a client before, see `wire.response_head`
    edited: tuple[object, Response] | None = None  # what modules made of it before, see `Responders`


class HeadTooLong(Malformed):
    """No end of the head within the limit."""


def read_request_head(stream: Stream, limits: Limits, timeout: float | None, first: bytes = b"") -> bytes:
    """As `read_head`, for a request: empty lines before it are ignored (RFC 9112 2.2), and what can never become a
    good head is refused before its end, or its time, has come. Raises Malformed too."""
    return _read_head(stream, limits, timeout, first, _begun_request)


def read_head(stream: Stream, limits: Limits, timeout: float | None, first: bytes = b"") -> bytes:
    """The bytes of one head, with its final empty line; what came after it is put back into the stream.

    `timeout` is for the whole head, not for a silence: a peer that sends a byte now and then gets no more
    (slowloris). b"" if the peer ended before a first byte. Raises TimedOut, HeadTooLong, EOFError in the middle.
    """
    return _read_head(stream, limits, timeout, first, _begun_response)


Begun = Callable[[bytes, int, Limits], bytes]
"""Looks at a head that has no end yet, `looked_at` bytes of it for the second time; returns it without what is
ignored before it. Raises Malformed."""


def _read_head(stream: Stream, limits: Limits, timeout: float | None, data: bytes, begun: Begun) -> bytes:
    give_up = None if timeout is None else stream.now() + timeout
    looked_at = 0
    while True:
        end = _END_OF_HEAD.search(data, max(looked_at - 2, 0))
        if end is not None and end.end() <= limits.max_head and not data.startswith(b"\r\n"):
            if end.end() < len(data):
                stream.unread(data[end.end() :])
                return data[: end.end()]
            return data
        shorter = begun(data, looked_at, limits)
        looked_at = 0 if shorter is not data else len(data)
        if shorter and shorter is not data:
            data = shorter
            continue
        left = None if give_up is None else give_up - stream.now()
        if left is not None and left <= 0:
            raise TimedOut
        more = stream.recv(left)
        if not more:
            if shorter:
                raise EOFError("the connection ended in the middle of a head")
            return b""
        data = shorter + more if shorter else more


def _begun_request(data: bytes, looked_at: int, limits: Limits) -> bytes:
    empty = _EMPTY_LINES.match(data)
    if empty is not None and empty.end():
        return data[empty.end() :]
    if data == b"\r":  # perhaps half an empty line
        return data
    if data and not _FIRST_BYTE.match(data):
        raise Malformed(400, "a first byte that begins no method")
    if _BARE_LINE_END.search(data, max(looked_at - 1, 0)):
        raise Malformed(400, "a bare CR, LF or NUL in the head")
    if len(data) > limits.max_head:
        line_ended = b"\n" in data[: limits.max_head]
        raise HeadTooLong(431 if line_ended else 414, "the head is too long")
    return data


def _begun_response(data: bytes, looked_at: int, limits: Limits) -> bytes:
    if len(data) > limits.max_head:
        raise HeadTooLong(502, "the head is too long")
    if data.startswith(b"\r\n"):
        raise Malformed(502, "an empty line where the status line must be")
    return data


def read_request(head: bytes, limits: Limits) -> Request:
    """What a request head means. Raises Malformed with the status to answer."""
    check_request_head(head, limits)
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=_H11_BUFFER)
    event = _first_event(judge, head)
    assert isinstance(event, h11.Request)
    version, fields = event.http_version, list(event.headers.raw_items())
    request = Request(
        method=event.method,
        target=event.target,
        version=version,
        fields=fields,
        framing=Framing.NONE,
        length=0,
        keep_alive=not wants_close(version, fields),
        upgrade=upgrade_of(version, fields) or b"",
        expects_continue=expects_continue(version, fields),
    )
    for name, value in event.headers:
        if name == b"content-length":
            request.length = int(value)
            request.framing = Framing.LENGTH
        elif name == b"transfer-encoding":
            request.framing = Framing.CHUNKED
        elif name == b"host":
            request.host = value
        elif name == b"accept":
            request.accept = value if not request.accept else request.accept + b", " + value
    if not request.host:
        request.host = split_target(event.target).authority  # RFC 9112 3.2.2, of a client that sends no Host
    return request


def read_response(head: bytes, request: Request) -> Response:
    """What a response head means as the answer to `request` (RFC 9112 6.3). Raises Malformed."""
    check_response_head(head)
    judge = _waiting_client(request)
    event = _first_event(judge, head)
    assert isinstance(event, (h11.Response, h11.InformationalResponse))
    version, fields = event.http_version, list(event.headers.raw_items())
    response = Response(
        status=event.status_code,
        reason=event.reason,
        version=version,
        fields=fields,
        framing=Framing.UNTIL_CLOSE,
        length=-1,
        keep_alive=not wants_close(version, fields),
    )
    for name, value in event.headers:
        if name == b"content-length":
            response.length = int(value)
            response.framing = Framing.LENGTH
        elif name == b"transfer-encoding":
            response.framing = Framing.CHUNKED
    if request.method == b"HEAD" or response.status < 200 or response.status in (204, 304):
        response.framing = Framing.NONE
    if response.framing is Framing.UNTIL_CLOSE:
        response.keep_alive = False
    return response


def _waiting_client(request: Request) -> h11.Connection:
    """An h11 client that has sent such a request and waits for its response.

    Only the method and an offered upgrade decide how a response is read (RFC 9112 6.3, RFC 9110 7.8).
    """
    headers = [(b"Host", b"app")]
    if request.upgrade:
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade)]
    judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=_H11_BUFFER)
    judge.send(h11.Request(method=request.method, target=b"/", headers=headers))
    judge.send(h11.EndOfMessage())
    return judge


def _first_event(judge: h11.Connection, head: bytes) -> object:
    try:
        judge.receive_data(head)
        event = judge.next_event()
    except h11.RemoteProtocolError as error:
        raise Malformed(error.error_status_hint, str(error)) from None
    if event is h11.NEED_DATA:
        raise Malformed(400, "the head is not complete")
    return event
