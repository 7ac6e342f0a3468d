"""A plain WSGI app (PEP 3333)."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"hello from WSGI, {environ['HTTP_X_FORWARDED_FOR']}\n".encode()]
