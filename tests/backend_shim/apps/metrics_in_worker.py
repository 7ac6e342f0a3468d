"""A WSGI app that opens a metrics port of its own when it is imported, in a gunicorn worker for example."""

import os
import threading
from wsgiref.simple_server import make_server

import facts

metrics = make_server("127.0.0.1", int(os.environ["METRICS_PORT"]), facts.wsgi)
threading.Thread(target=metrics.serve_forever, daemon=True).start()
app = facts.wsgi
asgi = facts.asgi
