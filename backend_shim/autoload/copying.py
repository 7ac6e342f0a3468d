"""Copying the shim to where every app's user can read it."""

from __future__ import annotations

import os
import py_compile
import tempfile
from pathlib import Path

import backend_shim

FOLDER_MODE = 0o755
FILE_MODE = 0o644


def copy_package(target: Path) -> Path:
    """See `backend_shim.autoload.install`."""
    target = Path(os.path.abspath(target))
    package = Path(os.path.abspath(backend_shim.__file__)).parent
    for source in sorted(package.rglob("*.py")):
        _copy(source, target / package.name / source.relative_to(package), target)
    _copy(package / "autoload" / "sitecustomize.py", target / "sitecustomize.py", target)
    return target


def _copy(source: Path, destination: Path, target: Path) -> None:
    _make_folders(destination.parent, target)
    content = source.read_bytes()
    descriptor, name = tempfile.mkstemp(dir=destination.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, FILE_MODE)
        os.replace(name, destination)
    except OSError:
        os.unlink(name)
        raise
    _compile(destination, target)


def _compile(file: Path, target: Path) -> None:
    """Apps may not write here, so that each of their starts would compile the files again."""
    compiled = py_compile.compile(str(file), doraise=True)
    if compiled is not None:
        os.chmod(compiled, FILE_MODE)
        _make_folders(Path(compiled).parent, target)


def _make_folders(folder: Path, target: Path) -> None:
    """`folder` and what is above it up to `target`, searchable by all whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        os.chmod(folder, FOLDER_MODE)
        if folder in (target, folder.parent):
            return
        folder = folder.parent
