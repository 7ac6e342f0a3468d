"""WebSocket clients that send one masked binary frame, wait for its echo, and send the next (RFC 6455)."""

from __future__ import annotations

import base64
import os
import socket

from benchmarks.echo import accept_key
from benchmarks.load import closed_loop
from benchmarks.load.outcome import Outcome
from benchmarks.load.request import ANSWER_LIMIT, filled, read_answer, templates
from benchmarks.works import Plan

BINARY_FINAL = 0x82
FRAMES = 8
"""Different frames a connection sends in turn."""


def masked_frame(payload: bytes, mask: bytes) -> bytes:
    """A client's binary frame of at most 125 bytes (RFC 6455 5.2, 5.3)."""
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes((BINARY_FINAL, 0x80 | len(payload))) + mask + masked


class Client:
    """One open WebSocket."""

    def __init__(self, port: int, plan: Plan, number: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16))
        fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n"
        # The third browser sends no Connection of its own.
        head = filled(templates(port, plan.method, plan.path)[2], number)
        self.connection.sendall(head[:-2] + fields % key + b"\r\n")
        answer = read_answer(self.connection)
        if not answer.startswith(b"HTTP/1.1 101 ") or accept_key(key) not in answer:
            raise ConnectionAbortedError(f"no WebSocket: {answer[:60]!r}")
        self.connection.setblocking(False)
        payloads = [os.urandom(plan.size) for _ in range(FRAMES)]
        self._frames = [masked_frame(payload, os.urandom(4)) for payload in payloads]
        self._echoes = [bytes((BINARY_FINAL, plan.size)) + payload for payload in payloads]
        self._turn = 0
        self._received = b""

    def begin(self) -> None:
        self._turn = (self._turn + 1) % FRAMES
        self._received = b""
        self.connection.send(self._frames[self._turn])  # one small frame always fits

    def wants_to_send(self) -> bool:
        return False

    def writable(self) -> None:
        """Nothing is ever left to send."""

    def readable(self) -> bool:
        data = self.connection.recv(4096)
        if not data:
            raise ConnectionResetError("closed before the echo")
        self._received += data
        expected = self._echoes[self._turn]
        if len(self._received) < len(expected):
            return False
        if self._received != expected:
            raise ConnectionAbortedError("not what was sent")
        return True


def run(port: int, plan: Plan, seconds: float, first: int) -> Outcome:
    """Echo for so long; raises OSError when a handshake fails."""
    clients: list[closed_loop.Talk] = []
    try:
        clients += [Client(port, plan, first + index) for index in range(plan.connections)]
        return closed_loop.run(clients, seconds)
    finally:
        for client in clients:
            client.connection.close()
