"""Which fields cross the front, in both directions (RFC 9110 7.6), and what the front adds.

One pass over the list: a field's *key* is its name in lower case with every byte that is no letter or digit
read as `-`, since CGI-like gateways (WSGI's HTTP_ variables, Apache's mod_cgi) cannot tell such names apart.
The key is looked up in a table; all it does not name crosses verbatim, in order, repeated fields included.

*Framing stays with whoever frames*: `request_fields` takes Content-Length and Transfer-Encoding out, the
caller writes what it sends. `response_fields` takes out Transfer-Encoding alone: Content-Length is what HEAD
and 304 answers say of a body that does not come; a caller that frames anew drops it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

Fields = list[tuple[bytes, bytes]]
"""Names as received, values without white space around them."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The peer of a visitor's connection. `address` is "" (and `port` 0) on a Unix socket.

    `certificate`: the client certificate that it has proved to own and that OpenSSL has verified, in DER, or b"".
    `subject` and `names` are of that certificate, as OpenSSL decodes them. `nameless`: a proxy that passes bytes on has
    not told who it is; address and port are the proxy's.
    """

    address: str
    port: int
    scheme: str  # "http" | "https", of this connection
    certificate: bytes = b""
    subject: str = ""  # RFC 4514: "CN=Ada,O=Example"
    names: tuple[tuple[str, str], ...] = ()  # subjectAltName: ("DNS", "a.example"), ("email", …), …
    nameless: bool = False


TOKEN_NAME = b"MS-ASPNETCORE-TOKEN"
CERTIFICATE_NAME = b"MS-ASPNETCORE-CLIENTCERT"
IDENTITY_NAME = b"MS-ASPNETCORE-IDENTITY"

_FOLD = bytes(c if chr(c).isalnum() and c < 128 else ord("-") for c in bytes(range(256)).lower())

# Never from a client, never to a client; the prefix has no dash at its end, as ANCM's.
_OURS = b"ms-aspnetcore"
# Believed from a trusted proxy alone.
_FORWARDED_PREFIXES = (b"x-forwarded", b"x-original-", b"x-real-ip")
# Who a visitor is, say modules and nobody else, a trusted proxy neither: gateways and frameworks believe these names.
# Django's RemoteUserMiddleware takes the first for true under ASGI; the others stand beside it (Authelia, Kubernetes).
_OF_VISITORS = frozenset(
    b"remote-user remote-groups remote-name remote-email x-remote-user x-remote-group x-remote-groups".split()
)


class _Act(Enum):
    """What becomes of a field."""

    DROP = auto()
    CONNECTION = auto()  # dropped, and drops what it names
    TE = auto()  # `trailers` alone crosses (RFC 9110 10.1.4)
    HOST = auto()
    EXPECT = auto()  # RFC 9110 10.1.1: to be ignored in HTTP/1.0


_REQUEST_ACTS = {
    b"connection": _Act.CONNECTION,
    b"keep-alive": _Act.DROP,
    b"proxy-connection": _Act.DROP,
    b"transfer-encoding": _Act.DROP,
    b"content-length": _Act.DROP,
    b"upgrade": _Act.DROP,
    b"http2-settings": _Act.DROP,  # h2c upgrades are not offered, see `upgrade_of`
    b"te": _Act.TE,
    b"proxy-authorization": _Act.DROP,  # RFC 9110 11.7.2: for the next proxy, and that is us
    b"proxy": _Act.DROP,  # becomes HTTP_PROXY in CGI-like apps (CVE-2016-5385)
    # gunicorn takes these two (spelled with `_`) from 127.0.0.1 for where the app is mounted and what is asked for
    # (its `forwarder_headers`); the settings say the former, the target the latter.
    b"script-name": _Act.DROP,
    b"path-info": _Act.DROP,
    # Said anew, of whom a trusted proxy speaks for too (`forwarded.py`).
    b"x-forwarded-for": _Act.DROP,
    b"x-forwarded-proto": _Act.DROP,
    b"x-forwarded-host": _Act.DROP,
    b"forwarded": _Act.DROP,
    b"x-request-id": _Act.DROP,  # see `request_id_of`
    **dict.fromkeys(_OF_VISITORS, _Act.DROP),
    b"host": _Act.HOST,
    b"expect": _Act.EXPECT,
}

_RESPONSE_ACTS = {
    b"connection": _Act.CONNECTION,
    b"keep-alive": _Act.DROP,
    b"proxy-connection": _Act.DROP,
    b"transfer-encoding": _Act.DROP,
    b"upgrade": _Act.DROP,
    b"te": _Act.DROP,
    b"proxy-authenticate": _Act.DROP,  # RFC 9110 11.7.1: a proxy's word to its client; an app is none
    b"proxy-authentication-info": _Act.DROP,
}

# RFC 9110 7.6.1: a Connection option must not name a field meant for all recipients. A client that does so
# wants the app to miss what the front has seen (or the other way about), so these names count for nothing in
# Connection.
_NEVER_NOMINATED = frozenset(
    b"host content-length content-type content-encoding content-range content-disposition content-language "
    b"authorization cookie set-cookie cache-control expect max-forwards trailer via date location vary etag "
    b"www-authenticate forwarded origin".split()
)
# What Connection ordinarily says; the fields of these names are dropped anyway.
_OWN_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})

# RFC 9110 6.5.1: not in trailers what frames, routes, modifies, authenticates or describes the message.
_NEVER_TRAILERS = frozenset(
    b"transfer-encoding content-length host connection keep-alive proxy-connection upgrade "
    b"http2-settings te trailer cache-control expect max-forwards pragma range if-match if-none-match "
    b"if-modified-since if-unmodified-since if-range authorization proxy-authorization "
    b"proxy-authenticate proxy-authentication-info www-authenticate authentication-info cookie "
    b"set-cookie age expires date location retry-after vary warning etag last-modified content-encoding "
    b"content-type content-range content-location forwarded via proxy x-request-id script-name path-info".split()
).union(_OF_VISITORS)

# ------------------------------------------------------------------------------------------------------------
# Both ways


def folded(name: bytes) -> bytes:
    """The key of a name (see the module's docstring)."""
    return name.translate(_FOLD)


_key = folded


def connection_tokens(fields: Fields) -> frozenset[bytes]:
    """The options of all Connection fields, in lower case."""
    return _options(value for name, value in fields if name.lower() == b"connection")


def _options(values: Iterable[bytes]) -> frozenset[bytes]:
    """The members of comma-separated lists (RFC 9110 5.6.1), lower case; empty members count for nothing."""
    members = b",".join(values).lower().split(b",")
    return frozenset(member.strip(b" \t") for member in members) - {b""}


def wants_close(http_version: bytes, fields: Fields) -> bool:
    """Whether the connection ends after this message (RFC 9112 9.3). `http_version`: b"1.1" or b"1.0"."""
    options = connection_tokens(fields)
    if b"close" in options:
        return True
    return http_version < b"1.1" and b"keep-alive" not in options


def expects_continue(http_version: bytes, fields: Fields) -> bool:
    """Whether the client waits for 100 before its body (RFC 9110 10.1.1)."""
    values = (value for name, value in fields if name.lower() == b"expect")
    return http_version >= b"1.1" and b"100-continue" in _options(values)


def upgrade_of(http_version: bytes, fields: Fields) -> bytes | None:
    """The Upgrade value that may cross: the protocols a message offers to switch to, or None.

    HTTP itself (h2c) and TLS are left out, as RFC 9110 7.8 lets us: what follows such a 101 is requests that
    this front would never see, token and forwarded fields of the client's choice included.
    """
    if http_version < b"1.1" or b"upgrade" not in connection_tokens(fields):
        return None
    values = b",".join(value for name, value in fields if name.lower() == b"upgrade")
    offered = (protocol.strip(b" \t") for protocol in values.split(b","))
    return b", ".join(p for p in offered if p and not _SPEAKS_HTTP.match(p)) or None


_SPEAKS_HTTP = re.compile(rb"(?:h2c?|h3|http|tls)(?![0-9a-z-])", re.IGNORECASE)


def without_nominations(fields: Fields) -> Fields:
    """Less what Connection names, and less Connection itself if it names anything: what is said from here on is not
    the sender's to drop."""
    nominated = connection_tokens(fields)
    if nominated <= _OWN_OPTIONS:
        return fields
    kept = [pair for pair in fields if pair[0].lower() != b"connection"]
    return _without_nominated(kept, nominated - _OWN_OPTIONS)


def _without_nominated(fields: Fields, nominated: frozenset[bytes]) -> Fields:
    """Less what Connection names (RFC 9110 7.6.1)."""
    if nominated <= _OWN_OPTIONS:
        return fields
    keys = {_key(option) for option in nominated} - _NEVER_NOMINATED
    names = {key for key in keys if not key.startswith(_FORWARDED_PREFIXES)}
    return [pair for pair in fields if _key(pair[0]) not in names]


# ------------------------------------------------------------------------------------------------------------
# Requests


def request_fields(
    fields: Fields,
    *,
    caller: Caller,
    host: bytes,
    token: bytes,
    request_id: bytes,
    upgrade: bytes | None = None,
    forwarded_for_port: bool = False,
    trusted: bool = False,
    forwarded_host: bytes = b"",
    forwarded: bytes = b"",
    via: bytes = b"",
    http_version: bytes = b"1.1",
) -> Fields:
    """What the app is told; the strict reader has passed the head. No framing (see the module's docstring).

    `host`: the Host received, the authority of an absolute-form target, or for an HTTP/1.0 request with
    neither the address it came to. `upgrade`: what `upgrade_of` said, if the request is to be sent as one.
    `http_version`: the client's. `trusted`: the peer is one of `trusted_proxies`, so that what it says of the way
    beside X-Forwarded-For, -Proto, -Host and Forwarded crosses as it is; those are said anew, of `caller`, for whom
    it speaks. `forwarded_host`: what the visitor asked for, if that is not `host`. `forwarded`: `forwarded_element`,
    where the app is told in that way too.
    """
    kept, connections, names_host = _kept_of_request(fields, trusted, http_version)
    options = _options(connections)
    crossing = _without_nominated(kept, options) if options else kept
    if not names_host:
        crossing.insert(0, (b"Host", host or b"localhost"))
    crossing += _hop_fields(fields, upgrade)
    if via:
        crossing.append((b"Via", http_version + b" " + via))
    if caller.certificate:
        crossing.append((CERTIFICATE_NAME, b64encode(caller.certificate)))
    crossing += _forwarded_fields(caller, forwarded_host or host, forwarded_for_port, forwarded)
    crossing.append((b"X-Request-ID", request_id))
    crossing.append((TOKEN_NAME, token))
    return crossing


def _kept_of_request(fields: Fields, trusted: bool, http_version: bytes) -> tuple[Fields, list[bytes], bool]:
    """What may cross, the Connection values, and whether there is a Host."""
    kept: Fields = []
    connections: list[bytes] = []
    names_host = False
    for pair in fields:
        key = pair[0].translate(_FOLD)
        act = _REQUEST_ACTS.get(key)
        if act is None:
            if _is_crossing(pair[0], key, trusted):
                kept.append(pair)
        elif act is _Act.HOST:
            names_host = True
            kept.append(pair)
        elif act is _Act.CONNECTION:
            connections.append(pair[1])
        elif act is _Act.EXPECT and http_version >= b"1.1":
            kept.append(pair)
    return kept, connections, names_host


def _is_crossing(name: bytes, key: bytes, trusted: bool) -> bool:
    """A trusted proxy is believed by the exact name: it may have let a client's look-alike pass."""
    if key.startswith(_FORWARDED_PREFIXES):
        return trusted and name.lower() == key
    return not key.startswith(_OURS)


def _hop_fields(fields: Fields, upgrade: bytes | None) -> Fields:
    """The fields of our own hop: Upgrade and TE, each named by Connection (RFC 9110 7.8, 10.1.4)."""
    own: Fields = []
    if upgrade:
        own.append((b"Upgrade", upgrade))
    if takes_trailers(fields):
        own.append((b"TE", b"trailers"))
    if own:
        own.insert(0, (b"Connection", b", ".join(name for name, _ in own)))
    return own


def takes_trailers(fields: Fields) -> bool:
    """Whether the sender reads trailers (RFC 9110 10.1.4)."""
    return b"trailers" in _options(value for name, value in fields if name.lower() == b"te")


def _forwarded_fields(caller: Caller, host: bytes, with_port: bool, forwarded: bytes) -> Fields:
    """X-Forwarded-For, -Proto and -Host; Forwarded where it is wanted."""
    own = [
        (b"X-Forwarded-For", forwarded_for(caller, with_port)),
        (b"X-Forwarded-Proto", caller.scheme.encode("ascii")),
    ]
    if host:
        own.append((b"X-Forwarded-Host", host))
    if forwarded:
        own.append((b"Forwarded", forwarded + _host_of_forwarded(host)))
    return own


def forwarded_element(caller: Caller, with_port: bool) -> bytes:
    """The value of Forwarded (RFC 7239) that tells of `caller`; `host` comes behind it."""
    node = forwarded_for(caller, with_port) if caller.address else b"unknown"
    if b":" in node:
        node = b'"%b"' % node if node.startswith(b"[") or node.count(b":") == 1 else b'"[%b]"' % node
    return b"for=%b;proto=%b" % (node, caller.scheme.encode("ascii"))


def _host_of_forwarded(host: bytes) -> bytes:
    return b';host="%b"' % host if host else b""


def forwarded_for(caller: Caller, with_port: bool) -> bytes:
    """`192.0.2.1`, `2001:db8::1`; with port (ANCM's way) `192.0.2.1:80`, `[2001:db8::1]:80`."""
    if not caller.address:
        return b"unix"
    # A dual-stack socket shows IPv4 visitors as ::ffff:192.0.2.1; a zone means nothing on another machine.
    address = caller.address.partition("%")[0]
    if "." in address:
        address = address.removeprefix("::ffff:")
    if not (with_port and caller.port):  # a trusted proxy may have told none
        return address.encode("ascii")
    return (f"[{address}]:{caller.port}" if ":" in address else f"{address}:{caller.port}").encode("ascii")


def is_relayed(fields: Fields) -> bool:
    """Whether the peer says that it speaks for somebody else: a proxy in front of us, trusted or not."""
    keys = {_key(name) for name, _ in fields}
    return not keys.isdisjoint(_MARKS_OF_PROXIES) or any(key.startswith(b"x-forwarded") for key in keys)


_MARKS_OF_PROXIES = frozenset({b"forwarded", b"via", b"x-real-ip"})

_SANE_ID = re.compile(rb"[0-9A-Za-z._:@/+=-]{1,128}")


def request_id_of(fields: Fields) -> bytes | None:
    """The X-Request-ID of a trusted peer, when there is one and it is fit for a log line."""
    ids = [value for name, value in fields if name.lower() == b"x-request-id"]
    return ids[0] if len(ids) == 1 and is_sane_id(ids[0]) else None


def is_sane_id(value: bytes) -> bool:
    """Whether an id of somebody else's is fit for a log line."""
    return _SANE_ID.fullmatch(value) is not None


# ------------------------------------------------------------------------------------------------------------
# Responses and trailers


def response_fields(
    fields: Fields, *, via: bytes = b"", http_version: bytes = b"1.1", upgrade: bytes | None = None
) -> Fields:
    """What the client is told, for a response whose head the strict reader has passed.

    `http_version`: the app's, for Via. `upgrade`: the Upgrade value of a 101, or of a 426 (RFC 9110 15.5.22
    wants it); it is sent with `Connection: Upgrade`.
    """
    kept: Fields = []
    connections: list[bytes] = []
    for pair in fields:
        key = pair[0].translate(_FOLD)
        act = _RESPONSE_ACTS.get(key)
        if act is None:
            if not key.startswith(_OURS):
                kept.append(pair)
        elif act is _Act.CONNECTION:
            connections.append(pair[1])
    options = _options(connections)
    crossing = _without_nominated(kept, options) if options else kept
    if upgrade:
        crossing += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade)]
    if via:
        crossing.append((b"Via", http_version + b" " + via))
    return crossing


