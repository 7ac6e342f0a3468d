"""What the kernel says about processes, from /proc (proc(5)): never what they say of themselves."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Process:
    """One process as /proc shows it."""

    pid: int
    argv: tuple[str, ...]
    environ: bytes

    @property
    def command(self) -> str:
        return " ".join(self.argv)


def alive(pid: int) -> bool:
    """Whether anything of `pid` runs: a zombie whose other threads are still ending keeps its sockets open."""
    return state(pid) not in ("", "X") and (state(pid) != "Z" or _threads(pid) > 1)


def state(pid: int) -> str:
    """The state letter of proc(5), "" when there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def kill(pid: int) -> None:
    """SIGKILL one process. Never pid 0, which to kill(2) is everybody around the test."""
    assert pid > 1, f"no such process to kill: {pid}"
    os.kill(pid, signal.SIGKILL)


def parent(pid: int) -> int:
    """The parent's pid, 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def cpu_seconds(pid: int) -> float:
    """utime + stime of the process so far."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def resident(pid: int) -> int:
    """Bytes of memory that the process has in use, 0 when there is no such process."""
    fields = _text(pid, "statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def descriptors(pid: int) -> int:
    """How many descriptors the process has open (needs its uid, or root)."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def uids(pid: int) -> set[int]:
    """Real, effective, saved and filesystem uid."""
    return _numbers(pid, "Uid:")


def groups(pid: int) -> set[int]:
    """All gids, the supplementary ones too."""
    return _numbers(pid, "Gid:") | _numbers(pid, "Groups:")


def _numbers(pid: int, name: str) -> set[int]:
    for line in _text(pid, "status").splitlines():
        if line.startswith(name):
            return {int(word) for word in line.split()[1:]}
    return set()


def argv(pid: int) -> tuple[str, ...]:
    raw = _bytes(pid, "cmdline")
    return tuple(word.decode(errors="replace") for word in raw.split(b"\0")[:-1])


def environ(pid: int) -> dict[str, str]:
    """The environment the process was started with (needs its uid, or root)."""
    pairs = (item.partition(b"=") for item in _bytes(pid, "environ").split(b"\0") if b"=" in item)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def processes() -> Iterator[Process]:
    """Every process that is not a zombie; environments that may not be read are empty."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and alive(int(entry)):
            pid = int(entry)
            yield Process(pid, argv(pid), _bytes(pid, "environ"))


def descendants(pid: int) -> set[int]:
    """Every process below `pid`, without itself."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(parent(int(entry)), []).append(int(entry))
    found: set[int] = set()
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket that listens in one of these processes."""
    inodes = {inode for pid in pids for inode in _socket_inodes(pid)}
    return {(host, port) for host, port, inode in _listeners() if inode in inodes}


def _listeners() -> Iterator[tuple[str, int, str]]:
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        if not os.path.exists(table):  # a machine without IPv6
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTEN:
                address, port = words[1].split(":")
                yield socket.inet_ntop(family, _network_order(address)), int(port, 16), words[9]


def _network_order(address: str) -> bytes:
    """/proc/net/tcp prints each 32-bit word of an address in the machine's byte order."""
    return b"".join(struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8))


def _socket_inodes(pid: int) -> Iterator[str]:
    directory = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(directory)
    except OSError:  # it ended, or belongs to another user
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"{directory}/{descriptor}")
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on: the second may hold blanks and brackets."""
    return _text(pid, "stat").rpartition(")")[2].split()


def _text(pid: int, name: str) -> str:
    return _bytes(pid, name).decode(errors="replace")


def _bytes(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended between two looks, or belongs to another user
        return b""
