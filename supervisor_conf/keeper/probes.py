"""«Who listens on this address? Is it ours?», answered for one generation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from supervisor_conf.control.messages import Spawned
from supervisor_conf.keeper import processes
from supervisor_conf.keeper.listeners import tcp_listeners
from supervisor_conf.keeper.unix_listeners import Crowded, peer_credentials, unix_listeners


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

    All who do must be ours: two listeners may share a port (SO_REUSEPORT), and the kernel would give some of our
    requests, token and all, to a stranger. On a Unix socket that the app itself listens on, a connection must
    show the credentials of a process of ours.
    """
    if not generation.socket:
        hearing = [one for one in tcp_listeners(generation.port) if one.hears(generation.host)]
        users = {one.inode: one.uid for one in hearing}
        return _whose(generation, [one.inode for one in hearing], users)
    finding = _whose(generation, unix_listeners(generation.socket), {})
    if finding.verdict is not Verdict.OURS or generation.handed:
        # A socket that was handed down shows supervisord, who called listen(2).
        return finding
    return _confirmed(generation, finding)


def _whose(generation: Spawned, inodes: list[int], users: dict[int, int]) -> Finding:
    """`users`: whose the sockets are, as far as the kernel tells."""
    if not inodes:
        return Finding(Verdict.NOBODY)
    wanted = set(inodes)
    holders = _holders(wanted, {generation.pid})
    if wanted - holders.keys():
        holders = _holders(wanted, processes.members(generation.pid, generation.nonce))
    strangers = [inode for inode in inodes if inode not in holders]
    if strangers:
        return Finding(Verdict.FOREIGN, _stranger(strangers[0], users.get(strangers[0])))
    pid = holders[inodes[0]]
    return Finding(Verdict.OURS, f"pid {pid}", pid)


def _confirmed(generation: Spawned, finding: Finding) -> Finding:
    """The kernel's table has named us; now what it says of a connection."""
    try:
        peer = peer_credentials(generation.socket)
    except Crowded:
        return finding
    except OSError:
        return Finding(Verdict.NOBODY)
    if peer.pid == finding.pid or peer.pid in processes.members(generation.pid, generation.nonce):
        return finding
    known = processes.read_process(peer.pid)
    if known is None and peer.uid == processes.user(finding.pid):
        return finding  # who called listen(2) has ended since, as replaced workers have
    who = f"pid {peer.pid} ({known.name})" if known else f"another process (of user {peer.uid})"
    return Finding(Verdict.FOREIGN, who)


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


def _stranger(inode: int, uid: int | None) -> str:
    for pid, process in processes.snapshot().items():
        if inode in processes.socket_inodes(pid):
            return f"pid {pid} ({process.name})"
    return "another process" if uid is None else f"another process (of user {uid})"
