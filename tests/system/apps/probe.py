"""The app the system tests put behind Portico: one set of answers, WSGI and ASGI."""

import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import parse_qs

NAMES = (
    "PORT",
    "HOST",
    "ASPNETCORE_PORT",
    "ASPNETCORE_APPL_PATH",
    "HTTP_PLATFORM_PORT",
    "PORTICO_PID",
    "GREETING",
)
SLEEPER = "import time; time.sleep(3600)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}])
print(child.pid, flush=True)
time.sleep(3600)
"""


def facts(headers, script_name, path):
    """What the app can see of itself and of the request; names of variables, never the token."""
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "uid": os.getuid(),
        "environment": {name: os.environ[name] for name in NAMES if name in os.environ},
        "names": sorted(os.environ),
        "directory": os.getcwd(),
        "headers": headers,
        "script_name": script_name,
        "path": path,
        "python": sys.prefix,
    }


def answer(path, query, headers, script_name, body):
    """(status, content type, chunks) of one request; `body` is a function that reads it whole."""
    wanted = parse_qs(query)

    def number(name, default):
        return float(wanted[name][0]) if name in wanted else default

    if path == "/facts":
        return as_json(facts(headers, script_name, path))
    if path == "/echo":
        return 200, "application/octet-stream", [body()]
    if path == "/length":
        return as_json({"length": len(body())})
    if path == "/sleep":
        print("a request sleeps", flush=True)
        time.sleep(number("s", 1.0))
        return text(f"slept in {os.getpid()}")
    if path == "/stream":
        return (
            200,
            "application/octet-stream",
            stream(int(number("n", 10)), int(number("size", 1000)), number("pause", 0)),
        )
    if path == "/sse":
        return 200, "text/event-stream", events(number("pause", 0.2))
    if path == "/break":
        return 200, "application/octet-stream", break_off()
    if path == "/kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/family":
        return as_json(family())
    if path == "/error":
        raise RuntimeError("the app's own mistake")
    return text(f"hello from {os.getpid()}")


def as_json(value):
    return 200, "application/json", [json.dumps(value).encode()]


def text(line):
    return 200, "text/plain", [line.encode() + b"\n"]


def stream(count, size, pause):
    for _ in range(count):
        yield b"x" * size
        time.sleep(pause)


def events(pause):
    while True:
        yield b"data: tick\n\n"
        time.sleep(pause)


def break_off():
    yield b"x" * 1000
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def family():
    """A child, its child, and one that left the session: what a clean end must not leave behind."""
    child = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    grandchild = int(child.stdout.readline())
    escapee = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
    return {"child": child.pid, "grandchild": grandchild, "escapee": escapee.pid}


def wsgi(environ, start_response):
    headers = [
        [name[5:].replace("_", "-").lower(), value]
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]

    def body():
        if environ.get("wsgi.input_terminated"):
            return environ["wsgi.input"].read()
        return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))

    status, kind, chunks = answer(
        environ.get("PATH_INFO", ""),
        environ.get("QUERY_STRING", ""),
        headers,
        environ.get("SCRIPT_NAME", ""),
        body,
    )
    start_response(f"{status} OK", [("Content-Type", kind)])
    return chunks


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await http(scope, receive, send)


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def websocket(receive, send):
    """Says back what it hears."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message.get("text") or ""})


async def http(scope, receive, send):
    import asyncio

    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    content = b""
    while True:
        message = await receive()
        content += message.get("body", b"")
        if not message.get("more_body"):
            break
    root = scope.get("root_path", "")
    path = scope["path"]
    inside = path[len(root) :] if root and path.startswith(root) else path
    loop = asyncio.get_running_loop()
    status, kind, chunks = await loop.run_in_executor(
        None, answer, inside, scope["query_string"].decode(), headers, root, lambda: content
    )
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]}
    )
    if isinstance(chunks, list):
        await send({"type": "http.response.body", "body": b"".join(chunks)})
        return
    pieces = iter(chunks)
    gone = asyncio.ensure_future(receive())
    while not gone.done():
        piece = await loop.run_in_executor(None, next, pieces, None)
        if piece is None:
            break
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    gone.cancel()
    await send({"type": "http.response.body", "body": b""})
