"""Has the kernel killed for lack of memory? Counted by the memory cgroup we are in, else by the whole machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_COUNTER: Final = "oom_kill"


class OomCounter:
    """`file`: lines of a name and a number, one named oom_kill (cgroup v2 memory.events, v1 memory.oom_control,
    /proc/vmstat)."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or _file_of_this_machine()
        self._last = self._read()

    def grew(self) -> bool:
        """Since the last call."""
        before, self._last = self._last, self._read()
        return self._last > before

    def _read(self) -> int:
        return _count(self._file) or 0


def _file_of_this_machine() -> Path:
    candidates = (*_cgroup_files(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")), Path("/proc/vmstat"))
    return next((one for one in candidates if _count(one) is not None), candidates[-1])


def _cgroup_files(membership: Path, root: Path) -> list[Path]:
    """Where the memory controller counts for us (cgroups(7))."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            found.append(root / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found += [root / "memory" / part / "memory.oom_control" for part in (path.lstrip("/"), "")]
    return found


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [_COUNTER]), None)