def trailer_fields(fields: Fields) -> Fields:
    """The trailers that may cross, either way (RFC 9110 6.5.1)."""
    return [pair for pair in fields if _may_trail(_key(pair[0]))]


def _may_trail(key: bytes) -> bool:
    return key not in _NEVER_TRAILERS and not key.startswith((_OURS, *_FORWARDED_PREFIXES))


def caller_lines(caller: Caller, with_port: bool) -> bytes:
    """What `request_fields` says of the caller alone, as it is written: the same for all its requests."""
    certificate = b""
    if caller.certificate:
        certificate = b"%b: %b\r\n" % (CERTIFICATE_NAME, b64encode(caller.certificate))
    return b"%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (
        certificate,
        forwarded_for(caller, with_port),
        caller.scheme.encode("ascii"),
    )


def own_lines(
    of_caller: bytes, host: bytes, request_id: bytes, token: bytes, forwarded: bytes = b""
) -> bytes:
    """The fields that `request_fields` adds at the end, as they are written; `host` is not empty."""
    return b"%bX-Forwarded-Host: %b\r\n%bX-Request-ID: %b\r\n%b: %b\r\n" % (
        of_caller,
        host,
        b"Forwarded: %b%b\r\n" % (forwarded, _host_of_forwarded(host)) if forwarded else b"",
        request_id,
        TOKEN_NAME,
        token,
    )


