"""The machine a run happens on: its cores, its limits, and what must be installed for which front."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

PASSENGER_AGENT = "/usr/lib/passenger/support-binaries/PassengerAgent"
"""Where Debian's package `passenger` puts the program; it is on no PATH."""

PROGRAMS = {
    "wrk": ("wrk", "wrk"),
    "nginx": ("nginx", "nginx"),
    "haproxy": ("haproxy", "haproxy"),
    "caddy": ("caddy", "caddy"),
    "passenger": ("passenger", PASSENGER_AGENT),
}
"""Name here: Debian's package, and the program to look for."""

NEEDED = ("wrk", "nginx")
"""Without them there is no load and no backend, so there is nothing to measure."""

OPEN_FILES = 16_384


class UnfitMachine(Exception):
    """Nothing can be measured here; the message says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Cores:
    """`front` is for the front alone; load, backend and everything else share `rest`."""

    front: frozenset[int]
    rest: frozenset[int]


def program(name: str) -> str | None:
    """Path of a program of `PROGRAMS`, None when it is not installed."""
    # An ordinary user's PATH often lacks the folders where Debian puts servers.
    return shutil.which(PROGRAMS[name][1], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def missing_packages() -> dict[str, str]:
    """Name of every program that is not here, and Debian's package for it."""
    return {name: package for name, (package, _) in PROGRAMS.items() if program(name) is None}


def cores() -> Cores:
    """One core for the front, the others for the rest. Raises UnfitMachine where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise UnfitMachine(
            "two cores are needed: one for the front, one for load and backend; this process may use one"
        )
    return Cores(frozenset(allowed[:1]), frozenset(allowed[1:]))


def raise_open_files() -> int:
    """Let this process, and what it starts, have `OPEN_FILES` descriptors, or as many as it may; returns that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return OPEN_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def describe() -> dict[str, str]:
    """What a reader must know of the machine."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
