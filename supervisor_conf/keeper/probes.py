"""«Who listens on this port? Is it ours?», answered for one generation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from supervisor_conf.control.messages import Spawned
from supervisor_conf.keeper import processes
from supervisor_conf.keeper.listeners import Listener, tcp_listeners


class Verdict(Enum):
    NOBODY = "nobody listens"
    OURS = "a process of the generation listens"
    FOREIGN = "somebody else listens"


@dataclass(frozen=True, slots=True)
class Finding:
    """`holder`: who listens, in words, as far as this user may see it."""

    verdict: Verdict
    holder: str = ""
    pid: int = 0


def look(generation: Spawned) -> Finding:
    """Who gets the connections to the address that `generation` was told to listen on.

    All who do must be ours: two listeners may share an address (SO_REUSEPORT), and the kernel would give some
    of our requests, token and all, to a stranger.
    """
    hearing = [one for one in tcp_listeners(generation.port) if one.hears(generation.host)]
    if not hearing:
        return Finding(Verdict.NOBODY)
    wanted = {one.inode for one in hearing}
    holders = _holders(wanted, {generation.pid})
    if wanted - holders.keys():
        holders = _holders(wanted, processes.members(generation.pid, generation.nonce))
    strangers = [one for one in hearing if one.inode not in holders]
    if strangers:
        return Finding(Verdict.FOREIGN, _stranger(strangers[0]))
    pid = holders[hearing[0].inode]
    return Finding(Verdict.OURS, f"pid {pid}", pid)


def listens_elsewhere(generation: Spawned) -> tuple[str, ...]:
    """The TCP addresses that processes of `generation` listen on, other than the one it was told."""
    others = {
        one.inode: one
        for one in tcp_listeners()
        if one.port != generation.port or not one.hears(generation.host)
    }
    ours = _holders(set(others), processes.members(generation.pid, generation.nonce))
    return tuple(sorted({str(others[inode]) for inode in ours}))


def _holders(wanted: set[int], pids: set[int]) -> dict[int, int]:
    """Which of the socket inodes `wanted` are open in which of the processes `pids`."""
    return {inode: pid for pid in sorted(pids) for inode in processes.socket_inodes(pid) if inode in wanted}


def _stranger(listener: Listener) -> str:
    for pid, process in processes.snapshot().items():
        if listener.inode in processes.socket_inodes(pid):
            return f"pid {pid} ({process.name})"
    return f"another process (of user {listener.uid})"
