"""Shows what an app learns of TLS: by WSGI and by ASGI."""

import json
import os

NAME = "ASPNETCORE_ANCM_HTTPS_PORT"


def wsgi(environ, start_response):
    told = {
        "scheme": environ["wsgi.url_scheme"],
        "proto": environ.get("HTTP_X_FORWARDED_PROTO"),
        "for": environ.get("HTTP_X_FORWARDED_FOR"),
        "field": environ.get("HTTP_MS_ASPNETCORE_CLIENTCERT"),
        "certificate": environ.get("SSL_CLIENT_CERT"),
        "names": sorted(name for name in environ if "ASPNETCORE" in name),
        "https_port": os.environ.get(NAME),
    }
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    tls = (scope.get("extensions") or {}).get("tls")
    told = {
        "scheme": scope["scheme"],
        "proto": fields.get("x-forwarded-proto"),
        "for": fields.get("x-forwarded-for"),
        "field": fields.get("ms-aspnetcore-clientcert"),
        "certificate": "".join(tls["client_cert_chain"]) if tls else None,
        "names": sorted(name for name in fields if "aspnetcore" in name),
        "https_port": os.environ.get(NAME),
    }
    body = json.dumps(told).encode()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
