"""Answers that modules make, on the wire."""

from __future__ import annotations

import os
from collections.abc import Sequence

from proxy.editable import checked_field
from proxy.exchange import Exchange
from proxy.failures import Cause, Failure, Side, Stage
from proxy.headers import Fields
from proxy.modules.answers import Answer, FilePart
from proxy.own_head import dated, own_head
from proxy.responders import broken
from proxy.streams import StreamClosed, TimedOut

#: A file up to this size is read and sent with the head: one segment instead of two, one system call instead of three.
SMALL_FILE = 16 * 1024

#: RFC 9110 8.6, 15.3.5, 15.4.5: no body follows these.
_BODILESS = frozenset({204, 304})


def send_answer(exchange: Exchange, answer: Answer, timeout: float | None) -> None:
    """The head, and the body where there is one. Raises Failure."""
    exchange.keep_alive = exchange.keep_alive and exchange.body.done
    try:
        head = _head(exchange, answer)
        exchange.answered(answer.status)
        if exchange.request.method == b"HEAD" or answer.status in _BODILESS:
            exchange.client.send(head, timeout)
        else:
            _send_whole(exchange, answer, head, timeout)
    except (StreamClosed, OSError, TimedOut) as error:
        raise Failure(Cause.CLIENT_GONE, Stage.MODULES, Side.CLIENT, str(error)) from None
    except EOFError as error:
        raise Failure(Cause.MODULE_FAILED, Stage.MODULES, Side.FRONT, str(error)) from None
    finally:
        answer.close()


def _head(exchange: Exchange, answer: Answer) -> bytes:
    fields = dated(_encoded(exchange, answer.fields))
    if (visit := exchange.visit) is not None and visit.responders is not None:
        fields = visit.responders.fields(visit, answer.status, fields)
    sent = exchange.request.method != b"HEAD" and answer.status not in _BODILESS
    framed = answer.status not in _BODILESS or answer.length is not None
    return own_head(
        answer.status,
        fields,
        answer.content_length(sent=sent) if framed else None,
        request=exchange.request,
        keep_alive=exchange.keep_alive,
        front=exchange.front,
        caller=exchange.caller,
    )


def _send_whole(exchange: Exchange, answer: Answer, head: bytes, timeout: float | None) -> None:
    """What is small leaves with what comes before it."""
    client, held, before = exchange.client, head + answer.body, exchange.client.sent
    for part in answer.parts:
        if isinstance(part, bytes):
            held += part
        elif part.count <= SMALL_FILE:
            held += _read(part)
        else:
            client.send(held, timeout)
            client.send_file(part.file.fileno(), part.offset, part.count, timeout)
            held = b""
    if held:
        client.send(held, timeout)
    exchange.body_sent = client.sent - before - len(head)


def _read(part: FilePart) -> bytes:
    data = os.pread(part.file.fileno(), part.count, part.offset)
    if len(data) < part.count:
        raise EOFError("the file has become shorter")
    return data


def of_modules(exchange: Exchange, failure: Failure, fields: Fields) -> Fields:
    """The fields of an error page with those of the module that refused, as the other modules change them. What one of
    them would say wrongly is left out: the page tells of a failure already."""
    try:
        fields = fields + _encoded(exchange, failure.fields)
        if (visit := exchange.visit) is not None and visit.responders is not None:
            return visit.responders.fields(visit, failure.status, fields)
    except Failure as second:
        exchange.reason = f"{exchange.reason},{second.cause.value}"
    return fields


def _encoded(exchange: Exchange, fields: Sequence[tuple[str, str]]) -> Fields:
    """Raises Failure for a field that no answer may have."""
    try:
        return [checked_field(name, value) for name, value in fields]
    except (ValueError, TypeError, AttributeError) as error:  # no pairs, or not of text
        raise broken(exchange.visit.answerer if exchange.visit is not None else "") from error
