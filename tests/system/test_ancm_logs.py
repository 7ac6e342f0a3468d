"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): what an app prints, and what is told of a start that fails.

Each test bears the name of its row.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kit.ancm import pid_of, row
from tests.kit.configs import front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until
from tests.kit.webconfigs import deploy, run_web_config, web_config

TALKS = "print('alpha', 'x' * 40_000, 'omega'); raise SystemExit(3)"


def logs(run: PorticoRun, prefix: str = "stdout") -> list[Path]:
    return sorted((run.directory / "logs").glob(f"{prefix}_*.log"))


def config(stdout_log: str, **keys: object) -> str:
    return front() + row(path="/", stdout_log=stdout_log, **keys)


def test_stdout_log_enabled_test(folder: Path) -> None:
    """Where ANCM recycles when the setting is toggled, the app goes on: the other end of its pipe is not its own.
    Nothing is locked either, so the folder can be taken away; what logs there next makes it anew."""
    with PorticoRun(folder, config("")) as run:
        pid = pid_of(run, "/?say=unheard")
        assert not (folder / "logs" / "stdout").exists()
        run.reload(config("logs/deep/stdout"))
        run.get("/?say=heard")
        (log,) = (folder / "logs" / "deep").glob("stdout_*.log")
        wait_until(lambda: log.read_text() == "heard\nheard\n", "both streams in the file")
        assert pid_of(run, "/") == pid
        run.reload(config(""))
        run.get("/?say=unheard")
        log.unlink()
        (folder / "logs" / "deep").rmdir()
        assert pid_of(run, "/") == pid


def test_check_stdout_logging_to_file(folder: Path) -> None:
    """CheckStdoutErrLoggingToFile and OnlyOneFileCreatedWithProcessStartTime, too: one file a start for both streams,
    named after the start and the app's own pid, where ANCM has the front's."""
    text = web_config("python", "row.py", stdoutLogEnabled="true", stdoutLogFile=r".\logs\stdout")
    deploy(folder / "apps", text)
    with run_web_config(folder / "apps") as run:
        pid = pid_of(run, "/?say=hello")
        pid_of(run, "/?say=hello")
        (log,) = logs(run)
        assert re.fullmatch(rf"stdout_\d{{14}}_{pid}\.log", log.name)
        wait_until(lambda: log.read_text() == "hello\n" * 4, "stdout and stderr, both twice")
        (folder / "apps" / "restart.txt").touch()
        wait_for_end(pid)
        pid_of(run, "/")
        assert len(logs(run)) == 2


@pytest.mark.parametrize("stdout_log", ["", "logs/shop/stdout"])
def test_capture_logs_30_kb_max(folder: Path, stdout_log: str) -> None:
    """What is told of the output has an end, whether or not it is kept; the last of it, where ANCM has the first."""
    with PorticoRun(folder, config(stdout_log, command=["python", "-c", TALKS])) as run:
        assert run.get("/").status == 502
        said = run.app("why", "shop").out
        assert "omega" in said
        assert "alpha" not in said
        assert len(said) < 30_000
