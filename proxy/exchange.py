"""One exchange: a request of a client's, and what has become of it so far."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from proxy.backend import AppDesk
from proxy.body import NO_BODY, Body, body_of
from proxy.failures import Cause, Failure, Side, Stage
from proxy.head import QuickReader
from proxy.identity import Identity, identity_line
from proxy.peer import Framing, Request
from proxy.splice import Pipes
from proxy.streams import Stream
from proxy.strict import Malformed
from proxy.trust import Visitor
from supervisor_conf.control.messages import RequestLine
from supervisor_conf.settings import FrontSettings

if TYPE_CHECKING:
    from proxy.modules.visit import Visit

LONGEST_UPLOAD = 24 * 3600.0

_STAGES = {
    "choose": Stage.CHOOSE,
    "modules": Stage.MODULES,
    "queue": Stage.QUEUE,
    "connect": Stage.CONNECT,
    "send": Stage.SEND,
    "wait": Stage.AWAIT_HEAD,
    "response": Stage.RESPONSE_BODY,
    "tunnel": Stage.TUNNEL,
}


class Exchange:
    """`phase` is where it is now, in a word for `app requests`; `keep_alive` whether the client's connection
    lives on after it; `status` is 0 until a final status has gone to the client. `caller` is who the request comes
    from, which is not the connection's peer where that is `trusted` and speaks for somebody else."""

    desk: AppDesk
    # What an exchange begins with; most keep the greater part of it.
    served_by = b""  # app and generation, in the access log
    app_pid = 0
    phase = "choose"
    status = 0
    reason = ""
    body_taken = 0
    body_sent = 0
    client_left = False
    max_body = 0  # a module's word for its request; 0: nobody has said anything
    first_byte = 0.0
    ended = 0.0
    identity: Identity | None = None
    credential_cache = ""  # the name of a Kerberos cache that the app may use until this is over
    visit: Visit | None = None
    late = b""  # lines that the head of the app's answer gets last
    _first: bytes | None = None

    def __init__(
        self,
        request: Request,
        client: Stream,
        visitor: Visitor,
        front: FrontSettings,
        request_id: bytes,
        trusted: bool = False,
        quick: QuickReader | None = None,
        pipes: Pipes | None = None,
    ) -> None:
        self.request = request
        self.client = client
        self.visitor = visitor
        self.caller = visitor.caller
        self.quick = quick
        self.pipes = pipes
        self.front = front
        self.request_id = request_id
        self.trusted = trusted
        self.via = front.via.encode("ascii") if front.via else b""
        self.body: Body = NO_BODY if request.framing is Framing.NONE else body_of(request, client)
        self.keep_alive = request.keep_alive
        self.started = self.moved = client.now()

    @property
    def stage(self) -> Stage:
        return _STAGES[self.phase]

    def line(self) -> RequestLine:
        """This exchange for `app requests`."""
        desk = getattr(self, "desk", None)
        return RequestLine(
            id=self.request_id.decode("ascii"),
            app=desk.settings.name if desk is not None else "",
            phase=self.phase,
            age=self.client.now() - self.started,
            client=self.caller.address or "unix",
            method=self.request.method.decode("ascii"),
            target=_shown(self.request.target.partition(b"?")[0]),
            pid=self.app_pid,
        )

    def answered(self, status: int) -> None:
        """A final status (or 101) is about to go to the client: after this a failure can only cut it off."""
        self.status = status
        self.first_byte = self.client.now()

    def moved_within(self, timeout: float | None) -> bool:
        """Whether a byte went either way lately: `request_timeout` is about silence on both sides."""
        return timeout is None or self.client.now() - self.moved < timeout

    def first_piece(self) -> bytes:
        """The beginning of the body that came with the head; kept, since a second connection may need it."""
        if self._first is None:
            try:
                self._first = self.body.at_hand()
            except Malformed as error:
                raise bad_body(error) from None
            self.count_body(len(self._first))
        return self._first

    def count_body(self, count: int) -> None:
        """Raises Failure when the request body has become larger than it may."""
        self.body_taken += count
        self.moved = self.client.now()
        limit = self.max_body or self.front.max_request_body
        if 0 < limit < self.body_taken:
            raise too_large(limit)

    def lines_of_visitor(self, token: bytes) -> bytes:
        """What the generation with this token is told of who asks: nothing of a visitor nobody knows.

        It is believed as long as we can still be waiting for the answer; how long an app's server holds a request back
        whose body is on its way, only the visitor knows.
        """
        if self.identity is None:
            return b""
        silence = self.desk.settings.request_timeout
        patience = silence if silence and self.body.done else LONGEST_UPLOAD
        until = int(time.time() + patience) + 1
        lines = identity_line(self.identity, token, self.request_id, until, self.credential_cache)
        if name := self.desk.settings.remote_user_header:
            lines += b"%b: %b\r\n" % (name.encode("ascii"), self.identity.user.encode("utf-8"))
        return lines

    def wait_with(self, result: Any) -> None:
        """`result` wakes this request when its app is ready: let it be woken also when the client goes away."""
        self.phase = "queue"
        self.client.watch_gone(lambda: self._left_the_queue(result))

    def _left_the_queue(self, result: Any) -> None:
        self.client_left = True
        result.set_exception(Failure(Cause.CLIENT_GONE, Stage.QUEUE, Side.CLIENT, "the client went away"))


def too_large(limit: int) -> Failure:
    return Failure(
        Cause.BODY_TOO_LARGE, Stage.REQUEST_BODY, Side.CLIENT, f"the body is larger than {limit} bytes"
    )


def bad_body(error: Malformed) -> Failure:
    return Failure(Cause.BAD_REQUEST, Stage.REQUEST_BODY, Side.CLIENT, error.reason, status=error.status)


LONGEST_SHOWN = 300


def _shown(path: bytes) -> str:
    """As much of a path as a list has room for: fifty of them fit into a frame of the control protocol."""
    text = path[:LONGEST_SHOWN].decode("ascii", "replace")
    return f"{text}…" if len(path) > LONGEST_SHOWN else text
