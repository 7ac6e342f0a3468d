"""Apps for the keeper's tests: programs of a few lines, run with `python -c`."""

from __future__ import annotations

import sys

#: startup_time_limit of an app that must do something within it, and is then given up: enough on a busy machine.
IN_TIME = 3.0

_SERVER = """
import http.server, os, signal, socket, socketserver, sys
TOKEN = os.environ["ASPNETCORE_TOKEN"]
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:  # a Unix socket whose peer has gone refuses to be written nothing to
            self.wfile.write(body)
    def do_GET(self):
        if GUARDED and self.headers.get("MS-ASPNETCORE-TOKEN") != TOKEN:
            return self.answer(400)
        if self.path == "/ready":
            return self.answer(READY)
        self.answer(200, b"hello")
    def do_POST(self):
        if self.headers.get("MS-ASPNETCORE-TOKEN") != TOKEN:
            return self.answer(400)
        print("shutdown message", self.path, self.headers.get("MS-ASPNETCORE-EVENT"), flush=True)
        self.answer(202)
        if POLITE:
            os._exit(0)
    def log_message(self, *arguments):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
def serve(port):
    Server((HOST, port), App).serve_forever()
class OnSocket(Server):  # on a listening Unix socket
    def __init__(self, listener):
        super().__init__(("127.0.0.1", 0), App, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
    def get_request(self):
        return self.socket.accept()[0], ("unix", 0)
def serve_path():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.environ["PORTICO_SOCKET"])
    listener.listen()
    OnSocket(listener).serve_forever()
def serve_given():
    OnSocket(socket.socket(fileno=0)).serve_forever()
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


def server(
    *,
    guarded: bool = True,
    polite: bool = True,
    ready: int = 200,
    host: str = "127.0.0.1",
    before: str = "",
    main: str = "serve(int(os.environ['PORT']))",
) -> list[str]:
    constants = f"GUARDED, POLITE, READY, HOST = {guarded}, {polite}, {ready}, {host!r}"
    return python(f"{constants}\n{_SERVER}\n{before}\n{main}\n")
