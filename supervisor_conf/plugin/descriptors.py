"""Descriptors that nothing of supervisord's ever closes, and memory files for what children are told.

supervisord closes descriptors 5..minfds at a reload and 3..minfds in every child, and `reread` changes minfds in
place. So what must live as long as the process sits near the soft RLIMIT_NOFILE, whatever minfds is.
"""

from __future__ import annotations

import fcntl
import os
import resource

_ROOM = 512
"""How many descriptors below the limit belong to us: sockets, one link, one waker, a few logs."""
_LOWEST = 64
_HIGHEST_FLOOR = 60_000
"""A soft limit may be a billion; the kernel's table of descriptors grows to the highest one in use."""


def floor() -> int:
    """The lowest descriptor for what must outlive everything. Depends on the soft RLIMIT_NOFILE alone."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _HIGHEST_FLOOR
    return min(_HIGHEST_FLOOR, max(_LOWEST, soft - min(_ROOM, soft // 4)))


def make_room(minfds: int) -> bool:
    """Raise the soft limit as far as needed, and allowed, for the floor to be above `minfds`; True if it is.

    Only a reload closes what is below, so this matters in somebody else's supervisord alone: ours refuses one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = minfds + _ROOM
    if floor() < minfds and (hard == resource.RLIM_INFINITY or wanted <= hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return floor() >= minfds


def raise_limit(needed: int) -> None:
    """Make the soft limit at least `needed`. Raises ValueError if the hard one is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def lift(fd: int) -> int:
    """A copy of `fd` above the floor, closed on exec. Raises OSError (EMFILE: no room is left there)."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor())


def memory_file(name: str, content: bytes) -> int:
    """A sealed memory file with `content`, read from its start by whoever inherits the descriptor."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(fd)
        raise
    return fd


def lay_out(sources: tuple[int, ...], first: int = 3) -> None:
    """In a child before exec: `sources` become descriptors first, first+1, …; every later one is closed."""
    beyond = first + len(sources)
    # Copies above the targets: a source may itself be one of the numbers that are about to be overwritten.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, beyond) for fd in sources]
    for offset, fd in enumerate(copies):
        os.dup2(fd, first + offset, inheritable=True)
    os.closerange(beyond, os.sysconf("SC_OPEN_MAX"))
