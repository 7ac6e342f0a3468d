"""A second kerberised service, for apps that act as their callers: HTTP that says who asks, and proves nothing else."""

from __future__ import annotations

import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import gssapi

from tests.kit.kerberos import Realm


class Kerberised:
    """`with Kerberised(realm, "second.localhost", keytab) as other`: answers at `other.url` with the caller's name."""

    def __init__(self, realm: Realm, host: str, keytab: Path) -> None:
        realm.add_service(f"HTTP/{host}")
        realm.keytab(keytab, f"HTTP/{host}")
        credentials = gssapi.Credentials(
            usage="accept", store={"keytab": f"FILE:{keytab}", "rcache": "none:"}
        )

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = self.headers.get("Authorization", "")
                if not said.startswith("Negotiate "):
                    self._answer(401, b"", [("WWW-Authenticate", "Negotiate")])
                    return
                context = gssapi.SecurityContext(creds=credentials, usage="accept")
                context.step(b64decode(said.split(" ", 1)[1]))
                self._answer(200, str(context.initiator_name).encode(), [])

            def _answer(self, status: int, body: bytes, fields: list[tuple[str, str]]) -> None:
                self.send_response(status)
                for name, value in [*fields, ("Content-Length", str(len(body)))]:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://{host}:{self._server.server_address[1]}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
