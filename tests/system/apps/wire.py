"""An ASGI app that shows what reaches it and answers in every shape: bodies by size and hash, streams, WebSockets.

Nothing here waits for a time: what must come after something else waits for a request that says so (`/say`).
"""

import asyncio
import gzip
import hashlib
import json
import os
from urllib.parse import parse_qs

SEEN = {}  # name -> a future that a second request completes, or waits for


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    root, path = scope.get("root_path", ""), scope["path"]
    inside = path[len(root) :] if root and path.startswith(root) else path
    query = {name: values[-1] for name, values in parse_qs(scope.get("query_string", b"").decode()).items()}
    kind = WEBSOCKETS if scope["type"] == "websocket" else ANSWERS
    await kind.get(inside, kind["/"])(scope, query, receive, send)


def once(name):
    """The future of this name: shared by who waits for it and who completes it."""
    return SEEN.setdefault(name, asyncio.get_running_loop().create_future())


def complete(name, value):
    if not once(name).done():
        once(name).set_result(value)


def content(size: int, start: int = 0) -> bytes:
    """The bytes start .. size of a body that everybody can compute."""
    line = hashlib.sha256(b"portico").digest() * 32
    first = start // len(line)
    blob = line * (-(-size // len(line)) - first)
    return blob[start - first * len(line) : size - first * len(line)]


def pairs(headers):
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def facts(scope, **more):
    return json.dumps(
        {
            "pid": os.getpid(),
            "method": scope.get("method", ""),
            "scheme": scope["scheme"],
            "client": scope["client"][0] if scope.get("client") else "",
            "path": scope["path"],
            "raw_path": (scope.get("raw_path") or b"").decode("latin-1"),
            "root_path": scope.get("root_path", ""),
            "query": scope["query_string"].decode("latin-1"),
            "headers": pairs(scope["headers"]),
            "directory": os.getcwd(),
            **more,
        }
    )


# ------------------------------------------------------------------------------------------------------------
# HTTP


async def head(send, status=200, *fields):
    await send({"type": "http.response.start", "status": status, "headers": list(fields)})


async def piece(send, data, more=True):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def whole(send, data, *fields, status=200):
    await head(send, status, (b"content-length", b"%d" % len(data)), *fields)
    await piece(send, data, more=False)


async def body_of(receive):
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the request broke off")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def tell(scope, query, receive, send):
    """What arrived: method, target, fields, and the body by size and hash."""
    digest, length = hashlib.sha256(), 0
    try:
        async for data in body_of(receive):
            digest.update(data)
            length += len(data)
    except ConnectionError:
        complete(query.get("name", ""), "disconnected")
        return
    told = facts(scope, length=length, sha256=digest.hexdigest())
    await whole(send, told.encode(), (b"content-type", b"application/json"))


async def echo(scope, query, receive, send):
    """Each piece of the request body goes back as soon as it is here."""
    first = True
    async for data in body_of(receive):
        if first:
            await head(send, 200, (b"content-type", b"application/octet-stream"))
            first = False
        if data:
            await piece(send, data)
    await piece(send, b"", more=False)


async def fixed(scope, query, receive, send):
    """`size` bytes with a Content-Length; one byte range of them if asked for (RFC 9110 14.2)."""
    size = int(query.get("size", 1000))
    wanted = dict(scope["headers"]).get(b"range", b"")
    if not wanted:
        await whole(send, content(size), (b"accept-ranges", b"bytes"))
        return
    start, _, end = wanted.removeprefix(b"bytes=").partition(b"-")
    start, end = int(start), min(int(end or size - 1), size - 1)
    told = (b"content-range", b"bytes %d-%d/%d" % (start, end, size))
    await whole(send, content(end + 1, start), told, status=206)


async def streamed(scope, query, receive, send):
    """`size` bytes without a Content-Length, in pieces of `step`."""
    size, step = int(query.get("size", 1000)), int(query.get("step", 1000))
    await head(send, 200, (b"content-type", b"application/octet-stream"))
    for start in range(0, size, step):
        await piece(send, content(min(start + step, size), start))
    await piece(send, b"", more=False)


async def zipped(scope, query, receive, send):
    data = gzip.compress(content(int(query.get("size", 100000))), mtime=0)
    await whole(send, data, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))


async def redirect(scope, query, receive, send):
    await whole(send, b"", (b"location", b"/shop/elsewhere?x=%41"), status=302)


async def cookies(scope, query, receive, send):
    told = facts(scope).encode()
    await whole(
        send, told, (b"set-cookie", b"a=1; Path=/"), (b"Set-Cookie", b"b=2; Expires=Wed, 21 Oct 2065")
    )


async def events(scope, query, receive, send):
    """Server-sent events: each is made when `/say` has asked for it."""
    await head(send, 200, (b"content-type", b"text/event-stream"))
    for number in range(int(query["n"])):
        await once(query["name"] + str(number))
        await piece(send, b"data: %d\n\n" % number)
    await piece(send, b"", more=False)


async def poll(scope, query, receive, send):
    """A long poll: answered when `/say` has said something under this name."""
    complete("waiting:" + query["name"], "")
    said = await once(query["name"])
    await whole(send, json.dumps(said).encode())


async def say(scope, query, receive, send):
    complete(query["name"], query.get("text", ""))
    await whole(send, b"said")


async def abandon(scope, query, receive, send):
    """Streams until its client is gone; `/poll` of the same name tells that the app was told."""
    await head(send, 200, (b"content-type", b"application/octet-stream"))
    await piece(send, b"first")
    await receive()
    while (await receive())["type"] != "http.disconnect":
        pass
    complete(query["name"], "disconnected")


async def crash(scope, query, receive, send):
    os._exit(3)


ANSWERS = {
    "/": tell,
    "/echo": echo,
    "/fixed": fixed,
    "/stream": streamed,
    "/zipped": zipped,
    "/redirect": redirect,
    "/cookies": cookies,
    "/events": events,
    "/poll": poll,
    "/say": say,
    "/abandon": abandon,
    "/crash": crash,
}


# ------------------------------------------------------------------------------------------------------------
# WebSockets


async def talk(scope, query, receive, send):
    """Says back what it hears, in the subprotocol that was offered last; words in brackets are commands."""
    await receive()
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            complete(query.get("name", ""), [message.get("code"), message.get("reason")])
            return
        text = message.get("text")
        if text == "[facts]":
            await send({"type": "websocket.send", "text": facts(scope)})
        elif text == "[close]":
            await send({"type": "websocket.close", "code": 4002, "reason": "app says so"})
        elif text == "[crash]":
            os._exit(3)
        elif text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def refuse(scope, query, receive, send):
    """Closed before it was accepted: the server makes a 403 of it."""
    await receive()
    await send({"type": "websocket.close"})


async def deny(scope, query, receive, send):
    """An answer of the app's own instead of 101 (ASGI's «WebSocket Denial Response»)."""
    await receive()
    fields = [(b"content-length", b"12"), (b"www-authenticate", b"Basic")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": fields})
    await send({"type": "websocket.http.response.body", "body": b"who are you?"})


WEBSOCKETS = {"/": talk, "/refuse": refuse, "/deny": deny}
