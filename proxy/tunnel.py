"""After 101: bytes both ways, unread and unchanged (RFC 9110 7.8), with half-close and an idle limit."""

from __future__ import annotations

import gevent

from proxy.streams import Stream, StreamClosed, TimedOut


class _Pipe:
    """One direction. Its end of input becomes a FIN on the other side; trouble ends both sides."""

    def __init__(self, tunnel: _Tunnel, source: Stream, sink: Stream) -> None:
        self._tunnel = tunnel
        self._source = source
        self._sink = sink

    def run(self) -> None:
        try:
            while data := self._read():
                self._sink.send(data, self._tunnel.idle_limit)
                self._tunnel.moved = self._sink.now()
            self._sink.end()
        except StreamClosed:
            return  # the other direction has ended it for both
        except (OSError, TimedOut):
            self._tunnel.cut()

    def _read(self) -> bytes:
        tunnel = self._tunnel
        while True:
            try:
                return self._source.recv(tunnel.idle_limit, eager=True)
            except TimedOut:
                if tunnel.idle_limit is None or self._source.now() - tunnel.moved >= tunnel.idle_limit:
                    raise


class _Tunnel:
    def __init__(self, client: Stream, app: Stream, idle_limit: float | None) -> None:
        self.client = client
        self.app = app
        self.idle_limit = idle_limit
        self.moved = client.now()

    def cut(self) -> None:
        self.client.abort()
        self.app.abort()

    def run(self) -> None:
        up = gevent.spawn(_Pipe(self, self.client, self.app).run)
        try:
            _Pipe(self, self.app, self.client).run()
            up.join()
        finally:
            if not up.dead:
                up.kill()


def tunnel(client: Stream, app: Stream, idle_limit: float | None) -> None:
    """Relay until both sides have ended, one has broken, or nothing moved for `idle_limit` seconds."""
    _Tunnel(client, app, idle_limit).run()
