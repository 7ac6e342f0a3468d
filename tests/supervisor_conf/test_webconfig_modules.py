"""What modules of IIS did, as a web.config tells them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.webconfig_readings import (
    error_of,
    good,
    handler,
    read,
    said_of_module,
    warnings_of,
    with_handlers,
)


def with_security(inside: str, beside: str = "") -> bytes:
    text = f"<security>{inside}</security>{beside}</system.webServer>"
    return with_handlers(handler()).replace(b"</system.webServer>", text.encode(), 1)


def filtering(inside: str, attributes: str = "") -> bytes:
    return with_security(f"<requestFiltering {attributes}>{inside}</requestFiltering>")


def module_of(content: bytes, use: str = "filtering") -> dict[str, Any]:
    """What the file says to one module, and nothing else."""
    found = good(content)
    assert found.warnings == ()
    (module,) = [said_of_module(one) for one in found.app.get("modules", ()) if one.use == use]
    said = {name: value for name, value in module.items() if name != "use"}
    if use == "filtering":
        if said.get("hidden_segments") == []:
            del said["hidden_segments"]
        if said.pop("double_escaping", False) is False:
            said["double_escaping"] = False
    return said


def add(**attributes: str) -> str:
    return "<add " + " ".join(f'{name}="{value}"' for name, value in attributes.items()) + " />"


def verbs(*pairs: tuple[str, str], unlisted: str = "true") -> str:
    items = "".join(add(verb=verb, allowed=allowed) for verb, allowed in pairs)
    return f'<verbs allowUnlisted="{unlisted}" applyToWebDAV="true">{items}</verbs>'


def extensions(*pairs: tuple[str, str], unlisted: str = "true") -> str:
    items = "".join(add(fileExtension=name, allowed=allowed) for name, allowed in pairs)
    return f'<fileExtensions allowUnlisted="{unlisted}">{items}</fileExtensions>'


OF_IIS = [
    "web.config", "bin", "app_code", "app_globalresources", "app_localresources", "app_webreferences", "app_data",
    "app_browsers",
]  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "options"),
    [
        (verbs(("TRACE", "false"), ("get", "true")), {"denied_methods": ["TRACE"]}),
        (verbs(("GET", "true"), ("head", "TRUE"), unlisted="false"), {"methods": ["GET", "HEAD"]}),
        (verbs(("GET", "true"), ("PUT", "false"), unlisted="false"), {"methods": ["GET"], "denied_methods": ["PUT"]}),
        (extensions((".BAK", "false"), (".html", "true")), {"denied_extensions": [".bak"]}),
        (extensions((".", "true"), (".js", "true"), unlisted="false"), {"extensions": ["", ".js"]}),
        ("<hiddenSegments>" + add(segment="Private") + "</hiddenSegments>", {"hidden_segments": [*OF_IIS, "private"]}),
        ('<hiddenSegments><remove segment="BIN" /></hiddenSegments>', {"hidden_segments": [OF_IIS[0], *OF_IIS[2:]]}),
        ("<hiddenSegments><clear />" + add(segment="x") + "</hiddenSegments>", {"hidden_segments": ["x"]}),
        ('<requestLimits maxUrl="100" maxQueryString="50" />', {"max_path": 100, "max_query": 50}),
        ('<requestLimits maxUrl="4294967295" maxQueryString="1" />', {"max_query": 1}),
        (
            "<requestLimits><headerLimits>" + add(header="Cookie", sizeLimit="100") + "</headerLimits></requestLimits>",
            {"max_fields": {"cookie": 100}},
        ),
    ],
)  # fmt: skip
def test_request_filtering(inside: str, options: dict[str, Any]) -> None:
    assert module_of(filtering(inside)) == options


def test_a_request_filtering_that_says_nothing_asks_for_nothing() -> None:
    for nothing in ("", "<hiddenSegments />", "<verbs />", '<requestLimits maxAllowedContentLength="1" />'):
        assert "modules" not in good(filtering(nothing)).app
    for nothing in (
        'allowDoubleEscaping="true"',
        'removeServerHeader="false"',
        'allowHighBitCharacters="true"',
    ):
        assert "modules" not in good(filtering("", nothing)).app


def test_paths_that_are_escaped_twice() -> None:
    assert module_of(filtering("", 'allowDoubleEscaping="false"')) == {"double_escaping": False}


def test_the_server_field_is_hidden() -> None:
    assert module_of(filtering("", 'removeServerHeader="true"'), "headers")["response"]["remove"] == [
        "Server"
    ]


def custom_headers(adds: str) -> bytes:
    return with_security("", f"<httpProtocol><customHeaders>{adds}</customHeaders></httpProtocol>")


def test_fields_of_every_response() -> None:
    headers = (
        add(name="X-Frame-Options", value="DENY")
        + '<remove name="X-Powered-By" />'
        + add(name="A", value="b c")
    )
    assert module_of(custom_headers(headers), "headers")["response"]["add"] == [
        ["X-Frame-Options", "DENY"],
        ["A", "b c"],
    ]
    assert good(with_security("", '<httpProtocol allowKeepAlive="false" />')).front["keep_alive_timeout"] == 0


def ip_security(*adds: str, unlisted: str = "true") -> bytes:
    return with_security(f'<ipSecurity allowUnlisted="{unlisted}">{"".join(adds)}</ipSecurity>')


@pytest.mark.parametrize(
    ("unlisted", "adds", "options"),
    [
        ("true", [add(ipAddress="10.1.2.3")], {"deny": ["10.1.2.3/32"]}),
        ("true", [add(ipAddress="10.1.2.3", subnetMask="255.0.0.0", allowed="false")], {"deny": ["10.0.0.0/8"]}),
        (
            "true",
            [add(ipAddress="::1"), "<clear />", add(ipAddress="fe80::", subnetMask="10")],
            {"deny": ["fe80::/10"]},
        ),
        ("false", [add(ipAddress="::1", allowed="true")], {"allow": ["::1/128"]}),
        ("false", [], {"deny": ["0.0.0.0/0", "::/0"]}),
        (
            "false",
            [add(ipAddress="10.0.0.0", subnetMask="8", allowed="true"), add(ipAddress="10.0.0.1")],
            {"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1/32"]},
        ),
    ],
)  # fmt: skip
def test_ip_security(unlisted: str, adds: list[str], options: dict[str, Any]) -> None:
    assert module_of(ip_security(*adds, unlisted=unlisted)) == options


def test_dynamic_ip_security() -> None:
    rate = '<denyByRequestRate enabled="{}" maxRequests="50" requestIntervalInMilliseconds="2000" />'
    text = "<dynamicIpSecurity>{}</dynamicIpSecurity>"
    assert module_of(with_security(text.format(rate.format("true")))) == {"rate": 25.0, "burst": 50}
    assert "modules" not in good(with_security(text.format(rate.format("false")))).app


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (filtering(verbs(("GE T", "true"))), "a list of request methods"),
        (filtering(verbs(unlisted="false")), "since nothing would be answered"),
        (filtering("<verbs>" + add(verb="GET") + "</verbs>"), "an allowed"),
        (filtering(extensions(("bak", "false"))), "a list of extensions with their dot"),
        (filtering("<hiddenSegments>" + add(segment="a/b") + "</hiddenSegments>"), "a list of names between slashes"),
        (filtering("<hiddenSegments><ad /></hiddenSegments>"), "add, remove or clear"),
        (filtering('<requestLimits maxUrl="0" />'), "a whole number of characters from 1"),
        (filtering('<requestLimits maxUlr="1" />'), "perhaps maxUrl"),
        (ip_security(add(ipAddress="10.0.0.0.1")), "an IP address"),
        (ip_security(add(domainName="evil.example")), "names are not looked up"),
        (
            ip_security(add(ipAddress="10.0.0.0", subnetMask="8"), add(ipAddress="10.1.1.1", allowed="true")),
            "no exception from 10.0.0.0/8",
        ),
        (
            custom_headers(add(name="A b", value="x")),
            "the name of a header field",
        ),
        (
            custom_headers(add(name="A", value="x&#10;y")),
            "a string without line breaks",
        ),
    ],
)  # fmt: skip
def test_what_no_module_can_do_is_refused(content: bytes, phrase: str) -> None:
    assert any(phrase in error.sentence for error in read(content).errors)


@pytest.mark.parametrize(
    "inside",
    [
        '<authentication><anonymousAuthentication enabled="false" /></authentication>',
        "<authorization>" + add(accessType="Deny", users="?") + "</authorization>",
        "<authorization>" + add(accessType="Allow", roles="admins") + "</authorization>",
        '<authorization><remove users="*" roles="" verbs="" /></authorization>',
        '<access sslFlags="Ssl, SslNegotiateCert, SslRequireCert" />',
    ],
)
def test_what_would_keep_somebody_out_is_never_passed_over(inside: str) -> None:
    assert "here everybody would come in" in error_of(with_security(inside))


@pytest.mark.parametrize(
    "inside",
    [
        '<authentication><anonymousAuthentication enabled="false" /></authentication>',
        "<authorization>" + add(accessType="Deny", users="*") + "</authorization>",
        '<access sslFlags="SslRequireCert" />',
        '<ipSecurity allowUnlisted="false" />',
        "<ipSecurity>" + add(ipAddress="10.0.0.1") + "</ipSecurity>",
        "<ipSecurity>" + add(ipAddress="10.0.0.1", allowed="false") + "</ipSecurity>",
    ],
)
def test_nor_where_only_a_part_of_the_app_is_closed(inside: str) -> None:
    location = f'<location path="admin"><system.webServer><security>{inside}</security></system.webServer></location>'
    content = with_security("").replace(b"</configuration>", location.encode() + b"</configuration>")
    assert "here everybody would come in" in error_of(content)


@pytest.mark.parametrize(
    "inside",
    [
        "<authorization>" + add(accessType="Allow", users="*") + "</authorization>",
        "<ipSecurity>" + add(ipAddress="10.0.0.1", allowed="true") + "</ipSecurity>",
        "<requestFiltering><filteringRules /></requestFiltering>",
    ],
)
def test_a_part_of_the_app_that_is_open_is_named_only(inside: str) -> None:
    location = f'<location path="public"><system.webServer><security>{inside}</security></system.webServer></location>'
    content = with_security("").replace(b"</configuration>", location.encode() + b"</configuration>")
    (told,) = warnings_of(content)
    assert 'the location "public"' in told


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        ('<authentication><anonymousAuthentication enabled="true" /></authentication>', ()),
        ('<authentication><basicAuthentication enabled="false" /></authentication>', ()),
        ('<authentication><basicAuthentication enabled="true" /></authentication>', ("basicAuthentication",)),
        ("<authorization><clear />" + add(accessType="Allow", users="*") + "</authorization>", ()),
        ('<access sslFlags="None" />', ()),
        ('<access sslFlags="Ssl" />', ('"Ssl"',)),
        ("<requestFiltering><filteringRules /></requestFiltering>", ("filteringRules",)),
        ('<requestFiltering allowHighBitCharacters="false" />', ('"false"',)),
        ('<requestFiltering unescapeQueryString="false" />', ()),
        ("<applicationDependencies />", ("applicationDependencies",)),
    ],
)
def test_what_changes_nothing_for_visitors_is_named_at_most(inside: str, named: tuple[str, ...]) -> None:
    told = warnings_of(with_security(inside))
    assert [name for name in named if name in "".join(told)] == list(named)
    assert len(told) == len(named)
