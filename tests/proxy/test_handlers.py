from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handlers import Ambiguous, Handlers, MethodNotAllowed, NoApp
from supervisor_conf.settings import AppSettings
from tests.kit.memory_front import settings_of_memory

BLANK = settings_of_memory().apps[0]  # every key at its default


def app(name: str, path: str = "/", *hosts: str, methods: tuple[str, ...] = ()) -> AppSettings:
    return replace(BLANK, name=name, path=path, hosts=hosts, methods=methods)


def chosen(handlers: Handlers, path: bytes, host: bytes = b"any", method: bytes = b"GET") -> str:
    choice = handlers.choose(host, path, method)
    return choice.name if isinstance(choice, AppSettings) else type(choice).__name__


PATHS = Handlers(
    [app("root"), app("shop", "/shop"), app("admin", "/shop/admin"), app("cafe", "/Café au lait/")]
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/", "root"),
        (b"*", "root"),
        (b"/x", "root"),
        (b"/shop", "shop"),
        (b"/shop/", "shop"),
        (b"/shop/cart", "shop"),
        (b"/shopping", "root"),
        (b"/shop.html", "root"),
        (b"/x/shop", "root"),
        (b"/shop/admin", "admin"),
        (b"/shop/admin/x/y", "admin"),
        (b"/shop/administrator", "shop"),
        (b"/SHOP/Admin/", "admin"),
        (b"/%73hop", "shop"),
        (b"/s%48op/%41dmin", "admin"),
        (b"/caf%C3%A9%20au%20lait/x", "cafe"),
        (b"/shop/a%2Fb", "shop"),
        (b"/shop/a//b/", "shop"),
        (b"/shop/a/../b/./c", "shop"),
        (b"/shop/a;v=1/b", "shop"),
        (b"/shop/.well-known/x", "shop"),
        (b"/shop/%zz%", "shop"),
    ],
)
def test_the_longest_path_at_a_segments_border(path: bytes, name: str) -> None:
    assert chosen(PATHS, path) == name


@pytest.mark.parametrize(
    "path",
    [
        b"/shop/../x",
        b"/shop/%2e%2e/x",
        b"/shop/.%2E/x",
        b"/x/../shop",
        b"/./shop",
        b"//shop",
        b"/shop//admin",
        b"/shop/./admin",
        b"/shop/x/../admin",
        b"/shop%2Fadmin",
        b"/shop/..%2fx",
        b"/shop\\admin",
        b"/shop/..\\x",
        b"/shop/..%5Cx",
        b"/shop/..;/x",
        b"/shop/admin;v=1/x",
        b"/shop/x/../../../shop/admin",
        b"/shop/a%2Fb/..;/..;/x",
        b"/shop/a%2Fb/..\\..\\x",
        b"/shop/a%5Cb/..;/..;/x",
        b"/shop/a%2Fb/..%3B/..%3B/x",
    ],
)
def test_a_path_that_means_another_apps_to_somebody_is_refused(path: bytes) -> None:
    assert isinstance(PATHS.choose(b"any", path, b"GET"), Ambiguous)


def test_every_normalising_reader_counts() -> None:
    """Raw and merged both say admin; only a reader that keeps empty segments lands in the shop."""
    handlers = Handlers([app("shop", "/shop"), app("admin", "/admin")])
    assert chosen(handlers, b"/admin/../shop//../admin/") == "Ambiguous"


@given(
    st.lists(
        st.sampled_from([b"a", b"..", b".", b"", b"%2e%2e", b"%2f", b"\\", b"..;", b"b;c", b"%"]), max_size=8
    )
)
def test_with_one_app_nothing_is_ambiguous(segments: list[bytes]) -> None:
    assert chosen(Handlers([app("only")]), b"/" + b"/".join(segments)) == "only"


@given(st.lists(st.sampled_from([b"shop", b"admin", b"x", b"..", b".", b"", b"%2e%2E"]), max_size=7))
def test_dot_segments_never_lead_out_of_the_app_that_was_chosen(segments: list[bytes]) -> None:
    choice = chosen(PATHS, b"/" + b"/".join(segments))
    resolved: list[str] = []
    for segment in segments:
        match segment.lower():
            case b".." | b"%2e%2e":
                del resolved[-1:]
            case b".":
                pass
            case _:
                resolved.append(segment.decode())
    assert choice in ("Ambiguous", chosen(PATHS, ("/" + "/".join(resolved)).encode()))


HOSTS = Handlers(
    [
        app("any"),
        app("any-shop", "/shop"),
        app("named", "/", "Example.com", "www.example.com."),
        app("six", "/", "[::1]"),
        app("deep", "/deep", "deep.example"),
    ]
)


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        (b"example.com", b"/", "named"),
        (b"EXAMPLE.com:8080", b"/", "named"),
        (b"example.com.", b"/", "named"),
        (b"example.com.:80", b"/", "named"),
        (b"www.example.com", b"/shop", "named"),
        (b"sub.example.com", b"/", "any"),
        (b"other", b"/shop", "any-shop"),
        (b"", b"/", "any"),
        (b"[::1]:8080", b"/", "six"),
        (b"[::1]", b"/", "six"),
        (b"[::2]", b"/", "any"),
        (b"deep.example", b"/deep/x", "deep"),
        (b"deep.example", b"/shop", "any-shop"),
    ],
)
def test_a_named_host_comes_before_any_host(host: bytes, path: bytes, name: str) -> None:
    assert chosen(HOSTS, path, host) == name


def test_nobody_answers() -> None:
    handlers = Handlers([app("shop", "/shop", "a")])
    assert isinstance(handlers.choose(b"b", b"/shop", b"GET"), NoApp)
    assert isinstance(handlers.choose(b"a", b"/", b"GET"), NoApp)
    assert isinstance(Handlers([]).choose(b"a", b"/", b"GET"), NoApp)


def test_methods_choose_among_the_apps_of_a_path() -> None:
    handlers = Handlers(
        [
            app("reads", "/x", methods=("GET", "HEAD")),
            app("writes", "/x", methods=("POST", "HEAD")),
            app("root"),
        ]
    )
    assert chosen(handlers, b"/x", method=b"GET") == "reads"
    assert chosen(handlers, b"/x", method=b"HEAD") == "reads"
    assert chosen(handlers, b"/x", method=b"POST") == "writes"
    assert handlers.choose(b"", b"/x", b"PUT") == MethodNotAllowed(("GET", "HEAD", "POST"))
    assert isinstance(handlers.choose(b"", b"/x", b"get"), MethodNotAllowed)
    assert chosen(handlers, b"/y", method=b"PUT") == "root"


def test_the_first_of_two_alike_wins() -> None:
    assert chosen(Handlers([app("one", "/a"), app("two", "/A/")]), b"/a") == "one"


def test_an_international_host_is_known_by_its_wire_name() -> None:
    assert chosen(Handlers([app("cafe", "/", "café.example")]), b"/", b"xn--caf-dma.example") == "cafe"


def test_the_only_app_is_asked_for_no_more_than_it_takes() -> None:
    """A front of one app chooses without looking only where there is nothing to look at."""
    of_one_host, below = Handlers([app("shop", "/", "shop.example")]), Handlers([app("shop", "/shop")])
    assert chosen(of_one_host, b"/", b"shop.example") == "shop"
    assert chosen(of_one_host, b"/", b"evil.example") == "NoApp"
    assert chosen(below, b"/") == "NoApp"
    assert chosen(Handlers([app("shop", methods=("GET",))]), b"/", method=b"PUT") == "MethodNotAllowed"
