"""Connections of addresses with the PROXY protocol, until it is known who is calling: no greenlet, limited in time.

Not a byte after the preamble is read here: what follows is HTTP's, or a TLS handshake's.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import Any

from proxy.headers import Caller
from proxy.proxy_protocol import MAX_BLOCK, BadPreamble, Preamble, parse
from proxy.refusals import Refusals

Greeted = Callable[[socket.socket, Caller], None]


class Preambles:
    """`greeted` gets each connection whose preamble has been read, and who is calling by it; `over` is called when one
    is under way no more. `trusts` says of a peer whether it may speak the protocol."""

    def __init__(
        self, loop: Any, now: Callable[[], float], trusts: Callable[[Caller], bool], over: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._trusts = trusts
        self._over = over
        self._refusals = Refusals("proxy_protocol.refused", now)
        self.under_way: set[_Arrival] = set()

    def begin(self, sock: socket.socket, peer: Caller, limit: float, greeted: Greeted) -> None:
        """`limit`: seconds until the preamble has to be there."""
        if not self._trusts(peer):
            sock.close()
            self._refusals.count("the peer is none of trusted_proxies", peer.address)
            return
        self.under_way.add(_Arrival(self._loop, sock, peer, limit, greeted, self._arrived))

    def hurry(self, limit: float) -> None:
        """The worker goes away: whoever has not said who is calling has so long."""
        for arrival in self.under_way:
            arrival.limit(limit)

    def _arrived(self, arrival: _Arrival, problem: str) -> None:
        self.under_way.discard(arrival)
        if problem:
            self._refusals.count(problem, arrival.peer.address)
        self._over()


class _Arrival:
    """One connection."""

    def __init__(
        self,
        loop: Any,
        sock: socket.socket,
        peer: Caller,
        limit: float,
        greeted: Greeted,
        over: Callable[[_Arrival, str], None],
    ) -> None:
        sock.setblocking(False)
        self.peer = peer
        self._loop = loop
        self._sock = sock
        self._greeted = greeted
        self._over = over
        self._data = b""
        self._watcher = loop.io(sock.fileno(), 1)
        self._watcher.start(self._readable)
        self._timer: Any = None
        self.limit(limit)

    def limit(self, seconds: float) -> None:
        """The time that is left from now on."""
        if self._timer is not None:
            self._timer.close()
        self._timer = self._loop.timer(seconds)
        self._timer.start(self._end, "the preamble took too long")

    def _readable(self) -> None:
        try:
            here = self._sock.recv(MAX_BLOCK, socket.MSG_PEEK)
            found = parse(self._data + here) if here else None
            # Exactly what belongs to it: the rest stays in the kernel.
            taken = self._sock.recv(len(here) if found is None else found.length - len(self._data))
        except (BlockingIOError, InterruptedError):
            return
        except BadPreamble as problem:
            self._end(str(problem))
            return
        except OSError:
            self._end("")
            return
        self._data += taken
        if found is not None:
            self._release()
            self._greeted(self._sock, caller_of(found, self.peer))
            self._over(self, "")
        elif not here:
            # Nothing at all is how load balancers ask whether somebody listens.
            self._end("the connection ended in the middle of the preamble" if self._data else "")

    def _end(self, problem: str) -> None:
        self._release()
        self._sock.close()
        self._over(self, problem)

    def _release(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._timer.stop()
        self._timer.close()


def caller_of(preamble: Preamble, peer: Caller) -> Caller:
    """Who is calling. Where the proxy does not tell it, that is nobody who may speak for others."""
    scheme = "https" if preamble.tls else peer.scheme
    if preamble.address:
        return dataclasses.replace(peer, address=preamble.address, port=preamble.port, scheme=scheme)
    return dataclasses.replace(peer, scheme=scheme, nameless=True)
