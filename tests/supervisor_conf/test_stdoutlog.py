"""One file per start: name, bytes, turning over, and what happens when it cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.stdoutlog import StdoutLog, log_path


def _never(sentence: str) -> None:
    raise AssertionError(sentence)


def test_the_name_has_utc_time_and_pid() -> None:
    assert log_path("/logs/shop/stdout", 1763790000.5, 949) == Path(
        "/logs/shop/stdout_20251122054000_949.log"
    )


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 60), st.integers(1, 3))
def test_parts_together_end_with_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], limit: int, keep: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.log"
    log = StdoutLog(path, limit, keep, _never)
    for chunk in chunks:
        log.write(chunk)
    log.close()
    parts = [path.with_name(f"a.log.{number}") for number in range(keep - 1, 0, -1)] + [path]
    stored = b"".join(part.read_bytes() for part in parts if part.exists())
    assert b"".join(chunks).endswith(stored)
    assert sum(1 for _ in path.parent.iterdir()) <= keep
    assert path.stat().st_size < limit


def test_without_a_limit_it_is_never_turned_over(tmp_path: Path) -> None:
    log = StdoutLog(tmp_path / "deep" / "er" / "a.log", 0, 10, _never)
    log.write(b"x" * 100_000)
    log.write(b"")
    log.close()
    log.write(b"after the end")
    assert (tmp_path / "deep/er/a.log").stat().st_size == 100_000
    assert (tmp_path / "deep/er/a.log").stat().st_mode & 0o777 == 0o640


def test_an_existing_file_or_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "a.log").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        StdoutLog(tmp_path / "a.log", 0, 10, _never)
    assert (tmp_path / "target").read_text() == "theirs"


def test_clear_and_reopen(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = StdoutLog(path, 0, 10, _never)
    log.write(b"before")
    log.clear()
    log.write(b"after")
    assert path.read_bytes() == b"after"
    os.rename(path, tmp_path / "moved")
    log.reopen()
    log.write(b"new")
    log.close()
    assert path.read_bytes() == b"new"


def test_trouble_is_told_once_and_stops_nobody(tmp_path: Path) -> None:
    problems: list[str] = []
    path = tmp_path / "logs" / "a.log"
    log = StdoutLog(path, 10, 2, problems.append)
    path.unlink()
    path.parent.rmdir()
    for _ in range(5):
        log.write(b"x" * 10)
    log.reopen()
    log.write(b"x")
    log.close()
    assert problems == [f"{path} cannot be written: No such file or directory."]
