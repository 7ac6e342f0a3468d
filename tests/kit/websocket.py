"""A WebSocket client whose every byte on the wire the test sees and may choose; the protocol is `websockets`' own."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from types import TracebackType

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tests.kit.client import address_of

TIMEOUT = 20.0  # seconds a visitor waits for the next byte


class WebSocketVisitor:
    """One handshake, then frames. `early` is sent in the segment of the handshake, before it is answered."""

    def __init__(
        self,
        url: str,
        target: str,
        *,
        early: bytes = b"",
        deflate: bool = False,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.protocol = ClientProtocol(
            parse_uri(url.replace("http://", "ws://") + target),
            extensions=[ClientPerMessageDeflateFactory()] if deflate else None,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            max_size=None,
        )
        self.raw = b""  # what has come since the handshake was answered
        self.ended = False
        self._events: Iterator[object] = iter(())
        self.socket = socket.create_connection(address_of(url), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = self.protocol.connect()
        for name, value in headers:  # each in place of what would be said
            request.headers.pop(name, None)
            request.headers[name] = value
        self.protocol.send_request(request)
        self.socket.sendall(b"".join(self.protocol.data_to_send()) + early)
        self.answer = self._answer()

    def __enter__(self) -> WebSocketVisitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    @property
    def extensions(self) -> list[str]:
        """The names of the extensions in the answer to the handshake."""
        value = self.answer.headers.get("Sec-WebSocket-Extensions", "")
        return [part.partition(";")[0].strip() for part in value.split(",") if part]

    def send(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(b"".join(self.protocol.data_to_send()))

    def frame(self) -> Frame:
        """The next frame; EOFError at the end of the connection."""
        while True:
            for event in self._events:
                assert isinstance(event, Frame)
                return event
            self._more()

    def text(self) -> str:
        """The next text frame; pings and pongs are passed over."""
        while (frame := self.frame()).opcode is not Opcode.TEXT:
            assert frame.opcode in (Opcode.PING, Opcode.PONG), frame
        return bytes(frame.data).decode()

    def until_end(self) -> list[Frame]:
        """Every frame up to the end of the connection, however it ends."""
        frames = []
        try:
            while True:
                frames.append(self.frame())
        except (EOFError, ConnectionError):
            return frames

    def _answer(self) -> Response:
        while True:
            for event in self._events:
                assert isinstance(event, Response)
                if self.protocol.handshake_exc is not None and event.status_code == 101:
                    raise self.protocol.handshake_exc
                return event
            if self.protocol.handshake_exc is not None:
                raise self.protocol.handshake_exc
            self._more()

    def _more(self) -> None:
        if self.ended:
            raise EOFError
        data = self.socket.recv(65536)
        self.raw += data
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
            self.ended = True
        self.flush_quietly()
        self._events = iter(self.protocol.events_received())

    def flush_quietly(self) -> None:
        """What the protocol answers by itself (pong, close); the peer may have gone already."""
        try:
            for data in self.protocol.data_to_send():
                if data:
                    self.socket.sendall(data)
        except ConnectionError:
            pass  # the next read tells


def text_frame(text: str) -> bytes:
    """A masked text frame as a client sends it, without any extension."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True, extensions=[])
