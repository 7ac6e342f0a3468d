"""What takes long to build and nobody changes is built once in a run, by whichever of its processes wants it first."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def build_once(folder: Path, name: str, build: Callable[[Path], Path]) -> Path:
    """What `build` made in `folder`/`name`: now, or before, or in another process that this one then waits for.

    A build that raises leaves nothing behind: whoever comes next tries it again.
    """
    target, made = folder / name, folder / f"{name}.made"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(mode=0o755)
            made.write_text(str(build(target)))
    return Path(made.read_text())
