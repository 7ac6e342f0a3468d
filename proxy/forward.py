"""Forwarding: one request to its app, and the answer back, while both are still on their way (RFC 9110 7.6).

The story, in the order of the code:

1. Lease    a generation of the app: at hand, or waited for while it starts.
2. Connect  on an idle connection to it, or a new one.
3. Head up  what the client may not say is gone; token, forwarded fields and request id are there.
4. Body up  what is here goes with the head; the rest by a greenlet of its own (`Upload`), beside 5 and 6.
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
from typing import TypeGuard, TypeVar

import gevent

from proxy.backend import ConnectRefused, Generation
from proxy.body import Body, LengthBody, Truncated, body_of, chunk, last_chunk
from proxy.exchange import Exchange, bad_body
from proxy.failures import Cause, Failure, Side, Stage, malformed_response
from proxy.head import QuickReader
from proxy.headers import Fields, own_lines, request_fields, response_fields
from proxy.identity import Identity
from proxy.pace import Pace, TooSlow
from proxy.peer import Framing, HeadTooLong, Request, Response, read_head, read_response
from proxy.reasons import standard_reason
from proxy.splice import WORTH_IT, Pipe
from proxy.streams import WORTH_GATHERING, Stream, StreamClosed, TimedOut
from proxy.strict import RESPONSE_LIMITS, Malformed, split_target
from proxy.to_https import with_hsts
from proxy.tunnel import tunnel

Read = TypeVar("Read")
Paced = TypeVar("Paced", bytes, int)

#: Interim responses to one request: one every ten seconds for twenty minutes, which is what 102 was made for.
MAX_INTERIM = 128

#: Methods that may be sent again when an idle connection was closed under them, if they have no body.
REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))

#: How a connection ends that its owner has not read to the end (tcp(7); EPIPE: after its FIN has come).
UNREAD = (errno.ECONNRESET, errno.EPIPE)

#: Framings under which a body's length is known only at its end.
NO_LENGTH = (Framing.CHUNKED, Framing.UNTIL_CLOSE)


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
            _Conversation(exchange, generation, app, reused=idle is not None).run()  # 3 - 7
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


class _Conversation:
    """One request on one connection to the app. `whole`: the body of the answer, if it came with its head. `finished`:
    nothing is left on the connection."""

    upload: Upload | None = None
    whole: bytes | None = None
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
            if not self.finished:
                self.app.close()

    # ----------------------------------------------------------------------------------------------------------
    # 3 and 4: up

    def _head_up(self) -> None:
        self.exchange.phase = "send"
        data = request_head(self.request, self.exchange, self.generation.token)
        if self.request.framing is not Framing.NONE:
            data += frame_up(self.request, self.body, self.exchange.first_piece())
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
            self.whole = data[end:]
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
                self.generation.silent += 1
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
        piece = self._from_app(body.at_hand)
        self._to_client(response_head(response, exchange, chunked) + frame_down(chunked, body, piece))
        exchange.body_sent += len(piece)
        if (pipes := exchange.pipes) is not None and is_worth_splicing(body):
            with pipes.borrowed() as pipe:
                self._splice_down(body, pipe)
        while not body.done:
            piece = self._from_app(lambda: body.read(self.timeout))
            if data := frame_down(chunked, body, piece):
                self._to_client(data)
            exchange.body_sent += len(piece)

    def _whole_down(self, response: Response, body: bytes) -> None:
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

    def _splice_down(self, body: LengthBody, pipe: Pipe) -> None:
        """The rest of a long body, moved by the kernel. What came with the head has been sent."""
        while not body.done and not self.app.ahead():
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

    def _to_client(self, data: bytes, more: bytes = b"") -> None:
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
        exchange.reason = tunnel(self.client, self.app, limit)
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


class _Unwanted(Exception):
    """The app does not take more of the body: it may have answered without reading everything."""


class Upload:
    """The rest of a request body, on its way up in a greenlet of its own.

    The client's trouble closes the app's connection, which wakes who waits for the response; the app's trouble
    (it may have answered without reading everything) only ends the upload.
    """

    def __init__(self, conversation: _Conversation) -> None:
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
                    self._splice_up(with_app.body, pipe)
                with_app.client.resume()
            while not with_app.body.done:
                piece = self._from_client(with_app.body.read)
                with_app.exchange.count_body(len(piece))
                self._app_takes(frame_up(with_app.request, with_app.body, piece))
            self.done = True
        except _Unwanted:
            pass  # what the app has to say is read by who waits for it
        except Failure as failure:
            self.failure = failure
            with_app.app.close()

    def _splice_up(self, body: LengthBody, pipe: Pipe) -> None:
        """The rest of a long body, moved by the kernel; its length has been judged with the head."""
        with_app = self._conversation
        while not body.done and not with_app.client.ahead():
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


# --------------------------------------------------------------------------------------------------------------
# What heads and pieces look like on the wire


def request_head(request: Request, exchange: Exchange, token: bytes) -> bytes:
    """The head as the app gets it: the target byte for byte, the fields that may cross, our own."""
    target = request.target
    if not target.startswith(b"/"):
        target = _origin_form(request)
    if request.lines and not exchange.via:  # the quick reader has written them
        visitor = exchange.visitor
        host = visitor.host or request.host
        lines = request.lines + own_lines(visitor.lines, host, exchange.request_id, token, visitor.forwarded)
    else:
        lines = _lines_up(request, exchange, token)
    if exchange.identity is not None:
        lines += exchange.lines_of_visitor(token)
    if request.framing is Framing.CHUNKED:
        lines += b"Transfer-Encoding: chunked\r\n"
    elif request.framing is Framing.LENGTH:
        lines += b"Content-Length: %d\r\n" % request.length
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, target, lines)


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


def _upgrade_failed(detail: str) -> Failure:
    return Failure(Cause.UPGRADE_FAILED, Stage.AWAIT_HEAD, Side.APP, detail)


def may_chunk(request: Request, response: Response) -> bool:
    """Whether the client gets the chunked coding: a length nobody knows, and HTTP/1.1 (RFC 9112 6.1)."""
    return request.version == b"1.1" and response.framing in NO_LENGTH


def frame_up(request: Request, body: Body, piece: bytes) -> bytes:
    """A piece of the request body in the framing the client chose; the end too, once it has been seen."""
    if request.framing is not Framing.CHUNKED:
        return piece
    framed = chunk(piece) if piece else b""
    return framed + last_chunk(body.trailers) if body.done else framed


def frame_down(chunked: bool, body: Body, piece: bytes) -> bytes:
    """A piece of the response body in the client's framing; the end too, once it has been seen."""
    if not chunked:
        return piece
    framed = chunk(piece) if piece else b""
    return framed + last_chunk(body.trailers) if body.done else framed


def is_worth_splicing(body: Body) -> TypeGuard[LengthBody]:
    """A body of which the kernel can move what is left by itself, and enough of it."""
    return isinstance(body, LengthBody) and body.left >= WORTH_IT
