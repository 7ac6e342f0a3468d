"""A request as modules see it, and the head of its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from proxy.editable import Edit, EditableHead
from proxy.exchange import Exchange, too_large
from proxy.headers import Fields, without_nominations
from proxy.held_body import hold_body
from proxy.identity import Identity
from proxy.peer import Framing
from proxy.strict import split_target


class _Connection(Protocol):
    notes: dict[str, Any] | None


class ResponseHead(EditableHead):
    """The head of a final answer (of 101 too): the app's, a module's, or of an error page."""

    __slots__ = ("status",)

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], lines: bytes = b"") -> None:
        super().__init__(fields, lines)
        self.status = status


class Visit:
    """One request. What is bytes on the wire is text here (latin-1), raw: nothing is decoded or normalised."""

    __slots__ = ("_connection", "_head", "app", "exchange", "notes", "responders")

    def __init__(self, exchange: Exchange, connection: _Connection) -> None:
        self.exchange = exchange
        self._connection = connection
        self._head: EditableHead | None = None
        self.app = ""
        """The name of the app that was chosen; "" for the front's modules, which come before the choice."""
        self.notes: dict[str, Any] = {}
        """For modules to remember something until the response."""
        self.responders: list[Callable[[Visit, ResponseHead], None]] = []

    def respond(self, status: int, fields: Fields, lines: bytes) -> tuple[Fields, bytes]:
        """What the modules make of the head of the answer: its fields, and how they are written (b"": nobody has
        written them). Raises Failure."""
        if not self.responders:
            return fields, lines
        head = ResponseHead(status, fields if lines else without_nominations(fields), lines)
        for responder in self.responders:
            responder(self, head)
        return head.fields, head.lines

    # ----------------------------------------------------------------------------------------------------------
    # What is asked

    @property
    def method(self) -> str:
        return self.exchange.request.method.decode("ascii")

    @property
    def target(self) -> str:
        return self.exchange.request.target.decode("latin-1")

    @property
    def path(self) -> str:
        """Without query; of an absolute-form target too. `*` for OPTIONS of the whole server."""
        return self.raw_path.decode("latin-1")

    @property
    def raw_path(self) -> bytes:
        """The same as it came."""
        target = self.exchange.request.target
        path = target if target.startswith(b"/") else split_target(target).path
        return path.partition(b"?")[0]

    @property
    def query(self) -> str:
        """Without the question mark."""
        return self.target.partition("?")[2]

    @property
    def host(self) -> str:
        return self.exchange.request.host.decode("latin-1")

    @property
    def client(self) -> str:
        """The visitor's address; "" on a Unix socket."""
        return self.exchange.caller.address

    @property
    def scheme(self) -> str:
        return self.exchange.caller.scheme

    @property
    def channel_binding(self) -> bytes:
        """tls-server-end-point of the visitor's own TLS connection (RFC 5929 4.1), with its prefix; b"" where there is
        none, or none can be told: without TLS, and behind a trusted proxy, which has another certificate."""
        end_point = b"" if self.exchange.trusted else self.exchange.client.end_point
        return b"tls-server-end-point:" + end_point if end_point else b""

    @property
    def request_id(self) -> str:
        return self.exchange.request_id.decode("ascii")

    # ----------------------------------------------------------------------------------------------------------
    # Fields

    def field(self, name: str) -> str | None:
        """All values of a request field, joined; None if there is none."""
        return self._fields().get(name)

    def field_values(self, name: str) -> list[str]:
        return self._fields().get_all(name)

    def set_field(self, name: str, value: str) -> None:
        """For the app; as `add_field` and `remove_field`, it raises ValueError for what is not a module's to say."""
        self.edit(Edit.of(sets=[(name, value)]))

    def add_field(self, name: str, value: str) -> None:
        self.edit(Edit.of(adds=[(name, value)]))

    def remove_field(self, name: str) -> None:
        self.edit(Edit.of(removes=[name]))

    def _fields(self) -> EditableHead:
        request = self.exchange.request
        if self._head is None or self._head.fields is not request.fields:
            self._head = EditableHead(request.fields, request.lines)
        return self._head

    def edit(self, edit: Edit) -> None:
        """Several changes at once, checked before."""
        request = self.exchange.request
        if not request.lines:  # else Connection names nothing
            request.fields = without_nominations(request.fields)
        head = self._fields()
        head.apply(edit)
        request.fields, request.lines = head.fields, head.lines

    # ----------------------------------------------------------------------------------------------------------
    # Who asks

    @property
    def user(self) -> Identity | None:
        return self.exchange.identity

    def authenticate(self, identity: Identity) -> None:
        """From here on the visitor is known to be this user, to later modules and to the app."""
        self.exchange.identity = identity

    @property
    def connection(self) -> dict[str, Any]:
        """For modules to remember something for all requests of this connection."""
        if self._connection.notes is None:
            self._connection.notes = {}
        return self._connection.notes

    # ----------------------------------------------------------------------------------------------------------
    # The body

    def limit_body(self, limit: int) -> None:
        """A request body that turns out to be longer ends this exchange with 413, however it is framed. Raises Failure
        for one that is announced so."""
        exchange = self.exchange
        exchange.max_body = min(limit, exchange.max_body or exchange.front.max_request_body or limit)
        request = exchange.request
        if request.framing is Framing.LENGTH and limit < request.length:
            raise too_large(limit)

    def body(self, limit: int) -> bytes:
        """The whole request body, which the app gets all the same. A longer one is answered 413."""
        return hold_body(self.exchange, limit)