def may_be_changed(name: bytes) -> bool:
    """Whether a module may say, replace or remove a field of this name, in either direction: nothing that frames
    (RFC 9112 6), belongs to a hop (RFC 9110 7.6.1), routes, or is the front's own word."""
    key = _key(name)
    return not (
        key in _REQUEST_ACTS
        or key in _RESPONSE_ACTS
        or key == b"trailer"
        or key.startswith((_OURS, *_FORWARDED_PREFIXES))
    )


# ------------------------------------------------------------------------------------------------------------
# By names alone, for the quick reader: the same tables, asked once for each sequence of names

Crossing = Callable[[tuple[bytes, ...]], tuple[int, ...] | None]
"""Field names to the indices of those that cross; None where values have a say in it."""

_ORDINARY = frozenset({b"content-length", b"transfer-encoding", b"connection", b"host"})


def crossing_of_request(names: tuple[bytes, ...], *, trusted: bool = False) -> tuple[int, ...] | None:
    """As `request_fields` for an HTTP/1.1 request whose Connection names no field."""
    crossing = []
    for index, name in enumerate(names):
        key = name.translate(_FOLD)
        act = _REQUEST_ACTS.get(key)
        if act in (_Act.TE, _Act.EXPECT) or key == b"upgrade" or (key in _ORDINARY and name.lower() != key):
            return None
        if act is _Act.HOST or (act is None and _is_crossing(name, key, trusted)):
            crossing.append(index)
    return tuple(crossing)


def crossing_of_response(names: tuple[bytes, ...]) -> tuple[int, ...] | None:
    """As `response_fields` for a final response whose Connection names no field."""
    crossing = []
    for index, name in enumerate(names):
        key = name.translate(_FOLD)
        if key == b"upgrade" or (key in _ORDINARY and name.lower() != key):
            return None
        if key not in _RESPONSE_ACTS and not key.startswith(_OURS):
            crossing.append(index)
    return tuple(crossing)
