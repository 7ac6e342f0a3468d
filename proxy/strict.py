"""The strict reader: RFC 9112 on the raw bytes of a message head, as tables.

h11 is the judge of every message, but it lets pass what two readers may understand differently: a bare LF, a
folded line, a Host that is no host, a version that does not exist. Whoever passes this file cannot be
understood in two ways, so Portico's language is a subset of h11's. Every head is looked at here before
anybody acts on a byte of it.

A *head* is everything up to and including the empty line: ``GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n``.
Whoever calls has found its end (the first CRLF CRLF), has dropped empty lines before the request line if it
wants to (RFC 9112 2.2 lets it), and answers `Malformed.status` to a client, 502 for an app.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple, NoReturn

# ------------------------------------------------------------------------------------------------------------
# What is said to callers


class Malformed(ValueError):
    """A head that is refused: `status` for the client, `reason` a short phrase that shows no byte of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, `max_fields` in lines.

    64 KiB is ANCM's own limit of a head; 8 KiB a target is Apache's LimitRequestLine and nginx's buffer; 100
    fields are Kestrel's MaxRequestHeaderCount and Apache's LimitRequestFields.
    """

    max_head: int = 64 * 1024
    max_target: int = 8 * 1024
    max_fields: int = 100


REQUEST_LIMITS = Limits()
# An app is trusted more than a visitor, and one that sets many cookies has many fields.
RESPONSE_LIMITS = Limits(max_fields=1000)

# The longest registered method has 17 letters (UPDATEREDIRECTREF). RFC 9112 3: longer than any we implement
# is 501.
MAX_METHOD = 64
MAX_CONTENT_LENGTH = 2**63 - 1  # signed 64 bit, what every file system and language beyond us can count to
MAX_HOST = 255  # a DNS name's limit, RFC 1035 2.3.4

# ------------------------------------------------------------------------------------------------------------
# Grammar

TCHAR = rb"!#$%&'*+.^_`|~0-9A-Za-z-"  # RFC 9110 5.6.2
# RFC 9112 3.2 allows only RFC 3986 characters; browsers send | { } ^ ` " raw, and nginx and h11 take them.
# What never crosses: blanks and control bytes (they end a target elsewhere), bytes above 0x7e, and "#", which
# no client may send.
TARGET_CHAR = rb"!-\"$-~"
# RFC 3986 reg-name without "%" and without the separators * + , ; = : what http.sys and Kestrel take. A comma
# would read as two hosts in X-Forwarded-Host.
HOST_CHAR = rb"!$&'()._~0-9A-Za-z-"


class Fault(NamedTuple):
    """Bytes that have no place in any head: where `pattern` is found the head is refused with 400."""

    section: str
    pattern: re.Pattern[bytes]
    reason: str


# In this order, since a later line may take for granted what an earlier one excludes.
FAULTS = (
    Fault("RFC 9110 5.5", re.compile(rb"\x00"), "a NUL byte in the head"),
    Fault("RFC 9112 2.2", re.compile(rb"(?<!\r)\n"), "a line that ends in LF without CR"),
    Fault("RFC 9112 2.2", re.compile(rb"\r(?!\n)"), "a CR without LF"),
    Fault("RFC 9110 5.5", re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"), "a control byte in the head"),
    Fault("RFC 9112 2.1", re.compile(rb"\r\n\r\n(?=.)", re.DOTALL), "bytes after the end of the head"),
    Fault("RFC 9112 2.2", re.compile(rb"\A\r\n"), "an empty line where the first line must be"),
    Fault("RFC 9112 2.2", re.compile(rb"\A[ \t]"), "white space before the first line"),
    Fault("RFC 9112 2.2", re.compile(rb"\A[^\r]*\r\n[ \t]"), "white space before the first field"),
    Fault("RFC 9112 5.2", re.compile(rb"\r\n[ \t]"), "a folded field line"),
    Fault("RFC 9112 5.1", re.compile(rb"\r\n:"), "a field without a name"),
    Fault("RFC 9112 5.1", re.compile(rb"\r\n[^:\r]*[ \t]:"), "white space before a colon"),
    Fault("RFC 9112 5", re.compile(rb"\r\n[^:\r]+\r\n"), "a field line without a colon"),
    Fault("RFC 9110 5.1", re.compile(rb"\r\n(?![" + TCHAR + rb"]+:)[^\r]"), "a field name that is no token"),
    Fault("RFC 9112 2.1", re.compile(rb"\A(?!.*\r\n\r\n\Z)", re.DOTALL), "a head without an end"),
)

# The plain case: what browsers and ordinary clients send, in one pass. Whatever it declines goes the whole
# way through the tables, which alone refuse; what it takes they take as well (the property suite compares).
_PLAIN_REQUEST = re.compile(
    rb"(?P<method>[" + TCHAR + rb"]{1,32}+) (?P<target>/[" + TARGET_CHAR + rb"]*+) HTTP/1\.1\r\n"
    rb"(?:[" + TCHAR + rb"]++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)+\r\n"
)
_PLAIN_RESPONSE = re.compile(
    rb"HTTP/1\.1 [1-5][0-9][0-9] [^\x00-\x08\x0a-\x1f\x7f]*+\r\n"
    rb"(?:[" + TCHAR + rb"]++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*\r\n"
)
# All ports, up to the last: those above 60,000 are what a client of tests and tunnels often gets.
PLAIN_PORT = rb"(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_PLAIN_HOST = re.compile(rb"[ \t]*+[0-9A-Za-z._-]{1,255}+(?::" + PLAIN_PORT + rb")?[ \t]*+\r")
_PLAIN_LENGTH = re.compile(rb"[ \t]*+[0-9]{1,18}+[ \t]*+\r")

_REQUEST_LINE = re.compile(rb"(?P<method>[^ \t]+) (?P<target>[^ \t]+) (?P<version>[^ \t]+)")
_STATUS_LINE = re.compile(rb"(?P<version>[^ \t]+) (?P<status>[1-5][0-9][0-9])(?: [^\r\n]*)?")
_TOKEN = re.compile(rb"[" + TCHAR + rb"]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_TARGET = re.compile(rb"[" + TARGET_CHAR + rb"]+")
_ABSOLUTE = re.compile(rb"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<authority>[^/?]*)(?P<rest>.*)")
_NAMED_HOST = re.compile(rb"(?P<name>[" + HOST_CHAR + rb"]+)(?::(?P<port>[0-9]{1,5}))?")
_IPV6_HOST = re.compile(rb"\[(?P<name>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]{1,5}))?")
_DIGITS = re.compile(rb"[0-9]{1,19}")
# A NUL in a path ends it for some readers and not for others: nginx, Kestrel and http.sys refuse it too.
_ENCODED_NUL = re.compile(rb"[^?]*%00")

# Names that apps behind CGI-like gateways cannot tell from the fields that frame a message (PEP 3333 turns -
# into _).
_FRAMING_TWINS = frozenset({b"content_length", b"transfer_encoding"})

# ------------------------------------------------------------------------------------------------------------
# Requests


def check_request_head(head: bytes, limits: Limits = REQUEST_LIMITS) -> None:
    """Raise `Malformed` unless `head` is one request head that can be understood in one way only."""
    if not _is_plain_request(head, limits):
        _check_request_by_tables(head, limits)


def _check_request_by_tables(head: bytes, limits: Limits) -> None:
    _check_request_sizes(head, limits)
    _check_faults(head)
    line, *field_lines = head[:-4].split(b"\r\n")
    method, target, version = _request_line(line)
    fields = _fields(field_lines, limits)
    _check_method(method)
    authority = _target_authority(method, target)
    _check_request_framing(version, fields)
    _check_request_host(version, fields, target, authority)


def _is_plain_request(head: bytes, limits: Limits) -> bool:
    match = _PLAIN_REQUEST.fullmatch(head)
    if match is None or len(head) > limits.max_head:
        return False
    if (
        match.end("target") - match.start("target") > limits.max_target
        or head.count(b"\r\n") > limits.max_fields
    ):
        return False
    folded = head.lower()
    host = folded.find(b"\nhost:")
    if host < 0 or folded.find(b"\nhost:", host + 6) >= 0 or not _PLAIN_HOST.match(folded, host + 6):
        return False
    if b"\ntransfer" in folded or b"\ncontent_" in folded or b"%00" in head or folded.startswith(b"connect "):
        return False
    return _has_plain_length(folded)


def _has_plain_length(folded: bytes) -> bool:
    length = folded.find(b"\ncontent-length:")
    if length < 0:
        return True
    if folded.find(b"\ncontent-length:", length + 16) >= 0:
        return False
    return _PLAIN_LENGTH.match(folded, length + 16) is not None


def _check_request_sizes(head: bytes, limits: Limits) -> None:
    """414 before 431: the more exact answer (RFC 9110 15.5.15, RFC 6585 5)."""
    line_end = head.find(b"\r\n")
    first = head.find(b" ", 0, line_end)
    last = head.rfind(b" ", 0, line_end)
    if last - first - 1 > limits.max_target:
        _refuse(414, "a request target longer than the limit")
    if len(head) > limits.max_head:
        _refuse(431, "a request head larger than the limit")


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        _refuse(400, "a request line that is not method, target and version, parted by one space each")
    method, target, version = match.group("method", "target", "version")
    if not _TOKEN.fullmatch(method):
        _refuse(400, "a method that is no token")
    _check_version(version)
    return method, target, version


def _check_version(version: bytes) -> None:
    if version in (b"HTTP/1.1", b"HTTP/1.0"):
        return
    if _VERSION.fullmatch(version):
        _refuse(505, "an HTTP version other than 1.1 and 1.0")
    _refuse(400, "a first line without an HTTP version")


def _check_method(method: bytes) -> None:
    if len(method) > MAX_METHOD:
        _refuse(501, "a method longer than any that is known")
    if method == b"CONNECT":
        _refuse(501, "CONNECT, which this server does not offer")


def _target_authority(method: bytes, target: bytes) -> bytes | None:
    """The checked authority of an absolute-form target without its scheme's default port; else None."""
    if not _TARGET.fullmatch(target):
        _refuse(400, "a request target with a character that no target may have")
    if target == b"*":
        if method != b"OPTIONS":
            _refuse(400, "the target * with another method than OPTIONS")
        return None
    if _ENCODED_NUL.match(target):
        _refuse(400, "an encoded NUL in the path")
    if target.startswith(b"/"):
        return None
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        _refuse(400, "a request target in none of the forms of RFC 9112 section 3.2")
    # RFC 9110 4.2.4: user information in a target is an attempt to deceive. "@" is no host character.
    if not is_host(match["authority"]):
        _refuse(400, "an absolute target whose authority is no host")
    return _without_default_port(match["authority"], match["scheme"])


