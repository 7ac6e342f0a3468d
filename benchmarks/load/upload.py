"""Large uploads, each counted when its answer has come. sendfile(2) keeps the generator out of the way."""

from __future__ import annotations

import os
import socket

from benchmarks.load import closed_loop
from benchmarks.load.outcome import Outcome
from benchmarks.load.request import ANSWER_LIMIT, end_of_answer, filled, status_of, templates
from benchmarks.works import Plan


class Upload:
    """One connection that uploads the same bytes again and again."""

    def __init__(self, port: int, plan: Plan, body: int, first: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT)
        self.connection.setblocking(False)
        self._templates = templates(port, plan.method, plan.path, plan.size)
        self._body = body
        self._size = plan.size
        self._number = first
        self._head = b""
        self._sent = self._size
        self._answer = b""

    def begin(self) -> None:
        self._number += 1
        self._head = filled(self._templates[self._number % len(self._templates)], self._number)
        self._sent = 0
        self._answer = b""

    def wants_to_send(self) -> bool:
        return bool(self._head) or self._sent < self._size

    def writable(self) -> None:
        try:
            if self._head:
                self._head = self._head[self.connection.send(self._head, socket.MSG_MORE) :]
            if not self._head:
                self._sent += os.sendfile(
                    self.connection.fileno(), self._body, self._sent, self._size - self._sent
                )
        except BlockingIOError:
            return

    def readable(self) -> bool:
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionResetError("closed before the answer")
        self._answer += data
        if end_of_answer(self._answer) is None:
            return False
        if status_of(self._answer) not in ("201", "204") or self.wants_to_send():
            raise ConnectionAbortedError(f"answered {status_of(self._answer)}, {self._sent} bytes sent")
        return True


def run(port: int, plan: Plan, seconds: float, first: int) -> Outcome:
    """Upload for so long; raises OSError when the front does not even accept."""
    body = os.memfd_create("upload")
    os.truncate(body, plan.size)
    os.pwrite(body, os.urandom(plan.size), 0)
    uploads: list[closed_loop.Talk] = []
    try:
        uploads += [Upload(port, plan, body, first + index * 1000) for index in range(plan.connections)]
        return closed_loop.run(uploads, seconds)
    finally:
        for upload in uploads:
            upload.connection.close()
        os.close(body)
