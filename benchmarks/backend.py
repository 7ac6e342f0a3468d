"""The backend of every front: nginx on the port it is told, one process.

`python benchmarks/backend.py PORT FOLDER ECHO_PORT` writes its configuration below FOLDER and becomes nginx, so
that whoever starts the command (Portico, Passenger, the benchmark) has nginx as its own child. It imports nothing
of this project: a front starts it in an environment of its own.

| path | answer |
|---|---|
| `/api/…` (GET, POST) | 63 bytes of JSON |
| `/files/64k`, `1m`, `10m` | a file with Content-Length |
| `/stream` | 64 KiB, chunked, in pieces of 4 KiB |
| `/sink/…` (PUT) | the whole body is read and stored in memory, 201 or 204 |
| `/echo` | WebSocket, handed on to the echo server on ECHO_PORT |
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

SMALL = b'{"cart":7,"items":[{"sku":"A-1021","n":2},{"sku":"B-7","n":1}]}'

FILES = {"64k": 64 * 1024, "1m": 1024 * 1024, "10m": 10 * 1024 * 1024}
STREAM = 64 * 1024
MEMORY = Path("/dev/shm")

CONFIGURATION = """
daemon off;
master_process off;
pid {own}/nginx.pid;
error_log {own}/error.log warn;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 64k;
    client_body_temp_path {store}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder};
        location /api/ {{ default_type application/json; return 200 '{small}'; }}
        location /files/ {{ }}
        location = /stream {{
            default_type text/plain;
            sub_filter_types text/plain;
            sub_filter "words that the stream does not have" "";
            output_buffers 2 4k;
        }}
        location /sink/ {{ root {store}; dav_methods PUT; create_full_put_path on; }}
        location = /echo {{
            proxy_pass http://127.0.0.1:{echo};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


def store(folder: Path, port: int) -> Path:
    """Where uploads go: in memory, so that no disk has a say in it."""
    return MEMORY / f"{folder.name}-{port}"


def write_files(folder: Path) -> None:
    """What nginx serves; made once a run, read by every backend."""
    (folder / "files").mkdir()
    for name, size in FILES.items():
        (folder / "files" / name).write_bytes(os.urandom(size))
    (folder / "stream").write_bytes(b"0123456789abcde\n" * (STREAM // 16))


def configure(port: int, folder: Path, echo: int) -> Path:
    """Write one backend's configuration; returns its path."""
    own, upload = folder / f"backend-{port}", store(folder, port)
    for path in (own, upload):
        path.mkdir(exist_ok=True)
    conf = own / "nginx.conf"
    conf.write_text(
        CONFIGURATION.format(port=port, own=own, store=upload, folder=folder, echo=echo, small=SMALL.decode())
    )
    return conf


def main() -> None:
    port, folder, echo = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nginx is None:
        sys.exit("nginx is not installed")
    conf = configure(port, folder, echo)
    os.execv(nginx, [nginx, "-c", str(conf), "-e", str(conf.parent / "error.log")])


if __name__ == "__main__":
    main()