def _without_default_port(authority: bytes, scheme: bytes) -> bytes:
    return authority.lower().removesuffix(b":443" if len(scheme) == 5 else b":80")


class Target(NamedTuple):
    """A request target that passed `check_request_head`, taken apart; nothing in it is decoded."""

    authority: bytes  # of an absolute-form target, else b""
    path: bytes  # without query; b"*" for the asterisk-form
    origin: bytes  # the same target in origin-form (path and query), or b"*"


def split_target(target: bytes) -> Target:
    """Take apart a target that passed `check_request_head` (RFC 9112 3.2)."""
    authority, rest = b"", target
    if not target.startswith((b"/", b"*")):
        authority, slash, rest = _split_absolute(target)
        rest = slash + rest
    return Target(authority, rest.partition(b"?")[0], rest)


def _split_absolute(target: bytes) -> tuple[bytes, bytes, bytes]:
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise ValueError("a target that check_request_head has not seen")
    return match["authority"], b"" if match["rest"].startswith(b"/") else b"/", match["rest"]


def _check_request_host(
    version: bytes, fields: list[tuple[bytes, bytes]], target: bytes, authority: bytes | None
) -> None:
    """RFC 9112 3.2: none in HTTP/1.1, several, or one that is no host: 400."""
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1:
        _refuse(400, "more than one Host")
    if not hosts:
        if version == b"HTTP/1.1":
            _refuse(400, "no Host in HTTP/1.1")
        return
    # Empty is for targets without an authority; an http target has one (RFC 9110 4.2.1).
    if not is_host(hosts[0]):
        _refuse(400, "a Host that is no host")
    # RFC 9112 3.2: a client MUST send a Host identical to the target's authority. Apps read one or the other.
    if authority is not None:
        scheme = target.partition(b":")[0]
        if _without_default_port(hosts[0], scheme) != authority:
            _refuse(400, "a Host that differs from the authority of the target")


