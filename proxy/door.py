"""How many connections a worker holds, all together and of one client, and who has to go when there are too many."""

from __future__ import annotations

import heapq
import resource
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv6Network
from typing import Protocol, TypeVar

from proxy.headers import Caller
from proxy.refusals import Refusals

#: Descriptors for listeners, logs, the keeper, the event loop, and what apps' names are looked up with.
RESERVED = 64
#: What one request may hold: the client, the app, and a pipe between them.
EACH = 4
#: Raising a limit costs nothing, but a million is what no worker needs.
ENOUGH = 1 << 20

#: Idle connections that are closed at once when there is no room (nginx closes as many).
CLOSED_AT_ONCE = 32
#: Seconds for which nobody looks for idle connections again when there were none.
LOOK_AGAIN = 0.1

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 21\r\nRetry-After: 5\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\ntoo many connections\n"
)


class Resting(Protocol):
    """A connection. `is_spare(now)`: nothing happens on it, and nobody has just come; `idle_since`: monotonic;
    `make_way`: close, unless something has arrived meanwhile, and say whether."""

    idle_since: float

    def is_spare(self, now: float) -> bool: ...

    def make_way(self) -> bool: ...


AnyResting = TypeVar("AnyResting", bound=Resting)


def raise_descriptor_limit() -> None:
    """As many descriptors as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def capacity() -> int:
    """Connections for which the descriptors suffice, whatever is asked on them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = ENOUGH if soft == resource.RLIM_INFINITY else soft
    return max((descriptors - RESERVED) // EACH, 1)


class Door:
    """`limit` connections at most, `per_client` of one client (0: any number). `exempt`: who brings many clients."""

    def __init__(
        self, limit: int, per_client: int, exempt: Callable[[Caller], bool], now: Callable[[], float]
    ) -> None:
        self.limit = limit
        self._per_client = per_client
        self._exempt = exempt
        self._now = now
        self._look_again = 0.0
        self._clients: dict[str, int] = {}
        self._refusals = Refusals("connection.refused", now)

    def has_room(self, held: int, connections: Iterable[AnyResting]) -> bool:
        """Whether one more may come in beside those `held`; idle ones of `connections` are closed for it."""
        return held < self.limit or self._made_room(connections)

    def _made_room(self, connections: Iterable[AnyResting]) -> bool:
        now = self._now()
        if now < self._look_again:
            return False
        spare = [connection for connection in connections if connection.is_spare(now)]
        longest = heapq.nsmallest(CLOSED_AT_ONCE, spare, key=lambda one: one.idle_since)
        gone = sum([connection.make_way() for connection in longest])
        if not gone:
            self._look_again = now + LOOK_AGAIN
        return gone > 0

    def admits(self, caller: Caller) -> bool:
        """Whether this client may have another connection."""
        if not self._per_client or self._exempt(caller):
            return True
        return self._clients.get(client_of(caller.address), 0) < self._per_client

    def came_in(self, caller: Caller) -> None:
        if self._per_client:
            client = client_of(caller.address)
            self._clients[client] = self._clients.get(client, 0) + 1

    def went(self, caller: Caller) -> None:
        """A connection that had come in is closed."""
        if self._per_client:
            client = client_of(caller.address)
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def turn_away(self, sock: socket.socket, peer: Caller, reason: str, *, plain: bool) -> None:
        """Close, with a word where the client speaks plain HTTP, as cheaply as can be."""
        self._refusals.count(reason, peer.address)
        try:
            sock.setblocking(False)
            if plain:
                sock.send(FULL)
                sock.shutdown(socket.SHUT_WR)
                # What has arrived is taken along: closing with bytes unread would break the answer.
                sock.recv(65536)
        except OSError:
            pass  # it is going anyway
        sock.close()


def client_of(address: str) -> str:
    """Who counts as one client: an IPv4 address, or the /64 that one customer of a provider has of IPv6."""
    if ":" not in address:
        return address
    return str(IPv6Network((address.partition("%")[0], 64), strict=False).network_address)
