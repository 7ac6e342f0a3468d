"""A visitor: HTTP/1.1 over a plain socket, read by h11, so that nothing between test and wire is lenient."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import h11

Headers = list[tuple[str, str]]
TIMEOUT = 60.0  # seconds a visitor waits for the next byte


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...]  # names in lower case
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a field, None when there is none."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


class Visitor:
    """One client connection; requests one after the other on it.

    An error of the connection is raised as it comes: OSError, or h11.RemoteProtocolError for a message that
    broke off.
    """

    def __init__(
        self, url: str, *, timeout: float = TIMEOUT, tls: ssl.SSLContext | None = None, name: str = ""
    ) -> None:
        """`tls`: encrypt with this; `name`: ask for this server (SNI), the host of `url` if it is ""."""
        self.host, self.port = address_of(url)
        self.socket = socket.create_connection((self.host, self.port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=name or self.host)
        self._h11 = h11.Connection(h11.CLIENT)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent on this connection."""
        return (self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE) or self._fresh

    @property
    def _fresh(self) -> bool:
        return self._h11.our_state is h11.IDLE

    def send(self, method: str, target: str, headers: Headers | None = None, body: bytes = b"") -> None:
        """Write one whole request. Host and Content-Length are added where `headers` lacks them."""
        if not self._fresh:
            self._h11.start_next_cycle()
        fields = list(headers or [])
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("Host", f"{self.host}:{self.port}"))
        if body and "content-length" not in names and "transfer-encoding" not in names:
            fields.append(("Content-Length", str(len(body))))
        parts = [self._h11.send(h11.Request(method=method, target=target, headers=fields))]
        if body:
            parts.append(self._h11.send(h11.Data(data=body)))
        parts.append(self._h11.send(h11.EndOfMessage()))
        self.socket.sendall(b"".join(part for part in parts if part))

    def head(self) -> Response:
        """Wait for the final response head; its body is still to be read by `chunks`."""
        while True:
            event = self._event()
            if isinstance(event, h11.Response):
                headers = tuple((name.decode(), value.decode("latin-1")) for name, value in event.headers)
                return Response(event.status_code, headers, b"")

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, up to its proper end."""
        while True:
            event = self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    def receive(self) -> Response:
        head = self.head()
        return Response(head.status, head.headers, b"".join(self.chunks()))

    def request(
        self, method: str, target: str, headers: Headers | None = None, body: bytes = b""
    ) -> Response:
        self.send(method, target, headers, body)
        return self.receive()

    def get(self, target: str, headers: Headers | None = None) -> Response:
        return self.request("GET", target, headers)

    def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]
            self._h11.receive_data(self.socket.recv(65536))


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def get(url: str, target: str, headers: Headers | None = None, *, timeout: float = TIMEOUT) -> Response:
    """One GET on a connection of its own."""
    with Visitor(url, timeout=timeout) as visitor:
        return visitor.get(target, headers)


def exchange(url: str, data: bytes, *, timeout: float = 10.0) -> bytes:
    """Send these bytes as they are and return everything that comes back until the other side closes."""
    with socket.create_connection(address_of(url), timeout) as connection:
        connection.sendall(data)
        received = []
        while chunk := connection.recv(65536):
            received.append(chunk)
        return b"".join(received)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refuses_connections(url: str) -> bool:
    try:
        socket.create_connection(address_of(url), 2).close()
    except ConnectionRefusedError:
        return True
    return False
