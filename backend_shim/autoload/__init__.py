"""Zero-code activation: what is put on the PYTHONPATH of every app."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def install(target: Path) -> Path:
    """Copies this package, and beside it our `sitecustomize.py`, into the folder `target`.

    Returns the folder to put first on PYTHONPATH (`target`). Every file is replaced in one step and may be read by
    every user; what is not ours in `target` stays. Raises OSError.
    """
    from backend_shim.autoload.copying import copy_package

    return copy_package(target)
