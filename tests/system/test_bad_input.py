"""Bad requests never reach an app; garbage on the control socket closes that peer and nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.client import Visitor, exchange
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun

MALFORMED = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "bare LF": (b"GET /mark HTTP/1.1\nHost: x\n\n", 400),
    "no Host": (b"GET /mark HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET /mark HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "Host with a path": (b"GET /mark HTTP/1.1\r\nHost: a/b@c,d\r\n\r\n", 400),
    "blank before the colon": (b"GET /mark HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "obs-fold": (b"GET /mark HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
    "NUL in a value": (b"GET /mark HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
    "both lengths": (
        b"POST /mark HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (
        b"POST /mark HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        400,
    ),
    "length with a sign": (b"POST /mark HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", 400),
    "unknown coding": (b"POST /mark HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: zip\r\n\r\n", (400, 501)),
    "HTTP/9.9": (b"GET /mark HTTP/9.9\r\nHost: x\r\n\r\n", (400, 505)),
    "huge head": (b"GET /mark HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", 431),
}


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    with PorticoRun(module_folder, front(max_request_body="1MiB", header_timeout=2) + app()) as started:
        assert started.get("/").status == 200
        yield started


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_never_reaches_the_app(run: PorticoRun, name: str) -> None:
    data, expected = MALFORMED[name]
    answer = exchange(run.url, data)
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert int(answer.split()[1]) in (expected if isinstance(expected, tuple) else (expected,))
    assert "/mark" not in run.log_of("shop")


def test_a_smuggled_second_request_is_not_read(run: PorticoRun) -> None:
    first = b"POST /mark HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(run.url, first + b"0\r\n\r\nGET /mark HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.split()[1] == b"400"


def test_a_body_that_is_too_large_is_refused(run: PorticoRun) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
    assert exchange(run.url, head).split()[1] == b"413"


def test_a_slow_head_is_not_waited_for(run: PorticoRun) -> None:
    assert exchange(run.url, b"GET / HTTP/1.1\r\nHost:").split()[1] == b"408"


def test_no_app_for_this_host_path_or_method(folder: Path) -> None:
    config = front() + app(hosts=["shop.test"], path="/shop", methods=["GET"])
    with PorticoRun(folder, config) as run, Visitor(run.url) as visitor:
        assert visitor.get("/shop/", [("Host", "other.test")]).status == 404
        assert visitor.get("/elsewhere", [("Host", "shop.test")]).status == 404
        refused = visitor.request("DELETE", "/shop/", [("Host", "shop.test")])
        assert refused.status == 405
        assert "GET" in (refused.header("allow") or "")
        assert run.pid_of("shop") == 0
        assert visitor.get("/shop/", [("Host", "shop.test")]).status == 200


def test_an_app_that_is_silent_is_given_up(folder: Path) -> None:
    with PorticoRun(folder, front() + app(request_timeout=1)) as run:
        run.get("/")
        assert run.get("/sleep?s=20").status == 504


GARBAGE = [
    b"",
    b"\0\0\0\0",
    b"\xff" * 64,
    b"GET / HTTP/1.1\r\n\r\n",
    b"\0\0\0\x02{}",
    b"\0\0\0\x05[1,2]",
    os.urandom(5000),
]


def test_garbage_on_the_control_socket_closes_that_peer_only(folder: Path) -> None:
    with PorticoRun(folder, front() + app() + app("cold", path="/cold")) as run:
        run.get("/")
        keeper = run.keeper()
        for data in GARBAGE:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(20)
                peer.connect(str(run.run_directory / "control.sock"))
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass  # a sentence of refusal, then the end
        assert run.get("/").status == 200
        assert run.get("/cold/").status == 200
        assert run.app("status").status == 0
        assert run.keeper() == keeper
