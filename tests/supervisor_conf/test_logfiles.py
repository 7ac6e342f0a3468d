"""Log files that are moved away while somebody writes to them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from supervisor_conf import logfiles


def test_a_file_is_appended_to_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "a/b/access.log"
    for text in (b"one\n", b"two\n"):
        fd = logfiles.open_for_appending(path)
        os.write(fd, text)
        os.close(fd)
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "access.log").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        logfiles.open_for_appending(tmp_path / "access.log")
    assert not (tmp_path / "secret").exists()


def test_a_descriptor_goes_on_in_a_new_file_under_its_number(tmp_path: Path) -> None:
    path = tmp_path / "portico.log"
    fd = logfiles.open_for_appending(path)
    os.write(fd, b"old\n")
    path.rename(tmp_path / "portico.log.1")
    logfiles.reopen(fd, path)
    os.write(fd, b"new\n")
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "portico.log.1").read_bytes() == b"old\n"


def test_what_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "portico.log"
    fd = logfiles.open_for_appending(path)
    path.rename(tmp_path / "moved")
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        logfiles.reopen(fd, path)
    os.write(fd, b"still\n")
    os.close(fd)
    assert (tmp_path / "moved").read_bytes() == b"still\n"


def test_the_setting_may_be_no_log_at_all() -> None:
    assert logfiles.access_log("") is None
    fd = logfiles.access_log("-")
    assert fd is not None
    assert os.path.samestat(os.fstat(fd), os.fstat(1))
    os.close(fd)
