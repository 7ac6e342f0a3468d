"""What a sign-in costs: a slow hash once, then nothing for a while; and ever more time for who guesses."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections import OrderedDict
from typing import Final

MOST: Final = 10_000
"""Entries of each table; the oldest goes first."""


class Remembered:
    """Credentials that were right a moment ago, known by a keyed hash alone, whose key never leaves this table."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def digest(self, *parts: bytes) -> bytes:
        """Of user, password, and the hash they were right for: a changed file forgets who has another password."""
        return hmac.digest(self._key, b"".join(b"%d:%b" % (len(part), part) for part in parts), "sha256")

    def has(self, digest: bytes, now: float) -> bool:
        return self._until.get(digest, now) > now

    def add(self, digest: bytes, now: float) -> None:
        self._until[digest] = now + self._seconds
        self._until.move_to_end(digest)
        if len(self._until) > MOST:
            self._until.popitem(last=False)


class Guesses:
    """Failed sign-ins by client: the first few are free, then each doubles the time until the next may be made.

    A client is an IPv4 address or an IPv6 /64. An attempt counts as failed until it has not: who tries many at once has
    as many tries as who tries one after the other.
    """

    FREE: Final = 5
    LONGEST: Final = 30.0  # seconds between two
    FORGOTTEN: Final = 900.0  # seconds after the last failure

    def __init__(self) -> None:
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, when last

    def wait(self, client: str, now: float) -> float:
        """Seconds until this client may try again; 0: now."""
        failed, last = self._of(client, now)
        if failed < self.FREE:
            return 0.0
        pause: float = min(2.0 ** min(failed - self.FREE, 10), self.LONGEST)
        return max(0.0, last + pause - now)

    def begin(self, client: str, now: float) -> int:
        """Count an attempt; how many have failed in a row with it."""
        failed, _ = self._of(client, now)
        self._failed[client] = failed + 1, now
        self._failed.move_to_end(client)
        if len(self._failed) > MOST:
            self._failed.popitem(last=False)
        return failed + 1

    def succeeded(self, client: str) -> None:
        self._failed.pop(client, None)

    def not_tried(self, client: str) -> None:
        """An attempt that was begun said nothing about the password."""
        failed, last = self._failed.get(client, (0, 0.0))
        if failed:
            self._failed[client] = failed - 1, last

    def _of(self, client: str, now: float) -> tuple[int, float]:
        failed, last = self._failed.get(client, (0, now))
        return (0, now) if now - last > self.FORGOTTEN else (failed, last)


def client_key(address: str) -> str:
    """`192.0.2.1`, `2001:db8::/64`; what is no address stays as it is."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
