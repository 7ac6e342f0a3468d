"""A Flask app that knows nothing of Portico."""

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def home():
    return f"hello from Flask, {request.headers['X-Forwarded-For']}\n"
