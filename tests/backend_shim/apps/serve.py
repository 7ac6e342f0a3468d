"""`python serve.py SERVER PORT`: apps that say in code where they want to listen."""

import socket
import sys

import facts


def uvicorn(port):
    import uvicorn

    uvicorn.run(facts.asgi, host="0.0.0.0", port=port, log_level="warning")


def uvicorn_sockets(port):
    import uvicorn

    own = socket.create_server(("127.0.0.1", port))
    uvicorn.Server(uvicorn.Config("facts:asgi", log_level="warning")).run(sockets=[own])


def gunicorn(port):
    from gunicorn.app.base import BaseApplication

    class Standalone(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", f"0.0.0.0:{port}")
            self.cfg.set("workers", 2)

        def load(self):
            return facts.wsgi

    Standalone().run()


def hypercorn(port):
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"0.0.0.0:{port}"]
    asyncio.run(serve(facts.asgi, config))


def waitress(port):
    from waitress import serve

    serve(facts.wsgi, host="0.0.0.0", port=port)


def granian(port):
    from granian import Granian

    Granian("facts:asgi", address="0.0.0.0", port=port, interface="asgi").serve()


def granian_embed(port):
    import asyncio

    from granian.constants import Interfaces
    from granian.server.embed import Server

    asyncio.run(Server(facts.asgi, address="0.0.0.0", port=port, interface=Interfaces.ASGI).serve())


def flask(port):
    from flask_app import app

    app.run(host="0.0.0.0", port=port)


def werkzeug(port):
    from werkzeug.serving import run_simple

    run_simple("0.0.0.0", port, facts.wsgi, threaded=True)


def wsgiref(port):
    from wsgiref.simple_server import make_server

    make_server("0.0.0.0", port, facts.wsgi).serve_forever()


def metrics_too(port):
    """The first server is the app; the second one keeps its own address."""
    import threading
    from wsgiref.simple_server import make_server

    app = make_server("0.0.0.0", 0, facts.wsgi)
    metrics = make_server("127.0.0.1", port, facts.wsgi)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    app.serve_forever()


def metrics_of_a_known_package_first(port):
    """As prometheus_client's start_http_server does, before the app is served."""
    import threading
    from wsgiref.simple_server import WSGIServer, make_server

    class Metrics(WSGIServer):
        __module__ = "prometheus_client.exposition"

    metrics = make_server("127.0.0.1", port, facts.wsgi, server_class=Metrics)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    make_server("0.0.0.0", 0, facts.wsgi).serve_forever()


def integrated(port):
    """An app that is guarded in code too."""
    from wsgiref.simple_server import make_server

    from backend_shim import integrate

    make_server("0.0.0.0", port, integrate(facts.wsgi)).serve_forever()


if __name__ == "__main__":
    {name: value for name, value in globals().items() if callable(value)}[sys.argv[1]](int(sys.argv[2]))
