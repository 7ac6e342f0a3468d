"""`python -P -m proxy.module_check`: whether the modules of the Settings on standard input can be made on this machine.

What only making one shows (a class that is not there, a keytab that cannot be read, an option it does not like) is
found as the worker would find it, in a process of its own: other people's code does not run in the one that becomes
supervisord. What they doubt (`Module.doubts`) they are asked with the rights of the workers' user. Prints a JSON list
of [key path, what was read, sentence, severity].
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from time import monotonic

from proxy.modules import Module
from proxy.pipeline import BadModule, doubts_of, made, reach_folder_of
from supervisor_conf.accounts import ActingAs, NoSuchUser, workers_account
from supervisor_conf.settings import Settings, from_json

Problem = tuple[list[str], str, str, str]
MISTAKE, REFUSAL, WARNING = "mistake", "refusal", "warning"
"""The values of `supervisor_conf.check.Severity`."""


def problems(settings: Settings) -> list[Problem]:
    """What modules keep in the run directory they keep in a temporary one here."""
    found: list[Problem] = []
    works: list[tuple[list[str], str, Module]] = []
    reach_folder_of(settings)
    with tempfile.TemporaryDirectory(prefix="portico-check-") as folder, ExitStack() as ends:
        there = dataclasses.replace(
            settings, front=dataclasses.replace(settings.front, run_directory=Path(folder))
        )
        for place in settings.modules:
            path, table = list(place.path), place.table
            try:
                module = made(table, place.app, place.number, there, monotonic)
            except BadModule as problem:
                found.append((path, table.use, str(problem), MISTAKE if problem.mistake else REFUSAL))
                continue
            ends.callback(_close, found, path, table.use, module)
            works.append((path, table.use, module))
        with _as_workers(settings.front.user):
            found += [(path, use, said, WARNING) for path, use, module in works for said in doubts_of(module)]
    return found


def _close(found: list[Problem], path: list[str], use: str, module: Module) -> None:
    try:
        module.close()
    except (Exception, SystemExit) as error:  # noqa: BLE001  others' code
        sentence = f"the module {use} does not close: {error or type(error).__name__}"
        found.append((path, use, sentence, REFUSAL))


def _as_workers(user: str) -> AbstractContextManager[None]:
    """A user that is not there is refused elsewhere."""
    if os.geteuid() != 0:
        return nullcontext()
    try:
        return ActingAs(workers_account(user))
    except NoSuchUser:
        return nullcontext()


def main() -> None:
    """Modules may print what they like, leave threads behind and have plans for the end: neither is waited for."""
    report = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    found = problems(from_json(sys.stdin.read()))
    with open(report, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os._exit(0)


if __name__ == "__main__":
    main()
