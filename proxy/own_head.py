"""The heads of answers that are the front's own: pages, and what modules answer."""

from __future__ import annotations

from time import time

from proxy.conditions import http_date
from proxy.headers import Caller, Fields
from proxy.peer import Request
from proxy.reasons import standard_reason
from proxy.to_https import with_hsts
from supervisor_conf.settings import FrontSettings


def dated(fields: Fields) -> Fields:
    """With the Date that whoever makes an answer has to add (RFC 9110 6.6.1), before modules have their say."""
    return [(b"Date", http_date(int(time())).encode("ascii")), *fields]


def own_head(
    status: int,
    fields: Fields,
    length: int | None,
    *,
    request: Request | None,
    keep_alive: bool,
    front: FrontSettings,
    caller: Caller,
) -> bytes:
    """The whole head, as it is sent. `fields` are what modules have made of them: framing and the connection's fate are
    not theirs. `length`: of the body; None where RFC 9110 8.6 has no Content-Length. `request`: None for what was no
    request, after which `keep_alive` is never true.
    """
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    if length is not None:
        lines += b"Content-Length: %d\r\n" % length
    if not keep_alive:
        lines += b"Connection: close\r\n"
    elif request is not None and request.version == b"1.0":
        lines += b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, standard_reason(status), with_hsts(lines, front, caller))
