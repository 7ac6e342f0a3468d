"""`python serve.py SERVER`: the probe on a server whose address this code asks for."""

import sys

HOST, PORT = "0.0.0.0", 9876
ADDRESS = f"{HOST}:{PORT}"


def uvicorn():
    import probe
    import uvicorn

    uvicorn.run(probe.asgi, host=HOST, port=PORT, log_level="warning")


def gunicorn():
    import probe
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", ADDRESS)
            self.cfg.set("workers", 2)

        def load(self):
            return probe.wsgi

    Application().run()


def hypercorn():
    import asyncio

    import probe
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [ADDRESS]
    asyncio.run(serve(probe.asgi, config))


def waitress():
    import probe
    import waitress

    waitress.serve(probe.wsgi, host=HOST, port=PORT)


def granian():
    from granian import Granian

    Granian("probe:asgi", address=HOST, port=PORT, interface="asgi").serve()


def werkzeug():
    import probe
    from werkzeug.serving import run_simple

    run_simple(HOST, PORT, probe.wsgi)


def flask():
    import flask
    import probe

    app = flask.Flask("shop")
    app.wsgi_app = probe.wsgi
    app.run(host=HOST, port=PORT)


def django():
    import os

    from django.core.management import execute_from_command_line

    os.environ["DJANGO_SETTINGS_MODULE"] = "site_of_django"
    execute_from_command_line(["manage.py", "runserver", "--noreload", ADDRESS])


def wsgiref():
    from wsgiref.simple_server import make_server

    import probe

    make_server(HOST, PORT, probe.wsgi).serve_forever()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
