"""Forwarding: one request to its app, and the answer back, while both are still on their way (RFC 9110 7.6).

The story, in the order of the code:

1. Lease    a generation of the app: at hand, or waited for while it starts.
2. Connect  on an idle connection to it, or a new one.
3. Head up  what the client may not say is gone; token, forwarded fields and request id are there.
4. Body up  what is here goes with the head; the rest by a greenlet of its own (`upload.py`), beside 5 and 6.
5. Head down  1xx at once and in order; 101 turns the two connections into a tunnel.
6. Body down  each piece as it comes, in a framing that the client understands.
7. Give back  the app's connection, if nothing is left on it; else it is closed.

Trouble is a Failure that says at which stage and by whose fault. Never two requests for one: a request goes to
another connection only if the app cannot have seen a byte of it, or if it is safe and the app closed an idle
connection under it (RFC 9110 9.2.2), or it is safe and a process that has ended took it along unread.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from proxy.backend import ConnectRefused, Generation
from proxy.body import ChunkedBody, LengthBody, Truncated, body_of
from proxy.exchange import Exchange
from proxy.failures import Cause, Failure, Side, Stage, malformed_response
from proxy.head import QuickReader
from proxy.headers import response_fields
from proxy.identity import Identity
from proxy.pace import Pace, TooSlow
from proxy.peer import Framing, HeadTooLong, Response, read_head, read_response
from proxy.splice import Pipe
from proxy.streams import WORTH_GATHERING, Stream, StreamClosed, TimedOut
from proxy.strict import RESPONSE_LIMITS, Malformed
from proxy.tunnel import tunnel
from proxy.upload import Upload
from proxy.wire import (
    NO_LENGTH,
    field_lines,
    frame,
    is_offered,
    is_worth_splicing,
    may_chunk,
    request_head,
    response_head,
    status_line,
    without_length,
)

Read = TypeVar("Read")

#: Interim responses to one request: one every ten seconds for twenty minutes, which is what 102 was made for.
MAX_INTERIM = 128

#: Methods that may be sent again when an idle connection was closed under them, if they have no body.
REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))

#: How a connection ends that its owner has not read to the end (tcp(7); EPIPE: after its FIN has come).
UNREAD = (errno.ECONNRESET, errno.EPIPE)


class Unseen(Exception):
    """The app cannot have seen a byte of the request, or may be asked again: take a new connection."""


def forward(exchange: Exchange) -> None:
    """Carry the request to its app and the response to the client. Raises Failure."""
    reuse, next_generation = True, True
    while True:
        generation = exchange.desk.lease(exchange.wait_with)  # 1
        exchange.served_by = generation.word
        exchange.app_pid = generation.route.pid
        loan = 0
        try:
            if exchange.identity is not None and exchange.identity.credentials:
                loan = _lend(exchange, generation, exchange.identity)
            exchange.phase = "connect"
            idle = generation.idle() if reuse else None
            app = idle or _connect(exchange, generation)  # 2
            Conversation(exchange, generation, app, reused=idle is not None).run()  # 3 - 7
            return
        except Unseen:
            reuse = False
        except ConnectRefused as refused:
            exchange.desk.bad(generation, "connection refused")
            if not next_generation:
                raise Failure(Cause.CONNECT_REFUSED, Stage.CONNECT, Side.APP, str(refused)) from None
            next_generation = False
        finally:
            if loan:
                exchange.desk.loans.end(loan)
            exchange.desk.release(generation)


def _lend(exchange: Exchange, generation: Generation, identity: Identity) -> int:
    """What the visitor has delegated, to an app that wants it, until the request is over. 0: to others, nothing."""
    exchange.credential_cache = ""
    desk = exchange.desk
    if not desk.settings.forward_credentials:
        return 0
    exchange.phase = "connect"
    number, exchange.credential_cache = desk.loans.lend(
        desk.settings.name, generation.route.generation, identity.credentials
    )
    return number


def _connect(exchange: Exchange, generation: Generation) -> Stream:
    try:
        return generation.connect()
    except OSError as error:
        raise Failure(Cause.CONNECT_REFUSED, Stage.CONNECT, Side.APP, str(error)) from None


class Conversation:
    """One request on one connection to the app. `whole`: the body of the answer, if it came with its head. `finished`:
    nothing is left on the connection."""

    upload: Upload | None = None
    whole: bytes | memoryview | None = None
    finished = False

    def __init__(self, exchange: Exchange, generation: Generation, app: Stream, reused: bool) -> None:
        self.exchange = exchange
        self.client = exchange.client
        self.request = exchange.request
        self.generation = generation
        self.app = app
        self.reused = reused
        self.timeout = exchange.desk.timeout
        self.body = exchange.body

    def run(self) -> None:
        self.client.watch_gone(self._client_left)
        try:
            self._head_up()
            response = self._head_down()
            if (visit := self.exchange.visit) is not None and visit.responders is not None:
                response = visit.responders.response(visit, response)
            if self.whole is not None:
                self._whole_down(response, self.whole)
                self._give_back(response)
            elif response.status == 101:
                self._switch(response)
            else:
                self._body_down(response)
                self._give_back(response)
        except StreamClosed:
            raise self._closed_by() from None
        finally:
            self.client.when_gone = self.client.write_pace = None
            if self.upload is not None:
                self.upload.stop()
                self.upload = None  # it holds us, and the pieces of a body, until cycles are looked for
            if not self.finished:
                self.app.close()

    # ----------------------------------------------------------------------------------------------------------
    # 3 and 4: up

    def _head_up(self) -> None:
        self.exchange.phase = "send"
        data = request_head(self.request, self.exchange, self.generation.token)
        if self.request.framing is not Framing.NONE:
            chunked = self.request.framing is Framing.CHUNKED
            data += frame(chunked, self.body, self.exchange.first_piece())
        sent_before = self.app.sent
        try:
            self.app.send(data, self.timeout)
        except TimedOut:
            raise Failure(Cause.APP_SILENT, Stage.SEND, Side.APP, "the app does not read") from None
        except OSError as error:
            if self.app.sent == sent_before:  # not a byte left us, so any method may go elsewhere
                raise (Unseen() if self.reused else ConnectRefused(str(error))) from None
            raise Failure(Cause.APP_BROKE_BEFORE_HEAD, Stage.SEND, Side.APP, str(error)) from None
        if not self.body.done:
            self.upload = Upload(self)

    # ----------------------------------------------------------------------------------------------------------
    # 5: head down

    def _head_down(self) -> Response:
        """The first response that is final, or 101; what comes before it is passed on."""
        for _ in range(MAX_INTERIM + 1):
            self.exchange.phase = "wait"
            response = self._next_head()
            if response.status >= 200 or response.status == 101:
                return response
            if self.request.version != b"1.0":  # RFC 9110 15.2: HTTP/1.0 defines no 1xx
                self._to_client(
                    status_line(response)
                    + field_lines(without_length(response_fields(response.fields)))
                    + b"\r\n"
                )
        raise Failure(
            Cause.APP_SENT_NONSENSE, Stage.AWAIT_HEAD, Side.APP, f"more than {MAX_INTERIM} interim responses"
        )

    def _next_head(self) -> Response:
        data, quick = self._first_bytes(), self.exchange.quick
        if quick is not None and (response := self._plain_head(data, quick)) is not None:
            return response
        try:
            head = read_head(self.app, RESPONSE_LIMITS, self.timeout, data)
            quickly = quick.response(head, self.request) if quick is not None else None
            return quickly or read_response(head, self.request)
        except HeadTooLong as error:
            raise Failure(Cause.APP_HEAD_TOO_LARGE, Stage.AWAIT_HEAD, Side.APP, error.reason) from None
        except Malformed as error:
            raise malformed_response(error) from None
        except TimedOut:
            raise Failure(
                Cause.APP_SILENT, Stage.AWAIT_HEAD, Side.APP, "the head of the answer is not complete"
            ) from None
        except EOFError as error:
            raise Failure(Cause.APP_BROKE_BEFORE_HEAD, Stage.AWAIT_HEAD, Side.APP, str(error)) from None
        except OSError as error:
            raise Failure(Cause.APP_BROKE_BEFORE_HEAD, Stage.AWAIT_HEAD, Side.APP, str(error)) from None

    def _plain_head(self, data: bytes, quick: QuickReader) -> Response | None:
        """The head with which `data` begins, if there is nothing to wait for or to doubt."""
        head, response = self.generation.last_answer
        if response is None or not data.startswith(head) or self.request.method == b"HEAD":
            head = data[: data.find(b"\r\n\r\n") + 4]
            response = quick.response(head, self.request) if len(head) > 3 else None
            if response is None:
                return None
            if self.request.method != b"HEAD":  # which has another meaning (RFC 9112 6.3)
                self.generation.last_answer = head, response
        end = len(head)
        if len(data) - end == response.length and response.framing is Framing.LENGTH and self.upload is None:
            self.whole = data[end:] if response.length < WORTH_GATHERING else memoryview(data)[end:]
        elif end < len(data):
            self.app.unread(data[end:])
        return response

    def _first_bytes(self) -> bytes:
        """The app's first bytes, however long it thinks while the body still goes up."""
        while True:
            try:
                data = self.app.recv(self.timeout)
            except TimedOut:
                if self.exchange.moved_within(self.timeout) or self._body_is_late():
                    continue
                self.exchange.desk.was_silent(self.generation)
                raise Failure(
                    Cause.APP_SILENT, Stage.AWAIT_HEAD, Side.APP, "no answer within request_timeout"
                ) from None
            except OSError as error:
                raise self._closed_before_answer(str(error), error.errno) from None
            if data:
                self.reused = False  # from here on the app has answered: nothing is sent again
                return data
            raise self._closed_before_answer("the app closed the connection", self.app.error())

    def _body_is_late(self) -> bool:
        """Whether it is the client who is silent: then the upload ends this, and the app is not to blame."""
        return self.upload is not None and not self.upload.done and self.client.is_waited_for

    def _closed_before_answer(self, detail: str, error: int | None) -> Exception:
        """`error`: what the kernel has for the connection. Who reads a request and then ends closes its connection in
        order; a connection that a process took with it, and nobody had read, is reset."""
        if self.request.method in REPEATABLE and self.request.framing is Framing.NONE:
            if self.reused:
                return Unseen()
            if error in UNREAD and self.generation.is_gone():
                return ConnectRefused(detail)
        return Failure(Cause.APP_BROKE_BEFORE_HEAD, Stage.AWAIT_HEAD, Side.APP, detail)

    # ----------------------------------------------------------------------------------------------------------
    # 6: body down

    def _body_down(self, response: Response) -> None:
        exchange, app = self.exchange, self.app
        exchange.phase = "response"
        if self.upload is not None and not self.upload.done:
            exchange.keep_alive = False  # RFC 9112 9.6: the rest of the request would be in the way
        chunked = may_chunk(self.request, response)
        if response.framing in NO_LENGTH and not chunked:
            exchange.keep_alive = False  # the end of the connection is the only end this body has
        exchange.answered(response.status)
        self.generation.has_answered()
        body = body_of(response, app)
        # From here on a client that takes nothing is waited for by the app too.
        self.client.write_pace = Pace(exchange.front.min_download_rate, self.client.now, -self.client.sent)
        if chunked and exchange.quick is not None and isinstance(body, ChunkedBody):
            self._chunks_down(response, body)
            return
        piece = self._from_app(body.at_hand)
        self._to_client(response_head(response, exchange, chunked) + frame(chunked, body, piece))
        exchange.body_sent += len(piece)
        if (pipes := exchange.pipes) is not None and is_worth_splicing(body):
            with pipes.borrowed() as pipe:
                if pipe is not None:
                    self._splice_down(body, pipe)
        while not body.done:
            piece = self._from_app(lambda: body.read(self.timeout))
            if data := frame(chunked, body, piece):
                self._to_client(data)
            exchange.body_sent += len(piece)

    def _whole_down(self, response: Response, body: bytes | memoryview) -> None:
        """A body that has come with its head, as almost every short one does, leaves with it."""
        exchange = self.exchange
        exchange.phase = "response"
        exchange.answered(response.status)
        self.generation.has_answered()
        head = response_head(response, exchange, chunked=False)
        if len(body) < WORTH_GATHERING:
            self._to_client(head + body)
        else:
            self._to_client(head, body)
        exchange.body_sent = response.length
        exchange.ended = exchange.moved

    def _chunks_down(self, response: Response, body: ChunkedBody) -> None:
        """From chunks to chunks: those that can are passed on as they stand."""
        count = self._from_app(body.chunks_at_hand)
        self._to_client(response_head(response, self.exchange, chunked=True), body.chunks)
        self.exchange.body_sent += count
        while not body.done:
            count = self._from_app(lambda: body.read_chunks(self.timeout))
            self._to_client(body.chunks)
            self.exchange.body_sent += count

    def _splice_down(self, body: LengthBody, pipe: Pipe) -> None:
        """The rest of a long body, moved by the kernel. What came with the head has been sent; what was read ahead
        while the client did not take that goes first."""
        while not body.done:
            if self.app.ahead():
                self._to_client(piece := body.at_hand())
                moved = len(piece)
            else:
                moved = self._from_app(lambda: body.read_into(pipe, self.timeout))
                self._client_takes(pipe)
            self.exchange.body_sent += moved
        self.app.resume()

    def _from_app(self, read: Callable[[], Read]) -> Read:
        """What `read` gets of the response body, and whose fault it is if that is nothing."""
        try:
            while True:
                try:
                    return read()
                except TimedOut:
                    if not self.exchange.moved_within(self.timeout):
                        raise
        except (Truncated, Malformed) as error:
            raise Failure(Cause.APP_BROKE_OFF, Stage.RESPONSE_BODY, Side.APP, str(error)) from None
        except TimedOut:
            raise Failure(Cause.APP_BROKE_OFF, Stage.RESPONSE_BODY, Side.APP, "silent in the body") from None
        except OSError as error:
            raise Failure(Cause.APP_BROKE_OFF, Stage.RESPONSE_BODY, Side.APP, str(error)) from None

    def _to_client(self, data: bytes, more: bytes | memoryview = b"") -> None:
        try:
            if more:
                self.client.send_both(data, more, self.timeout)
            else:
                self.client.send(data, self.timeout)
        except (TimedOut, OSError) as error:
            raise self._client_does_not_take(error) from None
        self.exchange.moved = self.client.now()

    def _client_takes(self, pipe: Pipe) -> None:
        try:
            pipe.empty(self.client, self.timeout)
        except (TimedOut, OSError) as error:
            raise self._client_does_not_take(error) from None
        self.exchange.moved = self.client.now()

    def _client_does_not_take(self, error: Exception) -> Failure:
        if isinstance(error, TooSlow):
            detail = "slower than min_download_rate"
        else:
            detail = "the client does not read" if isinstance(error, TimedOut) else str(error)
        return Failure(Cause.CLIENT_GONE, self.exchange.stage, Side.CLIENT, detail)

    # ----------------------------------------------------------------------------------------------------------
    # 7: the end

    def _give_back(self, response: Response) -> None:
        if response.keep_alive and (self.upload is None or self.upload.done):
            self.finished = True
            self.generation.give_back(self.app)

    def _switch(self, response: Response) -> None:
        exchange = self.exchange
        if self.upload is not None and not self.upload.done:
            raise _upgrade_failed("101 before the request was complete")
        if not is_offered(self.request.upgrade, response.fields):
            raise _upgrade_failed("101 for a protocol that was not offered")
        exchange.keep_alive = False
        exchange.phase = "tunnel"
        exchange.answered(101)
        self.generation.has_answered()
        self._to_client(response_head(response, exchange, chunked=False))
        self.client.when_gone = None
        before, limit = self.client.sent, exchange.desk.settings.tunnel_idle_timeout or None
        exchange.reason = tunnel(self.client, self.app, limit, exchange.pipes)
        exchange.body_sent = self.client.sent - before

    def _client_left(self) -> None:
        self.exchange.client_left = True
        self.app.close()
        if self.exchange.status:
            self.client.abort()  # it may read on (shutdown(2)), and half an answer must not look whole
        else:
            self.client.close()

    def _closed_by(self) -> Failure:
        """Why somebody closed the streams under us."""
        if self.upload is not None and self.upload.failure is not None:
            return self.upload.failure
        return Failure(Cause.CLIENT_GONE, self.exchange.stage, Side.CLIENT, "the client went away")


def _upgrade_failed(detail: str) -> Failure:
    return Failure(Cause.UPGRADE_FAILED, Stage.AWAIT_HEAD, Side.APP, detail)
