"""`python -m tests.mutants [WORD…]`: puts each seeded fault into a copy of the tree and demands that its tests find it.

Words choose the faults whose file or reason has one of them. Exit status 0: every fault was found; 1: one was not, or
no longer fits the sources, or a test file fails without any fault.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS as FORWARDING_FAULTS
from tests.mutants.front import FRONT_FAULTS
from tests.mutants.processes import PROCESS_FAULTS

FAULTS = (*FORWARDING_FAULTS, *FRONT_FAULTS, *PROCESS_FAULTS)
ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "proxy",
    "supervisor_conf",
    "backend_shim",
    "tests",
    "docs",
    "examples",
    "pyproject.toml",
    "README.md",
)
AT_ONCE = int(os.environ.get("MUTANTS_AT_ONCE", os.cpu_count() or 1))
#: Seconds for a run of tests without any fault.
PATIENCE = 1200
#: A fault that makes its tests hang is found, and hanging is this many times as long as without a fault.
HANGS_AT = 10
#: But never less than this, in seconds: another program may want the machine for a while.
LEAST_PATIENCE = 60
#: pytest's own summary of what failed (`-ra`).
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class Hung(Exception):
    """The tests took longer than they were given."""


class Copies:
    """Copies of the tree, one for each fault that is tried beside others. Bytecode is kept from fault to fault."""

    def __init__(self, folder: Path, number: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for nth in range(number):
            copy_of_the_tree(folder / str(nth))
            self._free.put(folder / str(nth))

    @contextmanager
    def sound(self) -> Iterator[Path]:
        """A copy that nobody else uses meanwhile."""
        copy = self._free.get()
        try:
            yield copy
        finally:
            self._free.put(copy)

    @contextmanager
    def with_fault(self, fault: Fault) -> Iterator[Path]:
        with self.sound() as copy:
            file = copy / fault.file
            text = file.read_text(encoding="utf-8")
            forget_bytecode(file)
            file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
            try:
                yield copy
            finally:
                forget_bytecode(file)
                file.write_text(text, encoding="utf-8")


def copy_of_the_tree(folder: Path) -> None:
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy(source, folder / name)


def forget_bytecode(file: Path) -> None:
    """Python knows it by the seconds of the file's time and its length, which two versions may share."""
    for bytecode in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        bytecode.unlink()


def what_fails(folder: Path, tests: tuple[str, ...], patience: float) -> tuple[str, str]:
    """The first of `tests` that fails in this copy, or "" when all pass, and what pytest printed.

    Hung: after `patience` seconds they were not done.
    """
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "mutants", "PYTHONPATH": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # half of a run's time is reading sources
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Hung from error
    said = done.stdout.decode() + done.stderr.decode()
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(said[-4000:])
    failed = FAILED.search(said)
    return (failed[1] if failed else "a test") if done.returncode else "", said


def without_faults(copies: Copies, test: str) -> float | str:
    """How many seconds this file takes in a sound tree, or what it says when it fails."""
    with copies.sound() as folder:
        began = time.monotonic()
        try:
            failed, said = what_fails(folder, (test,), PATIENCE)
        except Hung:
            return f"{test} takes longer than {PATIENCE} s"
        return said[-4000:] if failed else time.monotonic() - began


def verdict(copies: Copies, fault: Fault, seconds: Mapping[str, float]) -> tuple[bool, str]:
    """Whether the fault was found, and by which test; or what is wrong. `seconds`: of each file without a fault."""
    if (times := (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old)) != 1:
        return False, f"its line stands {times} times in the file"
    quickest_first = tuple(sorted(fault.tests, key=seconds.__getitem__))
    patience = max(LEAST_PATIENCE, HANGS_AT * sum(seconds[test] for test in fault.tests))
    with copies.with_fault(fault) as folder:
        try:
            failed, said = what_fails(folder, quickest_first, patience)
        except Hung:
            return True, "the tests hang"
    if "ERROR collecting" in said:
        return False, "its file cannot be imported, which proves nothing"
    return bool(failed), failed.rpartition("/")[2] or "NOT FOUND"


def main(words: list[str]) -> int:
    faults = [f for f in FAULTS if not words or any(word in f.file or word in f.why for word in words)]
    if not faults:
        print(f"No fault has {' or '.join(words)} in its file or reason.")
        return 1
    began = time.monotonic()
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as name,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        copies = Copies(Path(name), AT_ONCE)
        sound = dict(zip(tests, pool.map(lambda test: without_faults(copies, test), tests), strict=True))
        seconds = {test: taken for test, taken in sound.items() if isinstance(taken, float)}
        if len(seconds) < len(tests):
            print(*(said for said in sound.values() if isinstance(said, str)), sep="\n")
            print("These tests fail without any fault.")
            return 1
        missed = 0
        for fault, (found, how) in zip(
            faults, pool.map(lambda fault: verdict(copies, fault, seconds), faults), strict=True
        ):
            print(f"{'found' if found else 'MISSED':7} {fault.file}: {fault.why} ({how})", flush=True)
            missed += not found
    took = time.monotonic() - began
    print(f"{len(faults) - missed} of {len(faults)} faults found, in {took:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
