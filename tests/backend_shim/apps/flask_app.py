from facts import wsgi
from flask import Flask, request

app = Flask(__name__)


@app.route("/", defaults={"rest": ""}, methods=["GET", "POST"])
@app.route("/<path:rest>", methods=["GET", "POST"])
def facts(rest):
    return wsgi  # Flask calls a WSGI application that a view returns


@app.before_request
def nothing_left():
    assert not [name for name, _ in request.headers if "ASPNETCORE" in name.upper()]
