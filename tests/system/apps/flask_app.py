"""An unmodified Flask app."""

import flask
import probe

app = flask.Flask(__name__)


@app.get("/facts")
def facts():
    headers = [[name.lower(), value] for name, value in flask.request.headers.items()]
    return probe.facts(headers, flask.request.script_root, flask.request.path)
