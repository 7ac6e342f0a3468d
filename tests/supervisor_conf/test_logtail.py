"""`app log -f` over every way in which a log file comes, goes and changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf.logtail import LAST_BYTES, LogTail
from supervisor_conf.stdoutlog import StdoutLog, log_path, of_starts, prune


def no_problem(sentence: str) -> None:
    raise AssertionError(sentence)


def start(prefix: Path, at: float, pid: int, max_bytes: int = 0, keep: int = 10) -> StdoutLog:
    return StdoutLog(log_path(str(prefix), at, pid), max_bytes, keep, no_problem)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "stdout"


@pytest.fixture
def tail(prefix: Path) -> Iterator[LogTail]:
    made = LogTail(str(prefix))
    yield made
    made.close()


def test_the_end_of_the_newest_start_and_then_what_comes(prefix: Path, tail: LogTail) -> None:
    old, new = start(prefix, 1000.0, 7), start(prefix, 2000.0, 3)
    old.write(b"old\n")
    new.write(b"x" * 100 + b"\n" + b"line\n" * (LAST_BYTES // 5))
    last = tail.last()
    assert 0 < len(last) <= LAST_BYTES
    assert set(last.splitlines()) == {b"line"}
    assert tail.more() == b""
    new.write(b"more\n")
    old.write(b"of another process\n")
    assert tail.more() == b"of another process\nmore\n"
    newest = start(prefix, 3000.0, 1)
    newest.write(b"the next start\n")
    assert tail.more() == b"the next start\n"
    for log in (old, new, newest):
        log.close()


def test_turned_over_cleared_and_pruned_files(prefix: Path, tail: LogTail) -> None:
    log = start(prefix, 1000.0, 7, max_bytes=10, keep=2)
    assert tail.last() == b""
    log.write(b"12345\n")
    assert tail.more() == b"12345\n"
    log.write(b"67890\n")  # turned over
    log.write(b"abc\n")
    assert tail.more() == b"67890\nabc\n"
    log.clear()
    log.write(b"x\n")
    assert tail.more() == b"x\n"
    log.path.unlink()
    assert tail.more() == b""
    log.close()


def test_what_was_turned_over_several_times_between_two_looks(prefix: Path, tail: LogTail) -> None:
    log = start(prefix, 1000.0, 7, max_bytes=10, keep=5)
    log.write(b"12345678\nab")  # turned over: the file is empty
    assert tail.last() == b"12345678\nab"
    for line in (b"one-line..\n", b"two-lines.\n", b"three-line\n", b"4\n"):
        log.write(line)
    assert tail.more() == b"one-line..\ntwo-lines.\nthree-line\n4\n"
    assert tail.more() == b""
    os.rename(log.path, prefix.parent / "archived")
    log.reopen()
    log.write(b"5\n")
    log.close()
    assert tail.more() == b"5\n"


def test_the_last_start_that_has_written_is_told(prefix: Path, tail: LogTail) -> None:
    old, new = start(prefix, 1000.0, 7), start(prefix, 2000.0, 3)
    old.write(b"why it ended\n")
    assert tail.last() == b"why it ended\n"
    new.write(b"again\n")
    assert tail.more() == b"again\n"
    old.close()
    new.close()


def test_nothing_there(tail: LogTail) -> None:
    assert (tail.last(), tail.more()) == (b"", b"")


def test_the_oldest_are_pruned_and_what_is_in_use_stays(prefix: Path) -> None:
    logs = [start(prefix, 1000.0 + number, 100 - number) for number in range(6)]
    for log in logs:
        log.close()
    others = ["stdout_1.log", "stdout_20261123010203_7.log.gz", "stdoutx_20261123010203_7.log", "notes"]
    for name in others:
        (prefix.parent / name).write_text("not ours")
    part = logs[4].path.with_name(logs[4].path.name + ".1")
    part.write_text("turned over")
    removed = prune(str(prefix), 3, {str(logs[0].path), str(logs[5].path)})
    assert removed == [logs[1].path, logs[2].path, logs[3].path, part]
    assert of_starts(str(prefix)) == [logs[0].path, logs[4].path, logs[5].path]
    assert all((prefix.parent / name).exists() for name in others)
    assert prune(str(prefix), 1, {str(logs[5].path)}) == [logs[0].path, logs[4].path]
    assert prune(str(prefix.parent / "nowhere" / "x"), 1, ()) == []


def test_links_and_pipes_in_the_apps_folder_are_no_logs(prefix: Path, tail: LogTail) -> None:
    secret = prefix.parent.parent / "secret"
    secret.write_bytes(b"s3cret\n")
    log = start(prefix, 1000.0, 7)
    log.write(b"line\n")
    log_path(str(prefix), 2000.0, 7).symlink_to(secret)
    os.mkfifo(log_path(str(prefix), 3000.0, 7))
    assert tail.last() == b"line\n"
    log.write(b"more\n")
    log.close()
    assert tail.more() == b"more\n"
