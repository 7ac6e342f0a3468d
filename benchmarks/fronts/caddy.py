"""Caddy: GOMAXPROCS=1, no TLS, no admin endpoint, no log, connections to the backend kept."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.fronts.front import Front, said

CONFIGURATION = """
{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}

http://:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{backend} {{
        transport http {{
            keepalive 10m
            keepalive_idle_conns_per_host 256
            compression off
        }}
    }}
}}
"""


class Caddy(Front):
    name = "Caddy"
    needs = "caddy"

    def argv(self) -> list[str]:
        conf = self.folder / "Caddyfile"
        conf.write_text(CONFIGURATION.format(port=self.port, backend=self.site.backend))
        return [self.program(), "run", "--config", str(conf), "--adapter", "caddyfile"]

    def environment(self) -> Mapping[str, str]:
        home = str(self.folder)
        return {"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}

    def version(self) -> str:
        return said(self.program(), "version").split()[0]