def is_host(value: bytes) -> bool:
    """Whether `value` is uri-host [ ":" port ] (RFC 9110 7.2): HOST_CHAR characters, or an IPv6 literal."""
    if len(value) > MAX_HOST + 6:
        return False
    match = _NAMED_HOST.fullmatch(value) or _IPV6_HOST.fullmatch(value)
    if match is None or len(match["name"]) > MAX_HOST:
        return False
    if match["port"] is not None and int(match["port"]) > 65535:
        return False
    return not value.startswith(b"[") or _is_ipv6(match["name"])


def _is_ipv6(text: bytes) -> bool:
    try:
        IPv6Address(text.decode("ascii"))
    except AddressValueError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------------
# Responses


def check_response_head(head: bytes, limits: Limits = RESPONSE_LIMITS) -> None:
    """Raise `Malformed` (status 502) unless `head` is one response head with one meaning.

    What a status says about a body (none after HEAD, with 1xx, 204, 304) is not looked at: RFC 9112 6.3 puts
    it before every length, so it is never ambiguous.
    """
    if len(head) <= limits.max_head and _PLAIN_RESPONSE.fullmatch(head):
        folded = head.lower()
        few = folded.count(b"\r\n") <= limits.max_fields
        if few and b"\ntransfer-encoding:" not in folded and _has_plain_length(folded):
            return
    try:
        _check_response(head, limits)
    except Malformed as problem:
        raise Malformed(502, problem.reason) from None


