"""What the test site of ANCM's own tests is, as far as a process's life goes: `python row.py`, in a tenth of a second.

START_DELAY, STOP_DELAY: seconds before it listens, and between the word to stop and its end. SAY: printed at the start.
"""

import json
import os
import signal
import sys
import time
from socketserver import ThreadingMixIn
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import unmeasured  # noqa: F401


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 256


class Handler(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


def app(environ, start_response):
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    if "sleep" in query:
        time.sleep(float(query["sleep"]))
    if "say" in query:
        print(query["say"], flush=True)
        print(query["say"], file=sys.stderr, flush=True)
    told = {
        "pid": os.getpid(),
        "argv": sys.argv,
        "directory": os.getcwd(),
        "script_name": environ["SCRIPT_NAME"],
    }
    shown = {name: value for name, value in os.environ.items() if name != "ASPNETCORE_TOKEN"}
    body = json.dumps(told | {"names": sorted(os.environ), "environment": shown}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def stop(*_):
    time.sleep(float(os.environ.get("STOP_DELAY", "0")))
    print("goodbye", flush=True)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    if "SAY" in os.environ:
        print(os.environ["SAY"], flush=True)
    time.sleep(float(os.environ.get("START_DELAY", "0")))
    make_server("127.0.0.1", int(os.environ["PORT"]), app, Server, Handler).serve_forever()
