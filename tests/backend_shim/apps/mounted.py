"""One WSGI app in every wrapper that makes an ASGI app of it."""

from a2wsgi import WSGIMiddleware as A2Wsgi
from asgiref.wsgi import WsgiToAsgi
from facts import wsgi
from fastapi import FastAPI
from starlette.middleware.wsgi import WSGIMiddleware

app = FastAPI()
app.mount("/starlette", WSGIMiddleware(wsgi))
app.mount("/asgiref", WsgiToAsgi(wsgi))
app.mount("/a2wsgi", A2Wsgi(wsgi))
