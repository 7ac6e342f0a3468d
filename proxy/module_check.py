"""`python -P -m proxy.module_check`: whether the modules of the Settings on standard input can be made on this machine.

What only making one shows (a class that is not there, a keytab that cannot be read, an option it does not like) is
found as the worker would find it, in a process of its own: other people's code does not run in the one that becomes
supervisord. Prints a JSON list of [key path, what was read, sentence].
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from time import monotonic

from proxy.pipeline import BadModule, made, reach_folder_of
from supervisor_conf.settings import ModuleSettings, Settings, from_json

Problem = tuple[list[str], str, str]


def problems(settings: Settings) -> list[Problem]:
    """What modules keep in the run directory they keep in a temporary one here."""
    found: list[Problem] = []
    reach_folder_of(settings)
    with tempfile.TemporaryDirectory(prefix="portico-check-") as folder:
        there = dataclasses.replace(
            settings, front=dataclasses.replace(settings.front, run_directory=Path(folder))
        )
        for path, app, tables in places(settings):
            for number, table in enumerate(tables):
                try:
                    made(table, app, number, there, monotonic).close()
                except BadModule as problem:
                    found.append(([*path, str(number)], table.use, str(problem)))
    return found


def places(settings: Settings) -> list[tuple[list[str], str, tuple[ModuleSettings, ...]]]:
    """Key path, app and tables of each chain."""
    front = (["front", "modules"], "", settings.front.modules)
    return [front, *((["apps", app.name, "modules"], app.name, app.modules) for app in settings.apps)]


if __name__ == "__main__":
    json.dump(problems(from_json(sys.stdin.read())), sys.stdout)
