"""A cgroup of its own for each generation of an app, where this machine lets us make one (cgroups(7), version 2).

Nobody leaves a cgroup by forking, by a session of its own, or by clearing its environment; `cgroup.kill` ends all who
are in it at once (Linux 5.14). Where there is none, /proc is searched instead (`keeper/processes.py`), as it is after
every kill: an app that runs as root may leave its cgroup as well.

Names end like the nonces of the run directory, so that the next run there knows whose they were.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "portico-"

_SYSTEMD: Final = Path("/run/systemd/system")
"""It is there where systemd manages the cgroups (sd_booted(3)); then only what it has delegated is ours to divide."""

_DELEGATED: Final = ("trusted.delegate", "user.delegate")
"""Extended attributes that systemd sets on what it has delegated (systemd's CGROUP_DELEGATION)."""

_PATIENCE: Final = 1.0
"""Seconds in which who was killed has ended."""
_PAUSE: Final = 0.005


@dataclass(frozen=True, slots=True)
class Home:
    """The cgroup in which those of the generations are made; `folder` is None where there cannot be any: `why`."""

    folder: Path | None
    why: str = ""

    def make(self, nonce: str) -> str:
        """A cgroup for one generation: its folder; "" if there is none."""
        if self.folder is None:
            return ""
        made = self.folder / f"{PREFIX}{nonce}"
        try:
            made.mkdir()
        except OSError:
            return ""  # too many (cgroup.max.descendants), or the home has gone
        return str(made)

    def left(self, ending: str) -> list[str]:
        """What earlier runs have left, by the end of their nonces; never what we are in ourselves."""
        if self.folder is None:
            return []
        own = str(home_of(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup")) or "")
        names = (entry.name for entry in os.scandir(self.folder) if entry.is_dir(follow_symlinks=False))
        found = (str(self.folder / name) for name in names if _is_ours(name, ending))
        return sorted(path for path in found if not f"{own}/".startswith(f"{path}/"))


def find_home() -> Home:
    """Tried by making one, and removing it."""
    folder = home_of(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    if folder is None:
        return Home(None, "no cgroup of version 2 of ours is mounted")
    if _SYSTEMD.is_dir() and not _is_delegated(folder):
        return Home(None, f"systemd has not delegated {folder} (Delegate=yes)")
    if not os.access(folder / "cgroup.procs", os.W_OK):
        return Home(None, f"{folder}/cgroup.procs cannot be written")
    tried = folder / f"{PREFIX}trial-{secrets.token_hex(8)}"
    try:
        tried.mkdir()
    except OSError as error:
        return Home(None, f"{folder} takes no other: {error.strerror}")
    try:
        if not (tried / "cgroup.kill").exists():
            return Home(None, "this kernel has no cgroup.kill (Linux 5.14)")
        if _read(str(tried / "cgroup.type")).strip() != "domain":
            return Home(None, f"{folder} is threaded")
    finally:
        tried.rmdir()
    return Home(folder)


def home_of(mountinfo: str, membership: str) -> Path | None:
    """Where the cgroup of version 2 that is told by /proc/PID/cgroup can be reached; None: nowhere. Pure.

    proc_pid_mountinfo(5): field 4 is what of the hierarchy is mounted, field 5 where; the type follows a lone dash.
    """
    own = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), None)
    if own is None or own.startswith("/.."):  # of another namespace
        return None
    for line in mountinfo.splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.split(" ")[:1] != ["cgroup2"]:
            continue
        root, point = (_unescaped(field) for field in fields.split(" ")[3:5])
        if own == root or own.startswith(f"{root.rstrip('/')}/"):
            return Path(point + own.removeprefix(root.rstrip("/"))) if own != root else Path(point)
    return None


# ------------------------------------------------------------------------------------------------------------
# Of one generation. "" is none, and every question about it has the answer of one that is empty.


def enter(cgroup: str) -> None:
    """This process, and whatever it forks. Between fork and exec: nothing is imported, nothing raised."""
    try:
        descriptor = os.open(f"{cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, b"0")
    except OSError:
        pass  # it stays where it is, and is found by its other marks
    finally:
        os.close(descriptor)


def members(cgroup: str) -> set[int]:
    """The pids of all who are in it, or below; zombies are in none."""
    found: set[int] = set()
    for folder in _below(cgroup):
        found.update(int(line) for line in _read(f"{folder}/cgroup.procs").split())
    return found


def kill(cgroup: str) -> int:
    """SIGKILL for all who are in it, or below, at once. Returns how many they were."""
    met = len(members(cgroup)) if cgroup else 0
    if met:
        try:
            with open(f"{cgroup}/cgroup.kill", "w", encoding="ascii") as file:
                file.write("1")
        except OSError:
            return 0  # gone meanwhile
    return met


def remove(cgroup: str) -> bool:
    """False: somebody is in it still."""
    for folder in _below(cgroup):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def clear(cgroup: str) -> int:
    """Kill all, and wait until it can be removed, for a second at most. Returns how many were killed."""
    met = kill(cgroup)
    deadline = time.monotonic() + _PATIENCE
    while not remove(cgroup) and time.monotonic() < deadline:
        kill(cgroup)
        time.sleep(_PAUSE)
    return met


def oom_kills(cgroup: str) -> int | None:
    """How many of it the kernel has killed for lack of memory; None where the memory controller does not count."""
    counts = (
        dict(line.split(" ", 1) for line in _read(f"{cgroup}/memory.events").splitlines()) if cgroup else {}
    )
    return int(counts["oom_kill"]) if "oom_kill" in counts else None


# ------------------------------------------------------------------------------------------------------------


def _below(cgroup: str) -> Iterator[str]:
    """It and those in it, the deepest first."""
    if cgroup:
        yield from (folder for folder, _, _ in os.walk(cgroup, topdown=False))


def _is_ours(name: str, ending: str) -> bool:
    return re.fullmatch(f"{PREFIX}[0-9a-f]+{re.escape(ending)}", name) is not None


def _is_delegated(folder: Path) -> bool:
    for attribute in _DELEGATED:
        try:
            if os.getxattr(folder, attribute) == b"1":
                return True
        except OSError:
            continue
    return False


def _read(path: str) -> str:
    """ "" where it is not, or may not be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _unescaped(field: str) -> str:
    """Blanks and the like are octal in mountinfo: \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
