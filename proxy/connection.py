"""Serving one client connection: requests one after the other, and the only place where a Failure becomes a
response.

A connection that waits for its next request has no greenlet: its stream rests, and bytes wake it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
import structlog

from proxy.answering import of_modules, send_answer
from proxy.exchange import Exchange, too_large
from proxy.failures import Cause, Failure, Side, Stage, malformed_request, proxy_status, reason_word
from proxy.forward import forward
from proxy.handlers import Ambiguous, MethodNotAllowed, NoApp
from proxy.headers import Caller, Fields
from proxy.local_person import is_local_person
from proxy.max_forwards import COUNTED, final_answer, hops_left, one_less
from proxy.modules.answers import Answer
from proxy.own_head import dated, own_head
from proxy.pages import PAGE_POLICY, render
from proxy.peer import Request, read_request, read_request_head
from proxy.streams import Stream, StreamClosed, TimedOut
from proxy.strict import Malformed, split_target
from supervisor_conf.settings import AppSettings

if TYPE_CHECKING:
    from proxy.worker import Worker

#: A connection keeps its greenlet this long after an answer: the next request often follows at once.
GREENLET_PATIENCE = 1.0
#: What an idle keep-alive connection has left when its worker drains; one more request is answered, with
#: `Connection: close`. Closing at once broke requests that were on their way (194 in 6 restarts; so: 0).
DRAIN_PATIENCE = 2.0
LINGER = 2.0
#: A connection is new so long: its first request needs a round trip, and a packet may be lost.
FRESH = 1.0


class Connection:
    """One client, from accept to close."""

    __slots__ = (
        "_quick",
        "_served",
        "_speaker",
        "_stream",
        "_visitor",
        "_worker",
        "caller",
        "exchange",
        "idle",
        "idle_since",
        "notes",
    )

    def __init__(self, stream: Stream, caller: Caller, worker: Worker) -> None:
        self._stream = stream
        self._worker = worker
        self._served = 0
        self.caller = caller
        # A trusted proxy's connection has a speaker: each request says who it comes from.
        trusted = worker.trust.includes(caller)
        self._speaker = worker.trust.speaker(caller) if trusted else None
        self._visitor = worker.trust.direct(caller)
        self._quick = worker.quick_trusted if trusted else worker.quick
        self.exchange: Exchange | None = None
        self.idle = True
        self.notes: dict[str, Any] | None = None  # modules remember something here
        self._rest()

    def drain(self) -> None:
        """The worker is going away: if nothing runs here, the client has a moment left for one more request."""
        if self.idle:
            self._rest()

    def close(self) -> None:
        self._stream.close()
        self._worker.closed(self)

    def is_spare(self, now: float) -> bool:
        """Whether it may make way for another one: idle, and not so new that its first request is on its way."""
        return self.idle and (self._served > 0 or now - self.idle_since >= FRESH)

    def make_way(self) -> bool:
        """Close, unless a request has arrived that the loop has not told of yet."""
        if self._stream.is_still_quiet():
            self.close()
        return self._stream.closed

    def refuse(self, failure: Failure) -> None:
        """Answer this, whatever is asked here, and close."""
        self._stream.rouse()
        self.idle = False
        gevent.spawn(self._refuse, failure)

    # ----------------------------------------------------------------------------------------------------------
    # Between requests

    def _rest(self) -> None:
        self.idle = True
        self.idle_since = self._stream.now()
        front = self._worker.settings.front
        patience = front.keep_alive_timeout if self._served else front.header_timeout
        if self._worker.draining:
            patience = min(patience, DRAIN_PATIENCE)
        self._stream.rest(patience, self._wake, self.close)

    def _wake(self) -> None:
        self._stream.rouse()
        self.idle = False
        gevent.spawn(self._serve)

    def _serve(self) -> None:
        try:
            while self._next_request():
                pass
        except (StreamClosed, OSError, TimedOut):
            self.close()
        except Exception:  # noqa: BLE001  a defect of ours must cost one connection, and be seen
            structlog.get_logger().exception("connection.defect")
            self._stream.abort()
            self.close()

    def _next_request(self) -> bool:
        """Serve the next request. False when this greenlet has nothing more to do."""
        first = b""
        if self._served:
            try:
                first = self._stream.recv(GREENLET_PATIENCE)
            except TimedOut:
                self._rest()
                return False
            if not first:
                self.close()
                return False
        self._served += 1
        request = self._read_request(first)
        if request is None:
            return False
        self._serve_request(request)
        return not self._stream.closed

    def _read_request(self, first: bytes) -> Request | None:
        worker, quick = self._worker, self._quick
        try:
            end = first.find(b"\r\n\r\n") + 4
            if quick is not None and end >= 4 and (request := quick.request(first[:end])) is not None:
                if end < len(first):
                    self._stream.unread(first[end:])
                return request
            head = read_request_head(self._stream, worker.limits, worker.settings.front.header_timeout, first)
            if head:
                return (quick.request(head) if quick is not None else None) or read_request(
                    head, worker.limits
                )
        except Malformed as problem:
            self._refuse(malformed_request(problem))
            return None
        except TimedOut:
            self._refuse(Failure(Cause.SLOW_HEAD, Stage.HEAD, Side.CLIENT, "the head took too long"))
            return None
        except EOFError:
            pass  # it went away in the middle of a head: nobody is there to be told
        self.close()
        return None

    # ----------------------------------------------------------------------------------------------------------
    # One request

    def _serve_request(self, request: Request) -> None:
        worker = self._worker
        visitor, request_id = self._visitor, None
        if self._speaker is not None:
            visitor, request_id = self._speaker.of(request.fields)
        exchange = Exchange(
            request,
            self._stream,
            visitor,
            worker.settings.front,
            request_id or worker.request_id(),
            self._speaker is not None,
            worker.quick,
            worker.pipes if self._stream.splices else None,
        )
        self.exchange = exchange
        if worker.draining:
            exchange.keep_alive = False
        received = request.fields
        try:
            if (answer := self._answer_of_modules(exchange)) is not None:
                send_answer(exchange, answer, worker.settings.front.header_timeout)
            elif exchange.request.method in COUNTED:
                self._answer_or_pass_on(exchange, received)
            else:
                forward(exchange)
        except Failure as failure:
            self._failed(exchange, failure)
        finally:
            self.exchange = None
            self._stream.when_gone = None
        self._finish(exchange)

    def _answer_of_modules(self, exchange: Exchange) -> Answer | None:
        """Choose the app; the front's modules have their say before, its own after that. None: the app answers."""
        redirect, pipeline = self._worker.redirect, self._worker.pipeline
        if redirect is not None and (answer := redirect.answer(exchange)) is not None:
            return answer
        if pipeline is not None and (answer := pipeline.before_choice(exchange, self)) is not None:
            return answer
        request, worker = exchange.request, self._worker
        app = worker.handlers.only or self._choose(request)
        exchange.desk = worker.backend.desks[app.name]
        if 0 < (limit := worker.settings.front.max_request_body) < request.length:
            raise too_large(limit)
        return pipeline.of_app(exchange, app.name) if pipeline is not None else None

    def _answer_or_pass_on(self, exchange: Exchange, received: Fields) -> None:
        """Where hops are counted. `received`: the fields before modules had their say, which they may have said for
        the app alone."""
        hops = hops_left(exchange.request)
        if hops == 0:
            last = final_answer(exchange.request, received)
            send_answer(exchange, last, self._worker.settings.front.header_timeout)
            return
        if hops is not None:
            exchange.request.fields = one_less(exchange.request.fields, hops)
            exchange.request.lines = b""  # they were made of the fields as received
        forward(exchange)

    def _choose(self, request: Request) -> AppSettings:
        path = request.target if request.target.startswith(b"/") else split_target(request.target).path
        choice = self._worker.handlers.choose(request.host, path.partition(b"?")[0], request.method)
        match choice:
            case NoApp():
                raise Failure(Cause.NO_APP, Stage.CHOOSE, Side.CLIENT, "no app answers here")
            case MethodNotAllowed(allowed):
                raise Failure(
                    Cause.METHOD_NOT_ALLOWED,
                    Stage.CHOOSE,
                    Side.CLIENT,
                    "the app does not take this method",
                    allowed=allowed,
                )
            case Ambiguous():
                raise Failure(
                    Cause.BAD_REQUEST,
                    Stage.CHOOSE,
                    Side.CLIENT,
                    "the path can be read as more than one app's",
                )
        return choice

    def _finish(self, exchange: Exchange) -> None:
        """What the connection's fate is after an answer (RFC 9112 9.3, 9.6)."""
        self._worker.finished(exchange)
        if self._stream.closed:
            self._worker.closed(self)
        elif not exchange.keep_alive:
            self._stream.linger(LINGER)
            self._worker.closed(self)

    # ----------------------------------------------------------------------------------------------------------
    # Failures

    def _failed(self, exchange: Exchange, failure: Failure) -> None:
        exchange.reason = reason_word(failure)
        if exchange.status:
            # A head has gone out: a second one is impossible, and a clean end would be a lie, also to a client that
            # has only been too slow, or has ended its own half of the connection.
            exchange.keep_alive = False
            self._stream.abort()
        elif exchange.client_left or failure.cause is Cause.CLIENT_GONE:
            exchange.keep_alive = False
            self._stream.close()
        else:
            if not exchange.body.done:
                exchange.keep_alive = False
            exchange.status = failure.status
            self._refusal(exchange.request, exchange, failure)

    def _refuse(self, failure: Failure) -> None:
        """Answer a head that is no request; what follows it cannot be trusted, so the connection ends."""
        self._worker.refused(self.caller, failure, self._refusal(None, None, failure))
        self._stream.linger(LINGER)
        self.close()

    def _refusal(self, request: Request | None, exchange: Exchange | None, failure: Failure) -> bytes:
        """Send our own answer; returns its request id."""
        request_id = exchange.request_id if exchange else self._worker.request_id()
        content_type, body = self._page(request, exchange, failure, request_id)
        fields = dated(
            [
                (b"Content-Type", content_type),
                (b"Cache-Control", b"no-store"),
                (b"Proxy-Status", proxy_status(failure).encode("ascii")),
                (b"X-Request-ID", request_id),
            ]
        )
        if failure.refusal is None or not failure.refusal.verbatim:  # not for a page that is the app's
            fields.append((b"Content-Security-Policy", PAGE_POLICY.encode("ascii")))
        if failure.retry_after:
            fields.append((b"Retry-After", b"%d" % failure.retry_after))
        if failure.allowed:
            fields.append((b"Allow", ", ".join(failure.allowed).encode("ascii")))
        if exchange is not None and (failure.fields or exchange.visit is not None):
            fields = of_modules(exchange, failure, fields)
        front = self._worker.settings.front
        head = own_head(
            failure.status,
            fields,
            len(body),
            request=request,
            keep_alive=exchange is not None and exchange.keep_alive,
            front=front,
            caller=exchange.caller if exchange else self.caller,
        )
        silent = request is not None and request.method == b"HEAD"
        try:
            self._stream.send(head if silent else head + body, front.header_timeout)
        except (StreamClosed, OSError, TimedOut):
            self._stream.close()
        return request_id

    def _page(
        self, request: Request | None, exchange: Exchange | None, failure: Failure, request_id: bytes
    ) -> tuple[bytes, bytes]:
        if failure.refusal is not None and failure.refusal.body:
            return b"text/html", failure.refusal.body.encode("utf-8", "surrogateescape")
        desk = getattr(exchange, "desk", None)
        return render(
            failure.status,
            failure,
            accept=request.accept if request else b"",
            request_id=request_id.decode("ascii"),
            app=desk.settings.name if desk else "",
            loopback=request is not None
            and failure.refusal is not None
            and failure.refusal.report is not None
            and self._speaker is None
            and is_local_person(self._stream.fileno(), self.caller, request, self._worker.owner),
            show_report=bool(desk and desk.settings.startup_error_page),
            link=desk.settings.startup_error_link if desk else "",
        )
