"""An app that acts as its caller: with what was delegated to it, and as nobody where nothing was. WSGI and ASGI."""

import asyncio
import json
import os
import stat
import subprocess
import time
from urllib.parse import parse_qs


def look(cache):
    """What there is of a credential cache."""
    path = cache.partition("FILE:")[2]
    if not path or not os.path.exists(path):
        return None
    found, folder = os.stat(path), os.stat(os.path.dirname(path))
    return {
        "mode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "folder_mode": stat.S_IMODE(folder.st_mode),
        "folder_uid": folder.st_uid,
    }


def act(cache, url):
    """What another service says to this caller; curl takes the ticket for it by itself."""
    environment = dict(os.environ, KRB5CCNAME=cache or "FILE:/nonexistent")
    done = subprocess.run(
        ["curl", "-s", "--negotiate", "-u", ":", "--noproxy", "*", url],
        env=environment,
        capture_output=True,
        timeout=30,
    )
    return done.stdout.decode()


def answer(values, query):
    wanted = parse_qs(query)
    cache = values.get("KRB5CCNAME", "")
    said = {
        "user": values.get("REMOTE_USER"),
        "scheme": values.get("AUTH_TYPE"),
        "authorization": values.get("HTTP_AUTHORIZATION"),
        "cache": cache,
        "in_environment": os.environ.get("KRB5CCNAME", "") == cache != "",
        "file": look(cache),
        "uid": os.getuid(),
        "pid": os.getpid(),
    }
    if "url" in wanted:
        said["other"] = act(cache, wanted["url"][0])
        said["file_after"] = look(cache) is not None
    if "until" in wanted:  # hold the request until a file is there
        print("a request holds " + cache, flush=True)
        while not os.path.exists(wanted["until"][0]):
            time.sleep(0.01)
    return json.dumps(said).encode()


def wsgi(environ, start_response):
    body = answer(environ, environ.get("QUERY_STRING", ""))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = dict(scope["headers"])
    user = scope.get("user")
    values = {"KRB5CCNAME": scope.get("KRB5CCNAME", "")}
    if user is not None:
        values["REMOTE_USER"], values["AUTH_TYPE"] = user.user, user.scheme
    if b"authorization" in headers:
        values["HTTP_AUTHORIZATION"] = headers[b"authorization"].decode()
    query = scope["query_string"].decode()
    body = await asyncio.get_running_loop().run_in_executor(None, answer, values, query)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": body.decode()})
        await receive()
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    )
    await send({"type": "http.response.body", "body": body})
