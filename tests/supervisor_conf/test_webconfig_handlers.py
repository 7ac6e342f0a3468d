"""Handlers, the initialization and limits of a web.config."""

from __future__ import annotations

import pytest

from tests.kit.webconfig_readings import (
    error_of,
    good,
    handler,
    limits,
    read,
    section,
    warnings_of,
    with_handlers,
)


@pytest.mark.parametrize(
    ("adds", "path", "methods", "warned"),
    [
        ((handler(),), "/", (), False),
        ((handler(verb="GET"),), "/", ("GET",), False),
        ((handler(verb="GET, HEAD,PROPFIND"),), "/", ("GET", "HEAD", "PROPFIND"), False),
        ((handler(verb="GET,*"),), "/", (), False),
        ((handler("api/*"),), "/api", (), True),
        ((handler("/api/v1/*"),), "/api/v1", (), True),
        ((handler("*.aspx"),), "/", (), True),
        ((handler("shell.me"),), "/", (), True),
        ((handler(modules="aspnetcoremodule"),), "/", (), False),
        ((handler(modules="StaticFileModule"),), "/", (), True),
        ((handler(verb="GET"), '<remove name="a" />', handler(verb="PUT")), "/", ("PUT",), False),
        ((handler(verb="GET"), "<clear />", handler(verb="PUT")), "/", ("PUT",), False),
        ((handler("a/*", name="x"), handler("b/*", name="y")), "/", (), True),
        ((handler("a/*", "GET", "x"), handler("a/*", "PUT", "y")), "/a", ("GET", "PUT"), True),
        (('<remove name="inherited" />', handler()), "/", (), False),
        ((), "/", (), True),
    ],
)
def test_handlers(adds: tuple[str, ...], path: str, methods: tuple[str, ...], warned: bool) -> None:
    found = good(with_handlers(*adds))
    assert (found.app["path"], found.app["methods"]) == (path, methods)
    assert any("handlers" in one.key for one in found.warnings) == warned


@pytest.mark.parametrize(
    ("add", "phrase"),
    [
        (handler(verb="get"), "GET, since methods are case-sensitive"),
        (handler(verb=""), "a list of request methods"),
        (handler("a b/*"), "a path of a URL"),
        ('<add name="a" path="*" modules="AspNetCoreModuleV2" />', "a verb"),
        (handler().replace("verb", "verbs"), "perhaps verb"),
        ("<added />", "add, remove or clear"),
    ],
)
def test_wrong_handlers(add: str, phrase: str) -> None:
    assert any(phrase in error.sentence for error in read(with_handlers(add)).errors)


def with_initialization(inside: str) -> bytes:
    text = f"<applicationInitialization{inside}</applicationInitialization></system.webServer>"
    return section().replace(b"</system.webServer>", text.encode(), 1)


def test_pages_of_the_initialization_are_asked_before_visitors() -> None:
    adds = '<add initializationPage="/warm?x=1" /><add initializationPage="cold" />'
    found = good(with_initialization(f">{adds}"))
    assert found.app["warm_up"] == ("/warm?x=1", "/cold")
    assert "start" not in found.app
    assert found.warnings[1:] == ()  # the first is about the missing handler


def test_an_initialization_after_restart_waits_for_nobody() -> None:
    found = good(
        with_initialization(' doAppInitAfterRestart="TRUE"><add initializationPage="/a" /><clear />')
    )
    assert found.app["start"] == "eager"
    assert "warm_up" not in found.app
    adds = '<add initializationPage="/a" /><remove initializationPage="/a" />'
    assert "start" not in good(with_initialization(f' doAppInitAfterRestart="false">{adds}')).app


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        (' skipManagedModules="true">', '"true"'),
        (' remapManagedRequestsTo="wait.htm">', '"wait.htm"'),
        ('><add initializationPage="/a" hostName="shop.example" />', '"shop.example"'),
    ],
)
def test_what_an_initialization_says_besides_is_named(inside: str, named: str) -> None:
    assert any(
        f"read {named}; expected nothing here" in one for one in warnings_of(with_initialization(inside))
    )


@pytest.mark.parametrize(
    ("inside", "phrase"),
    [
        (' doAppInitAfterRestart="yes">', "true or false"),
        (' doAppInitAfterRestarts="true">', "perhaps doAppInitAfterRestart"),
        ("><add />", "an initializationPage"),
        ('><add initializationPage="/a b" />', "a path of a URL"),
        ('><add initializationPage="/../a" />', "a path of a URL"),
        ("><page />", "add, remove or clear"),
    ],
)
def test_a_wrong_initialization(inside: str, phrase: str) -> None:
    assert any(phrase in error.sentence for error in read(with_initialization(inside)).errors)


def test_the_longest_body() -> None:
    assert good(limits('maxAllowedContentLength="4294967295"')).front["max_request_body"] == 4294967295
    for text in ("4294967296", "0", "-1", "10MiB"):
        assert "requestLimits/@maxAllowedContentLength" in error_of(
            limits(f'maxAllowedContentLength="{text}"')
        )
