"""An app that starts quickly and does what files in its folder say: `broken` (ends at once), `sick` (fails its
health check; with a pid inside only that process does), `slow` (seconds before it listens)."""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import unmeasured  # noqa: F401

HERE = Path.cwd()
ASKED = []
EATEN = []
BASE = os.environ.get("ASPNETCORE_APPL_PATH")


def says(name):
    path = HERE / name
    return path.read_text() if path.exists() else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        wanted = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path[parts.path.rindex("/") :]  # whatever the application path is
        ASKED.append(path)
        status = 200
        if path == "/sleep":
            print("a request sleeps", flush=True)
            time.sleep(float(wanted["s"]))
        elif path == "/eat":
            EATEN.append(bytearray(os.urandom(1)) * (int(wanted["mib"]) * 1024 * 1024))
        elif path == "/health":
            sick = says("sick")
            status = 500 if sick is not None and sick in ("", str(os.getpid())) else 200
        body = json.dumps({"pid": os.getpid(), "asked": ASKED[:5], "base": BASE}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


if __name__ == "__main__":
    time.sleep(float(says("slow") or 0))
    if says("broken") is not None:
        sys.exit("broken by a file")
    Server((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
