"""A request as modules see it, and the head of its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from proxy.editable import Edit, EditableHead
from proxy.exchange import Exchange, too_large
from proxy.headers import without_nominations
from proxy.held_body import hold_body
from proxy.identity import Identity
from proxy.peer import Framing
from proxy.responders import Responders
from proxy.strict import split_target

Named = tuple[str, Callable[..., Any]]
"""The name of a module, and a method of it."""


class _Connection(Protocol):
    notes: dict[str, Any] | None


class Visit:
    """One request. What is bytes on the wire is text here (latin-1), raw: nothing is decoded or normalised."""

    _head: EditableHead | None = None
    _notes: dict[str, Any] | None = None
    _path: bytes | None = None
    answerer = ""
    """The name of the module that has answered."""

    def __init__(
        self,
        exchange: Exchange,
        connection: _Connection,
        responders: Responders | None,
        ends: Sequence[Named],
    ) -> None:
        self.exchange = exchange
        self.responders = responders
        self.ends = ends
        self._connection = connection

    @property
    def app(self) -> str:
        """The name of the app that was chosen; "" for the front's modules, which come before the choice."""
        desk = getattr(self.exchange, "desk", None)
        return "" if desk is None else str(desk.settings.name)

    @property
    def notes(self) -> dict[str, Any]:
        """For modules to remember something until the response."""
        if self._notes is None:
            self._notes = {}
        return self._notes

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
        if (path := self._path) is None:
            target = self.exchange.request.target
            path = target if target.startswith(b"/") else split_target(target).path
            self._path = path = path.partition(b"?")[0]
        return path

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
        lines, names = request.lines, edit.dropped
        if lines and (
            names is None or not names.are_in(lines)
        ):  # nearly always: nothing is there to be dropped
            request.fields = [*request.fields, *edit.added]
            request.lines = lines + edit.lines
            return
        if not lines:  # else Connection names nothing
            request.fields = without_nominations(request.fields)
        head = EditableHead(request.fields, lines)
        head.apply(edit)
        request.fields, request.lines = head.fields, head.lines

    # ----------------------------------------------------------------------------------------------------------
    # Who asks

    @property
    def user(self) -> Identity | None:
        return self.exchange.identity

    def authenticate(self, identity: Identity) -> None:
        """From here on the visitor is known to be this user, to later modules and to the app."""
        if not isinstance(identity, Identity):
            raise TypeError(f"an Identity says who a visitor is, not {type(identity).__name__}")
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
