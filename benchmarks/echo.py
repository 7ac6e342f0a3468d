"""A small real WebSocket server (RFC 6455) that sends every data frame back, for the backend's `/echo`.

`python benchmarks/echo.py PORT`. One thread, level-triggered epoll. It answers text and binary frames, pings and
close, of up to 125 bytes each (a longer one ends its connection: the benchmark sends none).
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE, PING, PONG = 0x8, 0x9, 0xA
HEAD_LIMIT = 16 * 1024


class Refused(Exception):
    """What came is no handshake or no frame of ours: the connection ends."""


def accept_key(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def handshake(head: bytes) -> bytes:
    """The 101 for a request head. Raises Refused."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            return (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(value.strip())
            )
    raise Refused("no Sec-WebSocket-Key")


def answers(data: bytes) -> tuple[bytes, int]:
    """What to send for the whole frames at the beginning of `data`, and how many bytes those were."""
    out, at = bytearray(), 0
    while len(data) - at >= 6:
        opcode, size = data[at] & 0x0F, data[at + 1] & 0x7F
        if not data[at + 1] & 0x80 or size > 125:
            raise Refused("a frame without mask, or a long one")
        end = at + 6 + size
        if end > len(data):
            break
        mask = int.from_bytes((data[at + 2 : at + 6] * 32)[:size], "big")
        payload = (int.from_bytes(data[at + 6 : end], "big") ^ mask).to_bytes(size, "big")
        out += bytes((0x80 | (PONG if opcode == PING else opcode), size)) + payload
        at = end
        if opcode == CLOSE:
            break
    return bytes(out), at


class Peer:
    """One connection: its handshake, then its frames."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = b""
        self._open = False

    def readable(self) -> bool:
        """Take in what came and answer it; False when the connection has ended."""
        data = self.connection.recv(65536)
        if not data:
            return False
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return len(head) < HEAD_LIMIT
            self.connection.sendall(handshake(head))
            self._open, self._buffer = True, rest
        out, used = answers(self._buffer)
        self._buffer = self._buffer[used:]
        if out:
            self.connection.sendall(out)
        return True


def serve(listener: socket.socket) -> None:
    """Until the process is told to end."""
    waiting = select.epoll()
    waiting.register(listener, select.EPOLLIN)
    peers: dict[int, Peer] = {}
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor == listener.fileno():
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[connection.fileno()] = Peer(connection)
                waiting.register(connection, select.EPOLLIN)
                continue
            try:
                goes_on = peers[descriptor].readable()
            except (OSError, Refused):
                goes_on = False
            if not goes_on:
                waiting.unregister(descriptor)
                peers.pop(descriptor).connection.close()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
    serve(listener)


if __name__ == "__main__":
    main()
