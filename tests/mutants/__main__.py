"""`python -m tests.mutants [WORD…]`: puts each seeded fault into a copy of the tree and demands that its tests find it.

Words choose the faults whose file or reason has one of them. Exit status 0: every fault was found; 1: one was not, or
no longer fits the sources, or the tests fail without any fault.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("proxy", "supervisor_conf", "backend_shim", "tests", "pyproject.toml")
AT_ONCE = 2
#: A fault that makes its tests hang is found.
PATIENCE = 180


def copy_of_the_tree(folder: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        else:
            shutil.copy(source, folder / name)


def all_pass(folder: Path, tests: tuple[str, ...], *, loud: bool) -> bool:
    """Whether all of `tests` pass in this copy. `loud`: show why not."""
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "mutants", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1, 2):  # 2: not even imported, and that is found too
        raise RuntimeError(done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:])
    if done.returncode and loud:
        print(done.stdout.decode()[-4000:])
    return done.returncode == 0


def verdict(fault: Fault) -> str:
    """Empty when the fault was found, else what is wrong."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_of_the_tree(folder)
        file = folder / fault.file
        text = file.read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            return f"its line stands {text.count(fault.old)} times in the file"
        file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        return "NOT FOUND" if all_pass(folder, fault.tests, loud=False) else ""


def main(words: list[str]) -> int:
    faults = [f for f in FAULTS if not words or any(word in f.file or word in f.why for word in words)]
    if not faults:
        print(f"No fault has {' or '.join(words)} in its file or reason.")
        return 1
    wanted = tuple(dict.fromkeys(test for fault in faults for test in fault.tests))
    with tempfile.TemporaryDirectory(prefix="mutant-none-") as name:
        copy_of_the_tree(Path(name))
        if not all_pass(Path(name), wanted, loud=True):
            print("The tests fail without any fault.")
            return 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        missed = 0
        for fault, problem in zip(faults, pool.map(verdict, faults), strict=True):
            print(f"{problem or 'found':9}  {fault.file}: {fault.why}", flush=True)
            missed += bool(problem)
    print(f"{len(faults) - missed} of {len(faults)} faults found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
