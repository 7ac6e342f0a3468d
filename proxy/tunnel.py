"""After 101: bytes both ways, unread and unchanged (RFC 9110 7.8), with half-close and an idle limit.

Frames are copied; a flood is moved by the kernel (`splice.py`) for as long as it lasts.
"""

from __future__ import annotations

import gevent

from proxy.splice import Pipe, Pipes
from proxy.streams import Stream, StreamClosed, TimedOut

#: After so much at once more is likely to be there; after a frame of a WebSocket it is not.
LARGE = 16 * 1024

#: So many large reads in a row are a flood.
FLOOD = 4


class _Direction:
    """One direction. Its end of input becomes a FIN on the other side; trouble ends both sides."""

    def __init__(self, tunnel: _Tunnel, source: Stream, sink: Stream) -> None:
        self._large = 0  # reads in a row; after one of them more is probably there already
        self._tunnel = tunnel
        self._source = source
        self._sink = sink

    def run(self) -> None:
        try:
            while data := self._read():
                self._write(data)
                if self._large >= FLOOD:
                    self._splice()
            self._sink.end()
        except (StreamClosed, OSError, TimedOut):  # whoever closed one side, the other must not stay
            self._tunnel.cut()

    def _read(self) -> bytes:
        while True:
            try:
                data = self._source.recv(self._tunnel.idle_limit, eager=self._large > 0)
            except TimedOut:
                if self._tunnel.is_idle():
                    raise
            else:
                self._tunnel.moved = self._source.now()
                self._large = self._large + 1 if len(data) >= LARGE else 0
                return data

    def _write(self, data: bytes) -> None:
        """A direction that stands still is no reason to end a tunnel whose other direction moves."""
        while True:
            before = self._sink.sent
            try:
                self._sink.send(data, self._tunnel.idle_limit)
            except TimedOut:
                if self._tunnel.is_idle():
                    raise
                data = data[self._sink.sent - before :]
            else:
                self._tunnel.moved = self._sink.now()
                return

    def _splice(self) -> None:
        """The rest of a flood. A lull ends it: pipes are few, and for frames copying costs less."""
        self._large = 0
        if self._tunnel.pipes is None:
            return
        with self._tunnel.pipes.borrowed() as pipe:
            while pipe is not None and not self._source.ahead():
                try:
                    moved = pipe.fill(self._source, pipe.capacity, 0)
                except TimedOut:
                    break
                self._tunnel.moved = self._source.now()
                self._empty(pipe)
                if moved < LARGE:
                    break
        self._source.resume()

    def _empty(self, pipe: Pipe) -> None:
        while pipe.held:
            try:
                pipe.empty(self._sink, self._tunnel.idle_limit)
            except TimedOut:
                if self._tunnel.is_idle():
                    raise
        self._tunnel.moved = self._sink.now()


class _Tunnel:
    def __init__(self, client: Stream, app: Stream, idle_limit: float | None, pipes: Pipes | None) -> None:
        self.client = client
        self.app = app
        self.idle_limit = idle_limit
        self.pipes = pipes
        self.moved = client.now()
        self.reason = ""

    def is_idle(self) -> bool:
        return self.idle_limit is not None and self.client.now() - self.moved >= self.idle_limit

    def cut(self) -> None:
        self.reason = self.reason or ("tunnel-idle" if self.is_idle() else "tunnel-broken")
        self.client.abort()
        self.app.abort()

    def run(self) -> str:
        up = gevent.spawn(_Direction(self, self.client, self.app).run)
        try:
            _Direction(self, self.app, self.client).run()
            up.join()
        finally:
            if not up.dead:
                up.kill()
        return self.reason


def tunnel(client: Stream, app: Stream, idle_limit: float | None, pipes: Pipes | None = None) -> str:
    """Relay until both sides have ended, one has broken, or nothing moved for `idle_limit` seconds. `pipes`: None where
    the kernel cannot move bytes by itself.

    Returns the word for logs: "" (ended by both), "tunnel-broken", "tunnel-idle".
    """
    return _Tunnel(client, app, idle_limit, pipes).run()
