"""Ways to folders: links of others are no way for root, everything else is as with any path."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from supervisor_conf.folders import open_in_folder
from supervisor_conf.stdoutlog import StdoutLog

WRITE = os.O_WRONLY | os.O_CREAT


def write(path: Path, data: bytes = b"x") -> None:
    descriptor = open_in_folder(path, WRITE, 0o640)
    os.write(descriptor, data)
    os.close(descriptor)


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write(tmp_path / "a/b/c.log")
    write(tmp_path / "a/./b/../d.log")
    assert (tmp_path / "a/b/c.log").read_bytes() == (tmp_path / "a/d.log").read_bytes() == b"x"


def test_ones_own_links_are_followed_the_last_name_is_none(tmp_path: Path) -> None:
    (tmp_path / "disk/logs").mkdir(parents=True)
    (tmp_path / "near").symlink_to("disk/../disk")
    (tmp_path / "far").symlink_to(tmp_path / "near/logs")
    write(tmp_path / "far/a.log")
    assert (tmp_path / "disk/logs/a.log").read_bytes() == b"x"
    (tmp_path / "disk/logs/b.log").symlink_to("a.log")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "far/b.log")


def test_what_is_no_folder_and_links_without_end(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("made")
    with pytest.raises(NotADirectoryError):
        write(tmp_path / "file/a.log")
    with pytest.raises(NotADirectoryError):
        write(tmp_path / "file/b/a.log")
    with pytest.raises(OSError, match="link"):
        write(tmp_path / "loop/a.log")
    write(tmp_path / "dangling/a.log")
    assert (tmp_path / "made/a.log").exists()
    assert set(os.listdir("/proc/self/fd")) == before


if os.geteuid() == 0:

    def test_root_goes_through_no_link_of_a_user(tmp_path: Path) -> None:
        nobody = pwd.getpwnam("nobody").pw_uid
        for name in ("users", "roots"):
            (tmp_path / name).mkdir()
        link = tmp_path / "users/logs"
        link.symlink_to(tmp_path / "roots")
        os.chown(tmp_path / "users", nobody, -1)
        os.chown(link, nobody, -1, follow_symlinks=False)
        with pytest.raises(OSError, match="link of another user"):
            write(link / "a.log")
        with pytest.raises(OSError, match="link of another user"):
            StdoutLog(link / "stdout_20261123000000_1.log", 0, 0, pytest.fail)
        assert not list((tmp_path / "roots").iterdir())
