"""Unmodified apps that answer with what they were told: the path, the caller, every header name, their process."""

import json
import os


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    facts = {
        "kind": "wsgi",
        "pid": os.getpid(),
        "method": environ["REQUEST_METHOD"],
        "script": environ.get("SCRIPT_NAME", ""),
        "path": environ.get("PATH_INFO", ""),
        "client": environ.get("REMOTE_ADDR"),
        "scheme": environ["wsgi.url_scheme"],
        "host": environ.get("HTTP_HOST"),
        "headers": [key for key in environ if key.startswith("HTTP_")],
        "body": len(body),
        "user": environ.get("REMOTE_USER"),
    }
    answer = json.dumps(facts).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await echo(scope, receive, send)
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    facts = {
        "kind": "asgi",
        "pid": os.getpid(),
        "method": scope["method"],
        "script": scope.get("root_path", ""),
        "path": scope["path"],
        "client": (scope.get("client") or [None])[0],
        "scheme": scope["scheme"],
        "host": dict(scope["headers"]).get(b"host", b"").decode(),
        "headers": [name.decode() for name, _ in scope["headers"]],
        "body": size,
        "user": scope["user"].identity if "user" in scope else None,
    }
    answer = json.dumps(facts).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def lifespan(receive, send):
    await receive()
    print("lifespan: up", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("lifespan: down", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["scheme"]})
    await send({"type": "websocket.close"})


class Rsgi:
    async def __rsgi__(self, scope, protocol):
        protocol.response_str(200, [("content-type", "application/json")], json.dumps({"kind": "rsgi"}))


rsgi = Rsgi()
