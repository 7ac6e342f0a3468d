"""Which processes belong to a generation: read from /proc, and killed when the generation is over.

A process belongs to it if it is the one that was started, a descendant, in its process group or session, or if
its environment carries the generation's nonce: that one also finds who left the group and was inherited by init.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from supervisor_conf import cgroups, nonces

_PASSES: Final = 20
"""A sweep looks again until nothing is left: who forks faster than 20 looks at /proc is left to the next sweep."""


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat (proc_pid_stat(5))."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def read_process(pid: int) -> Process | None:
    """None if there is no such process (any more), or none that this user may know of."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name may hold blanks and brackets: what follows the last bracket is regular.
    name = line[line.index(b"(") + 1 : line.rindex(b")")]
    state, parent, group, session = line[line.rindex(b")") + 2 :].split()[:4]
    return Process(pid, _printable(name), state.decode(), int(parent), int(group), int(session))


def _printable(name: bytes) -> str:
    """Every process may call itself what it likes (PR_SET_NAME), and its name ends up on terminals and in pages."""
    text = name.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def snapshot() -> dict[int, Process]:
    """Every living process that can be seen, by pid."""
    found = (read_process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return {process.pid: process for process in found if process is not None and process.alive}


def carries(pid: int, nonce: str) -> bool:
    """The environment that `pid` was started with has this nonce. False where it may not be read."""
    return nonces.of_process(pid) == nonce


def relatives(pid: int, processes: dict[int, Process]) -> set[int]:
    """`pid`, its descendants, its process group and its session, as far as they live."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found = {one.pid for one in processes.values() if pid in (one.pid, one.group, one.session)}
    unvisited = [pid, *found]
    while unvisited:
        new = set(children.get(unvisited.pop(), ())) - found
        found |= new
        unvisited.extend(new)
    return found


def members(pid: int, nonce: str, *, gone: bool = False) -> set[int]:
    """Everything alive of the generation whose process is `pid`, or was (`gone`).

    A process that has the number of one that is gone, and not its nonce, is a stranger: the number was given
    out again, which the kernel does not do while a process group of that number has members.
    """
    processes = snapshot()
    reused = gone and pid in processes and not carries(pid, nonce)
    related = set() if reused else relatives(pid, processes)
    others = (one for one in processes if one not in related and one != os.getpid())
    return related | {one for one in others if carries(one, nonce)}


def sweep(pid: int, nonce: str, cgroup: str = "") -> int:
    """SIGKILL for every member, until there is none; first for all in its cgroup. Returns how many were met."""
    met = cgroups.members(cgroup) if cgroup else set()
    cgroups.kill(cgroup)
    for _ in range(_PASSES):
        found = members(pid, nonce, gone=True) - {os.getpid(), os.getppid()}
        if not found - met:
            break
        met |= found
        _kill(found)
    return len(met)


def sweep_run(ending: str) -> int:
    """SIGKILL for what earlier runs in the run directory with this end of nonces have left behind, until there is
    none. Returns how many were met. Whoever has started us is spared."""
    spared = ancestors(os.getpid())
    met: set[int] = set()
    for cgroup in cgroups.find_home().left(ending):
        met |= cgroups.members(cgroup)
        cgroups.clear(cgroup)
    for _ in range(_PASSES):
        found = {pid for pid in snapshot() if nonces.of_process(pid).endswith(ending)} - spared
        if not found - met:
            break
        met |= found
        _kill(found)
    return len(met)


def ancestors(pid: int) -> set[int]:
    """`pid`, its parent, and so on."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        process = read_process(pid)
        pid = process.parent if process is not None else 0
    return found


def resident(pids: Iterable[int]) -> int:
    """Bytes of memory that these processes have resident, shared pages counted in each (proc_pid_statm(5))."""
    return sum(_resident_pages(pid) for pid in pids) * os.sysconf("SC_PAGE_SIZE")


def _resident_pages(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def user(pid: int) -> int | None:
    """The effective user of a process; None if there is no such process (any more)."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None


def socket_inodes(pid: int) -> Iterator[int]:
    """The inodes of the sockets that `pid` has open. Empty where it may not be looked at."""
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"{folder}/{descriptor}")
        except OSError:
            continue  # closed since
        if target.startswith("socket:["):
            yield int(target[8:-1])


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it was quicker, or has become another user's
