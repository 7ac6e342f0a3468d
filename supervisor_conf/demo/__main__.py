"""Serves the demo on the port it is given, as any app behind Portico does."""

from __future__ import annotations

import os
import socketserver
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from supervisor_conf.demo.app import application


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    # RFC 9112, 6.3: wsgiref gives a length to every answer of one piece, so that connections may be kept
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """The terminal is for what Portico says."""


def main() -> None:
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    with make_server(host, port, application, Server, Handler) as server:
        print(f"demo: listening on {host}:{port}, pid {os.getpid()}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
