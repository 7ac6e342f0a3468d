"""Portico behind real proxies: the app, the access log and the operator are told of the visitor, not of the proxy."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.certificates import Authority
from tests.kit.client import free_port
from tests.kit.configs import app, front
from tests.kit.proxies import haproxy, nginx
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until

VISITOR = "127.0.0.2"
"""Where visitors come from: an address of this machine that is no proxy's."""
LURE = "X-Forwarded-For: 198.51.100.1\r\nForwarded: for=198.51.100.2\r\nX-Real-IP: 198.51.100.3\r\n"


@dataclass(frozen=True)
class Front:
    run: PorticoRun
    preambles: int
    """The port whose connections begin with the PROXY protocol."""
    encrypted: int
    """The same, and then with TLS."""
    authority: Authority
    pem: Path


@pytest.fixture(scope="module")
def behind(module_folder: Path) -> Iterator[Front]:
    preambles, encrypted = free_port(), free_port()
    authority = Authority(module_folder)
    pair = authority.issue("127.0.0.1", file="front")
    pem = module_folder / "haproxy.pem"
    pem.write_text(pair.certificate.read_text() + pair.key.read_text())
    listens = [
        "http://127.0.0.1:@PORT@",
        f"http://127.0.0.1:{preambles} proxy_protocol",
        f"https://127.0.0.1:{encrypted} proxy_protocol",
        f"unix:{module_folder}/front.sock",
    ]
    keys = {"listen": listens, "trusted_proxies": ["127.0.0.1", "unix"], "workers": 1, "forwarded": True}
    config = front(**keys) + f"[front.tls]\n{pair.toml}\n" + app()
    with PorticoRun(module_folder, config) as run:
        run.get("/")
        yield Front(run, preambles, encrypted, authority, pem)


def ask(
    port: int,
    lines: str = "",
    *,
    preamble: bytes = b"",
    source: str = VISITOR,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """What comes back for one GET from `source`."""
    request = f"GET /facts HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{lines}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0)) as plain:
        connection = tls.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
        connection.sendall(preamble + request)
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            pass  # how a connection is refused whose bytes nobody read
        connection.close()
        return received


def told(answer: bytes) -> dict[str, str]:
    """The fields that the app saw."""
    assert answer.startswith(b"HTTP/1.1 200"), answer
    body = answer.partition(b"\r\n\r\n")[2]
    return dict(json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["headers"])


def logged(run: PorticoRun, request_id: str) -> str:
    log = run.directory / "logs" / "access.log"
    lines = wait_until(
        lambda: [line for line in log.read_text().splitlines() if request_id in line],
        "the line of the request",
    )
    return lines[0]


def check(front: Front, answer: bytes, visitor: str = VISITOR, scheme: str = "http") -> dict[str, str]:
    fields = told(answer)
    assert fields["x-forwarded-for"] == visitor
    assert fields["x-forwarded-proto"] == scheme
    assert fields["x-forwarded-host"] == "shop.example"
    assert fields["forwarded"] == f'for={visitor};proto={scheme};host="shop.example"'
    assert f" {visitor} " in logged(front.run, fields["x-request-id"])
    return fields


@pytest.mark.parametrize(
    "how", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
)
def test_haproxy_passes_bytes_on_and_says_who_is_calling(behind: Front, how: str) -> None:
    port = free_port()
    sections = (
        f"listen shop\n  mode tcp\n  bind 127.0.0.1:{port}\n  unique-id-format %{{+X}}o%ci\n"
        f"  server portico 127.0.0.1:{behind.preambles} {how} check check-send-proxy inter 200ms\n"
    )
    with haproxy(behind.run.directory, sections, port):
        fields = check(behind, ask(port, LURE))
        assert "x-real-ip" not in fields
        # A visitor that is a trusted proxy itself speaks for whom it likes: its address is what counts.
        check(behind, ask(port, "X-Forwarded-For: 203.0.113.9\r\n", source="127.0.0.1"), "203.0.113.9")


@pytest.mark.parametrize("ends_at", ["Portico", "HAProxy"])
def test_the_visitor_came_by_tls_wherever_that_ends(behind: Front, ends_at: str) -> None:
    port = free_port()
    bind, server = f"bind 127.0.0.1:{port}", f"server portico 127.0.0.1:{behind.encrypted} send-proxy-v2"
    if ends_at == "HAProxy":
        bind += f" ssl crt {behind.pem}"
        server = f"server portico 127.0.0.1:{behind.preambles} send-proxy-v2-ssl"
    with haproxy(behind.run.directory, f"listen shop\n  mode tcp\n  {bind}\n  {server}\n", port):
        check(behind, ask(port, LURE, tls=behind.authority.context()), scheme="https")


def test_haproxy_speaks_http_and_adds_a_field(behind: Front) -> None:
    port = free_port()
    sections = (
        f"listen shop\n  mode http\n  bind 127.0.0.1:{port}\n  option forwardfor\n"
        "  http-request set-header X-Forwarded-Proto https\n"
        f"  server portico 127.0.0.1:{behind.run.port}\n"
    )
    with haproxy(behind.run.directory, sections, port):
        check(behind, ask(port, LURE), scheme="https")


@pytest.mark.parametrize("way", ["127.0.0.1:{port}", "unix:{folder}/front.sock:"])
def test_nginx_appends_to_the_list(behind: Front, way: str) -> None:
    port = free_port()
    to = way.format(port=behind.run.port, folder=behind.run.directory)
    server = (
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{to};\n"
        "proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
        "proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Request-ID of-nginx-$request_id; } }"
    )
    with nginx(behind.run.directory, server, port):
        fields = check(behind, ask(port, LURE), scheme="https")
        assert fields["x-request-id"].startswith("of-nginx-")


def test_who_is_no_proxy_is_believed_nothing(behind: Front) -> None:
    fields = check(behind, ask(behind.run.port, LURE + "X-Request-ID: mine\r\n"))
    assert fields["x-request-id"] != "mine"
    assert "x-real-ip" not in fields


def test_the_preamble_is_for_trusted_proxies_and_demanded_of_them(behind: Front) -> None:
    line = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n"
    check(behind, ask(behind.preambles, preamble=line, source="127.0.0.1"), "203.0.113.9")
    assert ask(behind.preambles, preamble=line) == b""  # whoever is not trusted
    assert ask(behind.preambles, source="127.0.0.1") == b""  # no preamble
    unknown = ask(behind.preambles, LURE, preamble=b"PROXY UNKNOWN\r\n", source="127.0.0.1")
    check(behind, unknown, "127.0.0.1")  # nobody is named, and nobody is spoken for
    said = (behind.run.run_directory / "portico.log").read_text()
    assert "the peer is none of trusted_proxies" in said
    assert "the connection does not begin with the PROXY protocol" in said


def test_an_address_asks_for_it_only_beside_trusted_proxies(module_folder: Path) -> None:
    config = module_folder / "open.toml"
    config.write_text(front(listen="http://127.0.0.1:8080 proxy_protocol") + app())
    done = PorticoRun(module_folder).command("check", str(config))
    assert done.status == 2
    assert "trusted_proxies" in done.said
