"""Connections of `https://` addresses until they are encrypted: no greenlet, limited in time, no flood in the log."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from collections.abc import Callable

import structlog

from proxy.headers import Caller
from proxy.streams import Deadlines, Stream, TimedOut
from proxy.tls import Tls, names_of, subject_of
from proxy.tls_stream import NotTls, TlsStream

#: Seconds for which failures of one kind are counted before they are told again.
TOLD_EVERY = 60.0

Connected = Callable[[Stream, Caller], None]


class Handshakes:
    """`connected` gets every stream that is encrypted now, `plain` every one that spoke something else (its first
    bytes are unread), `over` is called when one that has begun is under way no more."""

    def __init__(
        self, tls: Tls, deadlines: Deadlines, connected: Connected, plain: Connected, over: Callable[[], None]
    ) -> None:
        self.tls = tls
        self._deadlines = deadlines
        self._connected = connected
        self._plain = plain
        self._over = over
        self.under_way: set[TlsStream] = set()
        self.failures = Failures()

    def begin(self, sock: socket.socket, caller: Caller, limit: float, first: bytes = b"") -> None:
        """`limit`: seconds; `first`: what was read of the connection already."""
        stream = TlsStream(sock, self._deadlines, self.tls.context)
        self.under_way.add(stream)
        stream.shake(limit, lambda problem: self._shaken(stream, caller, problem), first)

    def hurry(self, limit: float) -> None:
        """The worker goes away: whoever is half in has so long."""
        for stream in self.under_way:
            stream.hurry(limit)

    def _shaken(self, stream: TlsStream, caller: Caller, problem: Exception | None) -> None:
        if problem is None:
            self._connected(stream, _certified(caller, stream))
        elif isinstance(problem, NotTls):
            plain = Stream(stream.surrender(), self._deadlines)
            plain.unread(problem.first)
            # What is said over this connection is in plain, whatever its address promises (RFC 6797 7.2).
            self._plain(plain, dataclasses.replace(caller, scheme="http"))
        else:
            stream.close()
            self.failures.count(reason_of(problem), caller.address, self._deadlines.now())
        self.under_way.discard(stream)
        self._over()


def _certified(caller: Caller, stream: TlsStream) -> Caller:
    certificate = stream.certificate
    if not certificate:
        return caller
    facts = stream.certificate_facts
    return dataclasses.replace(
        caller, certificate=certificate, subject=subject_of(facts), names=names_of(facts)
    )


def reason_of(problem: Exception) -> str:
    """One of a few hundred words (sslerr.h has most of them), so that failures can be counted by it."""
    if isinstance(problem, TimedOut):
        return "slow"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"certificate: {problem.verify_message}"
    if isinstance(problem, ssl.SSLError):
        return (getattr(problem, "reason", None) or "unknown").lower().replace("_", " ")
    return "the client went away"


class Failures:
    """Handshakes that have failed, by reason: each reason is told once, then again with a count."""

    def __init__(self) -> None:
        self.total = 0
        self._untold: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def count(self, reason: str, address: str, now: float) -> None:
        """`address`: of the client that is told with it; `now`: monotonic."""
        self.total += 1
        self._untold[reason] = self._untold.get(reason, 0) + 1
        if now - self._told.get(reason, -TOLD_EVERY) >= TOLD_EVERY:
            self._tell(reason, now, client=address)

    def tell_rest(self, now: float) -> None:
        """Those that were counted only, once it is time."""
        for reason in list(self._untold):
            if now - self._told.get(reason, now) >= TOLD_EVERY:
                self._tell(reason, now)

    def _tell(self, reason: str, now: float, **more: str) -> None:
        times = self._untold.pop(reason, 0)
        self._told[reason] = now
        structlog.get_logger().info("tls.refused", reason=reason, times=times, **more)
