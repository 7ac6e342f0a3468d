"""A process is the app's when its arguments are neither the launcher's nor supervisord's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from supervisor_conf.keeper import launching

WAIT = "import sys; print(flush=True); sys.stdin.read()"


@contextmanager
def running(*argv: str) -> Iterator[int]:
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its own code runs: exec(2) has come to its end
        yield process.pid


def test_any_command_is_the_app() -> None:
    with running(sys.executable, "-c", WAIT) as pid:
        assert launching.is_over(pid)


def test_the_launcher_is_not(tmp_path: Path) -> None:
    launcher = tmp_path / "supervisor_conf" / "launch_main.py"
    launcher.parent.mkdir()
    launcher.write_text(WAIT)
    with running(sys.executable, "-I", "-S", str(launcher), "shop") as pid:
        assert not launching.is_over(pid)


def test_a_copy_of_our_parent_is_not() -> None:
    asking = "from supervisor_conf.keeper import launching; import os; print(launching.is_over(os.getppid()))"
    with subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read().startswith("False")


def test_one_that_has_ended_is_not() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not launching.is_over(process.pid)
