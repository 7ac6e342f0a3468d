"""The rest of a request body, on its way up while the answer may come down already."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import gevent

from proxy.body import Body, ChunkedBody, LengthBody, Truncated
from proxy.exchange import bad_body
from proxy.failures import Cause, Failure, Side, Stage
from proxy.pace import Pace, TooSlow
from proxy.peer import Framing
from proxy.splice import Pipe
from proxy.streams import StreamClosed, TimedOut
from proxy.strict import Malformed
from proxy.wire import frame, is_worth_splicing

if TYPE_CHECKING:
    from proxy.forward import Conversation

Paced = TypeVar("Paced", bytes, int)


class _Unwanted(Exception):
    """The app does not take more of the body: it may have answered without reading everything."""


class Upload:
    """The rest of a request body, on its way up in a greenlet of its own.

    The client's trouble closes the app's connection, which wakes who waits for the response; the app's trouble
    (it may have answered without reading everything) only ends the upload.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.done = False
        self.failure: Failure | None = None
        exchange = conversation.exchange
        self._pace = Pace(exchange.front.min_upload_rate, exchange.client.now, exchange.body_taken)
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if not self._greenlet.dead:
            self._greenlet.kill(block=True)

    def _run(self) -> None:
        with_app = self._conversation
        try:
            pipes = with_app.exchange.pipes
            if pipes is not None and is_worth_splicing(with_app.body):
                with pipes.borrowed() as pipe:
                    if pipe is not None:
                        self._splice_up(with_app.body, pipe)
                with_app.client.resume()
            elif with_app.exchange.quick is not None and isinstance(with_app.body, ChunkedBody):
                self._chunks_up(with_app.body)
            while not with_app.body.done:
                self._piece_up(with_app.body)
            self.done = True
        except _Unwanted:
            pass  # what the app has to say is read by who waits for it
        except Failure as failure:
            self.failure = failure
            with_app.app.close()

    def _piece_up(self, body: Body) -> None:
        chunked = self._conversation.request.framing is Framing.CHUNKED
        piece = self._from_client(body.read)
        self._conversation.exchange.count_body(len(piece))
        self._app_takes(frame(chunked, body, piece))

    def _chunks_up(self, body: ChunkedBody) -> None:
        """From chunks to chunks, as down."""
        while not body.done:
            self._conversation.exchange.count_body(self._from_client(body.read_chunks))
            self._app_takes(body.chunks)

    def _splice_up(self, body: LengthBody, pipe: Pipe) -> None:
        """The rest of a long body, moved by the kernel, after what was read ahead; its length has been judged with the
        head."""
        with_app = self._conversation
        while not body.done:
            if with_app.client.ahead():
                self._piece_up(body)
                continue
            moved = self._from_client(lambda timeout: body.read_into(pipe, timeout))
            with_app.exchange.count_body(moved)
            try:
                pipe.empty(with_app.app, with_app.timeout)
            except (StreamClosed, OSError, TimedOut) as error:
                raise _Unwanted from error
            with_app.exchange.moved = with_app.client.now()

    def _app_takes(self, data: bytes) -> None:
        with_app = self._conversation
        try:
            with_app.app.send(data, with_app.timeout)
        except (StreamClosed, OSError, TimedOut) as error:
            raise _Unwanted from error
        with_app.exchange.moved = with_app.client.now()

    def _from_client(self, read: Callable[[float | None], Paced]) -> Paced:
        """What `read` gets of the request body, and what it means if that is nothing.

        Once an answer has begun, client and app may be in a conversation, and only silence counts.
        """
        exchange, timeout = self._conversation.exchange, self._conversation.timeout
        while True:
            try:
                if exchange.status or self._waits_for_100():
                    return read(timeout)
                return self._pace.read(read, timeout)
            except TooSlow:
                if exchange.status:
                    continue
                raise _slow_body("slower than min_upload_rate") from None
            except TimedOut:
                if exchange.moved_within(timeout):
                    continue
                raise _slow_body("silent in the body") from None
            except Malformed as error:
                raise bad_body(error) from None
            except (Truncated, StreamClosed, OSError) as error:
                exchange.client_left = True
                raise Failure(Cause.CLIENT_GONE, Stage.REQUEST_BODY, Side.CLIENT, str(error)) from None

    def _waits_for_100(self) -> bool:
        """Whether the client may not have been asked for its body yet (RFC 9110 10.1.1): that is the app's time."""
        exchange = self._conversation.exchange
        return exchange.request.expects_continue and not exchange.body_taken


def _slow_body(detail: str) -> Failure:
    return Failure(Cause.SLOW_BODY, Stage.REQUEST_BODY, Side.CLIENT, detail)
