"""A request body that a module has asked for: read whole, held, and sent on with a length."""

from __future__ import annotations

from proxy.body import Truncated
from proxy.exchange import Exchange, bad_body, too_large
from proxy.failures import Cause, Failure, Side, Stage
from proxy.headers import Fields
from proxy.pace import Pace, TooSlow
from proxy.peer import Framing
from proxy.streams import StreamClosed, TimedOut
from proxy.strict import Malformed


class HeldBody:
    """Bytes that are here, as a body to be read."""

    __slots__ = ("_data", "done", "trailers")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.done = not data
        self.trailers: Fields = []

    def read(self, timeout: float | None) -> bytes:
        data, self._data, self.done = self._data, b"", True
        return data

    def at_hand(self) -> bytes:
        return self.read(0)


def hold_body(exchange: Exchange, limit: int) -> bytes:
    """The whole body of a request that has not been sent on yet, once; at most `limit` bytes, else Failure (413)."""
    request = exchange.request
    if request.framing is Framing.NONE:
        return b""
    if request.framing is Framing.LENGTH and request.length > limit:
        raise too_large(limit)
    if request.expects_continue:
        exchange.client.send(b"HTTP/1.1 100 Continue\r\n\r\n", exchange.front.header_timeout)
        request.expects_continue = False
        request.fields = [pair for pair in request.fields if pair[0].lower() != b"expect"]
        request.lines = b""
    data = _read(exchange, limit)
    request.framing, request.length = Framing.LENGTH, len(data)
    exchange.body = HeldBody(data)
    return data


def _read(exchange: Exchange, limit: int) -> bytes:
    held = bytearray()
    pace = Pace(exchange.front.min_upload_rate, exchange.client.now)
    try:
        while not exchange.body.done:
            held += pace.read(exchange.body.read, exchange.front.header_timeout)
            if len(held) > limit:
                raise too_large(limit)
    except Malformed as error:
        raise bad_body(error) from None
    except TooSlow:
        raise Failure(
            Cause.SLOW_BODY, Stage.REQUEST_BODY, Side.CLIENT, "slower than min_upload_rate"
        ) from None
    except TimedOut:
        raise Failure(Cause.SLOW_BODY, Stage.REQUEST_BODY, Side.CLIENT, "silent in the body") from None
    except (Truncated, StreamClosed, OSError) as error:
        exchange.client_left = True
        raise Failure(Cause.CLIENT_GONE, Stage.REQUEST_BODY, Side.CLIENT, str(error)) from None
    return bytes(held)
