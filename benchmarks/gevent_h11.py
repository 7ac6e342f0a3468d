"""The plain program: gevent's StreamServer, h11 on both sides, connections to the backend kept.

`python benchmarks/gevent_h11.py PORT BACKEND_PORT`. It is what one writes first, and no more: no limits, no
deadlines, no token, no log. Portico is measured against it to show what the care for speed buys.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import socket  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterable  # noqa: E402

import h11  # noqa: E402
from gevent.server import StreamServer  # noqa: E402

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"proxy-connection")
)
PIECE = 64 * 1024


class Side:
    """A socket with h11 on it."""

    def __init__(self, connection: socket.socket, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self.socket = connection
        self.http = h11.Connection(role)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(self.socket.recv(PIECE))
        return event

    def send(self, event: h11.Event) -> None:
        if data := self.http.send(event):
            self.socket.sendall(data)


class Proxy:
    """Serves connections of visitors; keeps those to the backend."""

    def __init__(self, backend: int) -> None:
        self._backend = backend
        self._idle: list[Side] = []

    def serve(self, connection: socket.socket, address: tuple[str, int]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Side(connection, h11.SERVER)
        try:
            while isinstance(request := client.next_event(), h11.Request):
                self._forward(client, request, address)
                if client.http.our_state is h11.MUST_CLOSE:
                    return
                client.http.start_next_cycle()
        except (OSError, h11.ProtocolError):
            return
        finally:
            connection.close()

    def _forward(self, client: Side, request: h11.Request, address: tuple[str, int]) -> None:
        app = self._idle.pop() if self._idle else self._connect()
        fields = [*_end_to_end(request.headers), (b"x-forwarded-for", address[0].encode())]
        if (b"transfer-encoding", b"chunked") in request.headers:
            fields.append((b"transfer-encoding", b"chunked"))
        app.send(h11.Request(method=request.method, target=request.target, headers=fields))
        _copy_body(client, app)
        response = app.next_event()
        if not isinstance(response, h11.Response):
            raise h11.RemoteProtocolError("no response")
        client.send(
            h11.Response(
                status_code=response.status_code,
                headers=_end_to_end(response.headers),
                reason=response.reason,
            )
        )
        _copy_body(app, client)
        if app.http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            app.http.start_next_cycle()
            self._idle.append(app)
        else:
            app.socket.close()

    def _connect(self) -> Side:
        connection = socket.create_connection(("127.0.0.1", self._backend))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Side(connection, h11.CLIENT)


def _end_to_end(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in fields if name not in HOP_BY_HOP]


def _copy_body(source: Side, target: Side) -> None:
    while isinstance(event := source.next_event(), h11.Data):
        target.send(h11.Data(data=event.data))
    if not isinstance(event, h11.EndOfMessage):
        raise h11.RemoteProtocolError("the body broke off")
    target.send(h11.EndOfMessage())


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    StreamServer(listener, Proxy(int(sys.argv[2])).serve).serve_forever()


if __name__ == "__main__":
    main()
