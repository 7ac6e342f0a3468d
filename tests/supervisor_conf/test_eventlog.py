"""Our own events: whole JSON lines, whoever writes them."""

import json
import os
from pathlib import Path

import structlog

from supervisor_conf import eventlog


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def test_a_line_carries_time_level_event_and_fields(tmp_path: Path) -> None:
    fd = _open(tmp_path / "log")
    log = eventlog.open_event_log(fd, process="plugin")
    log.info("app.spawned", app="shop", generation=3)
    log.warning("odd", value={1})
    first, second = _lines(tmp_path / "log")
    assert (first["level"], first["event"], first["process"]) == ("info", "app.spawned", "plugin")
    assert (first["app"], first["generation"], first["by"]) == ("shop", 3, os.getpid())
    assert str(first["time"]).endswith("Z")
    assert second["value"] == "{1}"
    os.close(fd)


def test_an_exception_is_one_line(tmp_path: Path) -> None:
    fd = _open(tmp_path / "log")
    log = eventlog.open_event_log(fd)
    try:
        raise ValueError("line\nbreak \udc80")
    except ValueError:
        log.exception("bad")
    (line,) = _lines(tmp_path / "log")
    assert "ValueError" in str(line["exception"])
    os.close(fd)


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    full = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
    eventlog.open_event_log(full).error("lost")
    os.close(full)


def test_configure_serves_get_logger_of_the_process(tmp_path: Path) -> None:
    fd = _open(tmp_path / "log")
    eventlog.configure(fd, process="keeper")
    try:
        structlog.get_logger().info("started", app="shop")
    finally:
        structlog.reset_defaults()
    (line,) = _lines(tmp_path / "log")
    assert (line["process"], line["app"]) == ("keeper", "shop")
    os.close(fd)


def test_a_line_for_the_eye_stays_a_line_and_a_traceback_follows(tmp_path: Path) -> None:
    fd = _open(tmp_path / "log")
    log = eventlog.open_event_log(fd, process="plugin", form=eventlog.Form.CONSOLE)
    log.info("app.spawned", app="shop", said="a\nb\x1b[2J")
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("bad")
    first, second, *rest = (tmp_path / "log").read_text().splitlines()
    assert first.endswith(
        rf" [info] app.spawned process=plugin app='shop' said='a\nb\x1b[2J' by={os.getpid()}"
    )
    assert second.endswith(f" [error] bad process=plugin by={os.getpid()}")
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-1] == "    ValueError: wrong"
    os.close(fd)
