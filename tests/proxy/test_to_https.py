"""The redirect to https:// and Strict-Transport-Security, in a whole worker on memory."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from proxy.headers import Caller
from proxy.to_https import Redirect, hsts_line, with_hsts
from supervisor_conf.settings import FrontSettings, Listen
from supervisor_conf.tls_settings import TlsSettings
from tests.kit.memory import MemorySocket
from tests.kit.memory_front import MemoryFront, memory_front, settings_of_memory

HTTPS = Listen("https", "::1", 8443)
HTTP = Listen("http", "::1", 8080)


def front_with(**tls: object) -> FrontSettings:
    settings = replace(TlsSettings((), 0, "1.2", "off", None, 0, 0, 0, False, False), **tls)  # type: ignore[arg-type]
    return replace(settings_of_memory().front, tls=settings)


def say_hsts(front: MemoryFront) -> None:
    tls = front.settings.front.tls
    assert tls is not None
    hsts = replace(front.settings.front, tls=replace(tls, hsts=60.0))
    front.settings = replace(front.settings, front=hsts)


def visit(front: MemoryFront) -> MemorySocket:
    """From an address, as nobody has who comes over a Unix socket."""
    ours, theirs = front.loop.pair()
    ours.family = socket.AF_INET
    front._accepted(HTTP, ours, ("192.0.2.7", 40000))  # type: ignore[arg-type]
    return theirs


def redirected(front: MemoryFront, request: bytes) -> tuple[bytes, bytes]:
    """Status line, and Location or b""."""
    answer = front.ask(visit(front), request)
    lines = answer.split(b"\r\n")
    return lines[0], next((line[10:] for line in lines if line.startswith(b"Location: ")), b"")


@pytest.mark.parametrize(
    ("target", "host", "location"),
    [
        (b"/a%2Fb?q=1&r=http://x", b"shop.example", b"https://shop.example:8443/a%2Fb?q=1&r=http://x"),
        (b"/", b"shop.example:8080", b"https://shop.example:8443/"),
        (b"//evil.example/x", b"shop.example", b"https://shop.example:8443//evil.example/x"),
        (b"/", b"[::1]:8080", b"https://[::1]:8443/"),
        (b"/", b"[::1]", b"https://[::1]:8443/"),
        (b"http://shop.example:8080/x?y", b"shop.example:8080", b"https://shop.example:8443/x?y"),
        (b"*", b"shop.example", b"https://shop.example:8443/"),
    ],
)
def test_a_visitor_is_sent_to_the_same_place(target: bytes, host: bytes, location: bytes) -> None:
    with memory_front() as front:
        front.redirect = Redirect(308, 8443)
        method = b"OPTIONS" if target == b"*" else b"GET"
        request = b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target, host)
        assert redirected(front, request) == (b"HTTP/1.1 308 Permanent Redirect", location)
        assert front.apps == []


@pytest.mark.parametrize("port", [443, 8443])
def test_the_usual_port_is_not_said(port: int) -> None:
    with memory_front() as front:
        front.redirect = Redirect(301, port)
        _, location = redirected(front, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert location == (b"https://a/x" if port == 443 else b"https://a:8443/x")


def test_a_request_that_names_no_host_cannot_be_sent_anywhere() -> None:
    with memory_front() as front:
        front.redirect = Redirect(308, 443)
        assert redirected(front, b"GET / HTTP/1.0\r\n\r\n") == (b"HTTP/1.1 400 Bad Request", b"")


def test_a_body_is_not_waited_for_and_the_connection_goes_on_without_one() -> None:
    with memory_front() as front:
        front.redirect = Redirect(307, 443)
        visitor = visit(front)
        for _ in range(2):
            assert b"\r\nLocation: https://a/\r\n" in front.ask(visitor, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = front.ask(visitor, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        assert b"HTTP/1.1 307 " in answer
        assert b"\r\nConnection: close\r\n" in answer


def test_who_came_with_tls_or_through_a_trusted_proxy_that_did_is_served() -> None:
    with memory_front(tls=True) as front:
        front.redirect = Redirect(308, 443)
        front.publish(1)
        visitor = front.visit_encrypted()
        visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        assert len(front.apps) == 1
    with memory_front(front={"trusted_proxies": ("192.0.2.0/24",)}) as front:
        front.redirect = Redirect(308, 443)
        front.publish(1)
        front.ask(visit(front), b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n")
        assert len(front.apps) == 1
        _, location = redirected(front, b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\n\r\n")
        assert location == b"https://a/"


def test_the_port_is_that_of_the_first_encrypted_address_or_the_one_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        any_port = Listen("https", "127.0.0.1", 0)
        port = bound.getsockname()[1]
        front = front_with(redirect=301)
        assert Redirect.of(front, [(HTTP, bound), (any_port, bound), (HTTPS, bound)]) == Redirect(301, port)
        assert Redirect.of(front, [(HTTPS, bound), (any_port, bound)]) == Redirect(301, 8443)
        assert Redirect.of(front_with(redirect=308, redirect_port=443), [(HTTP, bound)]) == Redirect(308, 443)
        assert Redirect.of(front_with(), [(HTTPS, bound)]) is None
        assert Redirect.of(settings_of_memory().front, [(HTTP, bound)]) is None


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, b"Strict-Transport-Security: max-age=60\r\n"),
        ({"hsts_subdomains": True}, b"Strict-Transport-Security: max-age=60; includeSubDomains\r\n"),
        (
            {"hsts_subdomains": True, "hsts_preload": True},
            b"Strict-Transport-Security: max-age=60; includeSubDomains; preload\r\n",
        ),
    ],
)
def test_hsts_as_it_is_written(more: dict[str, bool], line: bytes) -> None:
    front = front_with(hsts=60.0, **more)
    assert hsts_line(front, Caller("192.0.2.1", 1, "https")) == line
    assert hsts_line(front, Caller("192.0.2.1", 1, "http")) == b""


def test_an_app_that_says_it_itself_is_left_alone() -> None:
    front, caller = front_with(hsts=60.0), Caller("192.0.2.1", 1, "https")
    for lines in (
        b"STRICT-Transport-Security: max-age=0\r\n",
        b"A: b\r\nstrict-transport-security:max-age=1\r\n",
    ):
        assert with_hsts(lines, front, caller) == lines
    look_alike = b"X-Strict-Transport-Security: 1\r\n"
    assert with_hsts(look_alike, front, caller).count(b"\r\n") == 2


@pytest.mark.parametrize("quick", [True, False])
def test_every_answer_over_tls_says_it(quick: bool) -> None:
    """The app's, the front's own, and that of TRACE; none over plain HTTP."""
    with memory_front(tls=True, quick_lane=quick) as front:
        say_hsts(front)
        visitor = front.visit_encrypted()
        front.publish(1)
        for request, status in (
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
            (b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", b"200"),
            (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", b"505"),
        ):
            visitor.send(request)
            front.settle()
            if request.startswith(b"GET / HTTP/1.1"):
                (app,) = front.apps
                app.recv_all()
                app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                front.settle()
            answer = visitor.recv_all()
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert answer.count(b"Strict-Transport-Security: max-age=60\r\n") == 1


def test_plain_http_on_an_encrypted_address_is_not_told() -> None:
    """RFC 6797 7.2: never over a way that is not secure, on which anybody may have said it."""
    with memory_front(tls=True) as front:
        say_hsts(front)
        visitor = front.visit(listen=HTTPS)
        got = front.ask(visitor, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"use https://" in got
        assert b"Strict-Transport-Security" not in got


def test_an_answer_that_others_got_too_is_said_to_each_in_his_way() -> None:
    """Equal answers of an app are one response; whether it says it depends on who asks."""
    with memory_front(tls=True) as front:
        say_hsts(front)
        encrypted = front.visit_encrypted()
        plain = front.visit(listen=HTTP)
        front.publish(1)
        for visitor in (plain, encrypted, plain, encrypted):
            visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            front.settle()
            (app,) = front.apps
            app.recv_all()
            app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            front.settle()
            said = visitor.recv_all().count(b"Strict-Transport-Security: max-age=60\r\n")
            assert said == (visitor is encrypted)


def test_a_visitor_over_a_unix_socket_is_not_sent_anywhere() -> None:
    """That is a proxy on this machine, which knows better whether it was asked over TLS."""
    with memory_front() as front:
        front.redirect = Redirect(308, 443)
        front.publish(1)
        front.ask(front.visit(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(front.apps) == 1
