"""Rows of the tests of IIS's ASP.NET Core Module (ANCM): what an app prints, and what is told of a start that fails.

Each test bears the name of its row.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.kit.ancm import events, of_iis, pid_of, reload, row, web_config
from tests.kit.configs import front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_for_end, wait_until

UTF8 = "彡⾔"
FAILS = f"import sys; print({UTF8!r}); print('to stderr', file=sys.stderr); sys.exit(3)"
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
        reload(run, config("logs/deep/stdout"))
        run.get("/?say=heard")
        (log,) = (folder / "logs" / "deep").glob("stdout_*.log")
        wait_until(lambda: log.read_text() == "heard\nheard\n", "both streams in the file")
        assert pid_of(run, "/") == pid
        reload(run, config(""))
        run.get("/?say=unheard")
        log.unlink()
        (folder / "logs" / "deep").rmdir()
        assert pid_of(run, "/") == pid


def test_stdout_log_enabled_test_with_a_file_in_the_place_of_the_folder(folder: Path) -> None:
    (folder / "taken").write_text("a plain file")
    with PorticoRun(folder, config("taken/stdout")) as run:
        pid = pid_of(run, "/")
        (problem, *_) = events(run, "app.log-problem", ancm=1004)
        assert "taken" in problem["problem"]
        assert events(run, "app.moved", ancm=1001)
        (folder / "taken").unlink()
        (folder / "apps" / "restart.txt").touch()
        wait_for_end(pid)
        wait_until(lambda: list((folder / "taken").glob("stdout_*.log")), "a log after the next start")


def test_check_stdout_logging_to_file(folder: Path) -> None:
    """CheckStdoutErrLoggingToFile and OnlyOneFileCreatedWithProcessStartTime, too: one file a start for both streams,
    named after the start and the app's own pid, where ANCM has the front's."""
    text = web_config("python", "row.py", stdoutLogEnabled="true", stdoutLogFile=r".\logs\stdout")
    with of_iis(folder, text) as run:
        pid = pid_of(run, "/?say=hello")
        pid_of(run, "/?say=hello")
        (log,) = logs(run)
        assert re.fullmatch(rf"stdout_\d{{14}}_{pid}\.log", log.name)
        wait_until(lambda: log.read_text() == "hello\n" * 4, "stdout and stderr, both twice")
        (folder / "apps" / "restart.txt").touch()
        wait_for_end(pid)
        pid_of(run, "/")
        assert len(logs(run)) == 2


def test_invalid_file_path_for_logs_server_still_runs(folder: Path) -> None:
    text = web_config("python", "row.py", stdoutLogEnabled="true", stdoutLogFile=r"Q:\nowhere\stdout")
    with of_iis(folder, text) as run:
        assert run.get("/").status == 200
        assert "stdoutLogFile" in run.output


def test_check_u_t_f8_file(folder: Path) -> None:
    """The folder's name and what is printed, byte for byte; and the start that failed is told with it."""
    command = ["python", "-c", FAILS]
    with PorticoRun(folder, config(f"{UTF8}/stdout", command=command)) as run:
        answer = run.get("/")
        assert answer.status == 502
        texts = {log.read_text("utf-8") for log in (folder / UTF8).glob("stdout_*.log")}
        assert len(texts) == 1
        assert set(texts.pop().splitlines()) == {UTF8, "to stderr"}
        assert [told["ancm"] for told in events(run, "app.start-failed")] == [1000, 1020]
        # CaptureLogsForOutOfProcessWhenProcessFailsToStart
        assert UTF8 in answer.text
        last = json.loads(run.app("why", "shop", "--json").out)["last_lines"]
        assert set(last.split()) >= {UTF8, "stderr"}


@pytest.mark.parametrize("stdout_log", ["", "logs/shop/stdout"])
def test_capture_logs_30_kb_max(folder: Path, stdout_log: str) -> None:
    """What is told of the output has an end, whether or not it is kept; the last of it, where ANCM has the first."""
    with PorticoRun(folder, config(stdout_log, command=["python", "-c", TALKS])) as run:
        assert run.get("/").status == 502
        said = run.app("why", "shop").out
        assert "omega" in said
        assert "alpha" not in said
        assert len(said) < 30_000


@pytest.mark.parametrize("disabled", [True, False])
def test_disable_start_up_error_page_test(folder: Path, disabled: bool) -> None:
    """A command that fails: a bare 502, or the page of a failed start, whole, with the event in the log.
    IncludesAdditionalErrorPageTextOutOfProcess_CorrectString: its own text, and its end."""
    text = web_config("sh", '-c "exit 7"', disableStartUpErrorPage=str(disabled).lower())
    with of_iis(folder, text) as run:
        answer = run.get("/", [("Accept", "text/html")])
        assert answer.status == 502
        assert ("502.5" in answer.text) is not disabled
        assert ("exit status 7" in answer.text) is not disabled
        if not disabled:
            assert answer.text.rstrip().endswith("</html>")
        assert [told["ancm"] for told in events(run, "app.start-failed")] == [1000, 1020]
