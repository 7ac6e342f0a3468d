"""nginx: one process, connections to the backend kept, bodies passed as they come, no access log."""

from __future__ import annotations

from benchmarks.fronts.front import Front, said

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_max_body_size 30m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


class Nginx(Front):
    name = "nginx"
    needs = "nginx"

    def argv(self) -> list[str]:
        conf = self.folder / "nginx.conf"
        conf.write_text(CONFIGURATION.format(folder=self.folder, port=self.port, backend=self.site.backend))
        return [self.program(), "-c", str(conf), "-e", str(self.folder / "error.log")]

    def version(self) -> str:
        return said(self.program(), "-v").rpartition("/")[2]
