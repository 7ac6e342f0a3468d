"""Tells everything that it was told of its visitor: WSGI and ASGI. `/forbidden` is for nobody."""

import json
import os


def wsgi(environ, start_response):
    facts = {key: value for key, value in environ.items() if isinstance(value, str) and key != "PATH"}
    return answer(facts, environ.get("portico.identity"), environ["PATH_INFO"], start_response)


def answer(facts, visitor, path, start_response):
    told = {"facts": facts, "pid": os.getpid()}
    if visitor is not None:
        told["visitor"] = [visitor.user, visitor.scheme, list(visitor.groups), visitor.credentials]
    status = {"/restricted": 200 if visitor else 401, "/forbidden": 403}.get(path, 200)
    body = json.dumps(told).encode()
    start_response(
        f"{status} Said", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    facts = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    facts |= {key: value for key, value in scope.items() if isinstance(value, str)}
    user = scope.get("user")
    facts["scope user"] = repr(user and (user.is_authenticated, user.display_name))
    started = []
    below = scope["path"].removeprefix(scope["root_path"])
    body = answer(facts, scope.get("portico.identity"), below, lambda *words: started.extend(words))
    fields = [(name.lower().encode(), value.encode()) for name, value in started[1]]
    await send({"type": "http.response.start", "status": int(started[0][:3]), "headers": fields})
    await send({"type": "http.response.body", "body": body[0]})
