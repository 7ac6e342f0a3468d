"""How often a client has come lately, for all workers together: a table of fixed size in shared memory.

*The law* is the generic cell rate algorithm (ITU-T I.371), the leaky bucket as a meter: of each client one number is
kept, the theoretical arrival time (TAT) of its next request. A request at `now` fits if TAT - now <= (burst - 1) *
interval; then TAT becomes max(TAT, now) + interval. So in any span of t seconds at most burst + t * rate requests of a
client fit, whatever workers they come to.

*The table* is a file in the run directory (0600), mapped by every worker while it still has the rights it was started
with: who takes the place of a worker finds what that one knew. Each client belongs to one set of `WAYS` entries, by a
keyed hash that visitors cannot aim at. A set is changed by one worker at a time, under a lock of its bytes of the file
(an open file description lock, fcntl(2)): two system calls, about a microsecond, and the kernel frees it when its
holder dies. Nobody waits longer than another worker needs for a few lines of Python.

*Full sets*: the entry that has come nearest to being forgotten makes room, and who takes its place takes over its TAT
(as in the Space-Saving counts of Metwally et al., 2005). So nobody who is forgotten gains a request by that: the bound
above holds with any number of clients. The price is that a newcomer may be told to wait early, while more clients than
there are entries are at their limit.

A TAT further away than the law can write (the machine was booted since, or the rate is another one) counts as the
furthest one that it can.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Callable
from fcntl import F_OFD_SETLK, F_OFD_SETLKW, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_UN, fcntl, flock
from hashlib import blake2b
from mmap import mmap
from pathlib import Path
from time import monotonic_ns
from typing import Final

WAYS: Final = 8
SECOND: Final = 1_000_000_000

_MAGIC = b"portico rates 1\n"
_HEADER = 128  # magic, number of sets, key of the hash; then the sets
_SET = WAYS * 16  # marks of the clients (0: nobody), then their TATs in nanoseconds of CLOCK_MONOTONIC
_read_set = struct.Struct(f"{2 * WAYS}Q").unpack_from
_write = struct.Struct("Q").pack_into
_KEY = 32
_FLOCK = "hhqqi4x"  # struct flock of a 64-bit Linux: type, whence, start, length, pid

#: Clients whose place is remembered in this process.
MEMORY: Final = 4096


class RateTable:
    """`sets` times `WAYS` clients, each with `burst` requests at once and one more every `interval` nanoseconds."""

    def __init__(
        self, path: Path, clients: int, interval: int, burst: int, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        """`clients` is rounded up. `clock`: nanoseconds, the same in all processes. Raises OSError."""
        self._sets = -(-clients // WAYS)
        self._interval = interval
        self._furthest = burst * interval
        self._tolerance = self._furthest - interval
        self._clock = clock
        self._descriptor, self._key = _opened(path, self._sets)
        self._map = mmap(self._descriptor, _HEADER + self._sets * _SET)
        self._places: dict[str, tuple[int, int, bytes, bytes]] = {}

    def wait_of(self, client: str) -> int:
        """0 if a request of this client fits now, and is counted; else nanoseconds until the next one would."""
        start, mark, lock, unlock = self._places.get(client) or self._place(client)
        memory, descriptor = self._map, self._descriptor
        fcntl(descriptor, F_OFD_SETLKW, lock)
        try:
            now = self._clock()  # under the lock: never before what another has written
            known: tuple[int, ...] = _read_set(memory, start)
            way = known.index(mark) if mark in known[:WAYS] else known.index(min(known[WAYS:]), WAYS) - WAYS
            written = known[WAYS + way]
            tat = min(max(written, now), now + self._furthest)
            wait = tat - now - self._tolerance
            if wait > 0:
                if tat < written:
                    _write(memory, start + 8 * (WAYS + way), tat)
                return wait
            if known[way] != mark:
                _write(memory, start + 8 * way, mark)
            _write(memory, start + 8 * (WAYS + way), tat + self._interval)
            return 0
        finally:
            fcntl(descriptor, F_OFD_SETLK, unlock)

    def _place(self, client: str) -> tuple[int, int, bytes, bytes]:
        """Of a client: where its set begins, its mark, and how its set is locked and unlocked."""
        digest = blake2b(client.encode("utf-8", "surrogateescape"), digest_size=16, key=self._key).digest()
        start = _HEADER + int.from_bytes(digest[:8], "little") % self._sets * _SET
        lock, unlock = (struct.pack(_FLOCK, kind, os.SEEK_SET, start, _SET, 0) for kind in (F_WRLCK, F_UNLCK))
        place = start, int.from_bytes(digest[8:], "little") or 1, lock, unlock
        if len(self._places) >= MEMORY:
            self._places.clear()
        self._places[client] = place
        return place

    def close(self) -> None:
        self._map.close()
        os.close(self._descriptor)


def _opened(path: Path, sets: int) -> tuple[int, bytes]:
    """The file, its descriptor and the key of its hash. One of another size is replaced: who still has it keeps it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        flock(descriptor, LOCK_EX)
        try:
            if os.fstat(descriptor).st_nlink == 0:
                os.close(descriptor)  # replaced while we waited
                continue
            head = os.pread(descriptor, _HEADER, 0)
            if not head:
                _begin(descriptor, sets)
                head = os.pread(descriptor, _HEADER, 0)
            if head[: len(_MAGIC)] == _MAGIC and int.from_bytes(head[16:24], "little") == sets:
                flock(descriptor, LOCK_UN)
                return descriptor, head[24 : 24 + _KEY]
            path.unlink(missing_ok=True)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _begin(descriptor: int, sets: int) -> None:
    """Room for all, on disk too: a full disk is an error now and not a signal later."""
    os.posix_fallocate(descriptor, 0, _HEADER + sets * _SET)
    os.pwrite(descriptor, _MAGIC + sets.to_bytes(8, "little") + secrets.token_bytes(_KEY), 0)
