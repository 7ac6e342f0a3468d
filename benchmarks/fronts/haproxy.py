"""HAProxy: one thread, connections to the backend shared, splice(2) where it finds it worth while, no log."""

from __future__ import annotations

from benchmarks.fronts.front import Front, said

CONFIGURATION = """
global
    nbthread 1
    maxconn 7000

defaults
    mode http
    option splice-auto
    option forwardfor
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
    timeout http-keep-alive 1h

frontend visitors
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Forwarded-Proto http
    default_backend apps

backend apps
    server nginx 127.0.0.1:{backend}
"""


class HAProxy(Front):
    name = "HAProxy"
    needs = "haproxy"

    def argv(self) -> list[str]:
        conf = self.folder / "haproxy.cfg"
        conf.write_text(CONFIGURATION.format(port=self.port, backend=self.site.backend))
        return [self.program(), "-db", "-f", str(conf)]

    def version(self) -> str:
        return said(self.program(), "-v").split()[2]
