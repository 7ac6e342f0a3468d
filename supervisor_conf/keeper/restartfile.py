"""`restart.txt` or `tmp/restart.txt` in an app's folder, touched: what was started before is recycled (as Passenger
has it). Nothing is remembered: the file's time and the times of the starts say everything, to any keeper."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from supervisor_conf.keeper.app import KeptApp
from supervisor_conf.law import events

NAME: Final = "restart.txt"
SUBFOLDER: Final = "tmp"


def folders(app_folder: Path) -> tuple[Path, Path]:
    """Where the file may be."""
    return app_folder, app_folder / SUBFOLDER


def touched(app_folder: Path) -> float:
    """When the newer of the two was touched, wall clock; 0 if there is none."""
    return max(_touched(folder / NAME) for folder in folders(app_folder))


def look(app: KeptApp) -> None:
    """Recycle what was started before the file was touched."""
    when = touched(app.settings.directory)
    older = tuple(number for number, known in app.generations.items() if known.at < when)
    if older:
        app.handle(events.Recycle(f"{NAME} was touched", older))


def _touched(path: Path) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0