def _check_response(head: bytes, limits: Limits) -> None:
    if len(head) > limits.max_head:
        _refuse(502, "a response head larger than the limit")
    _check_faults(head)
    line, *field_lines = head[:-4].split(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        _refuse(502, "a status line that is not version, status from 100 to 599 and reason")
    _check_version(match["version"])
    _check_framing(match["version"], _fields(field_lines, limits))


# ------------------------------------------------------------------------------------------------------------
# Trailers


def check_trailers(section: bytes, limits: Limits = REQUEST_LIMITS) -> None:
    """Raise `Malformed` unless `section` is the trailer section of a chunked body (RFC 9112 7.1.2).

    It holds the field lines and the empty line that ends them; ``\\r\\n`` alone is the section without
    fields.
    """
    if len(section) > limits.max_head:
        _refuse(431, "a trailer section larger than the limit")
    # The fault table wants a first line before the fields.
    _check_faults(b"0\r\n" + section)
    fields = _fields(section[:-4].split(b"\r\n") if len(section) > 2 else [], limits)
    framing = [value for name, value in fields if name in (b"content-length", b"transfer-encoding")]
    # It frames nothing here (RFC 9110 6.5.1), but nobody shall be asked to read what is no length.
    if len(framing) > 1 or not all(map(_DIGITS.fullmatch, framing)):
        _refuse(400, "a trailer that frames a message")


# ------------------------------------------------------------------------------------------------------------
# Fields and framing, alike for both directions


def _check_faults(head: bytes) -> None:
    for fault in FAULTS:
        if fault.pattern.search(head):
            _refuse(400, fault.reason)


def _fields(lines: list[bytes], limits: Limits) -> list[tuple[bytes, bytes]]:
    """Lower-case names, values without white space around them. The lines have passed FAULTS."""
    if len(lines) > limits.max_fields:
        _refuse(431, "more fields than the limit")
    pairs = (line.partition(b":") for line in lines)
    return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]


def _check_request_framing(version: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    if any(name in _FRAMING_TWINS for name, _ in fields):
        _refuse(400, "a field whose name is a twin of Content-Length or Transfer-Encoding")
    _check_framing(version, fields)


def _check_framing(version: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """One length at most, and in one way only (RFC 9112 6.1 to 6.3)."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if lengths and codings:
        _refuse(400, "both Content-Length and Transfer-Encoding")
    # RFC 9110 8.6 lets equal repeats and lists be taken for one or refused; smuggling lives on those who take
    # them.
    if len(lengths) > 1:
        _refuse(400, "more than one Content-Length")
    if lengths and (not _DIGITS.fullmatch(lengths[0]) or int(lengths[0]) > MAX_CONTENT_LENGTH):
        _refuse(400, "a Content-Length that is no length")
    if codings:
        _check_transfer_encoding(version, codings)


def _check_transfer_encoding(version: bytes, codings: list[bytes]) -> None:
    if version == b"HTTP/1.0":
        _refuse(400, "Transfer-Encoding in HTTP/1.0")
    if len(codings) > 1:
        _refuse(400, "more than one Transfer-Encoding")
    coding = codings[0].lower()
    if coding == b"chunked":
        return
    # A coding that we do not know is 501 (RFC 9112 6.1); a list or a name that is no token hides one: 400.
    if _TOKEN.fullmatch(coding):
        _refuse(501, "a transfer coding other than chunked")
    _refuse(400, "a Transfer-Encoding that is not exactly chunked")


def _refuse(status: int, reason: str) -> NoReturn:
    raise Malformed(status, reason)
