"""app_offline.htm as a file: which names count, what is read, what is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor_conf.keeper.offline import LARGEST, Page, read_page


@pytest.mark.parametrize("name", ["app_offline.htm", "APP_OFFLINE.HTM", "App_Offline.htm"])
def test_its_bytes_whatever_the_case_of_its_name(tmp_path: Path, name: str) -> None:
    content = b"<h1>B\xe4ck \xff soon</h1>\r\n"
    (tmp_path / name).write_bytes(content)
    page = read_page(tmp_path)
    assert page is not None
    assert (page.body.encode("utf-8", "surrogateescape"), page.problem) == (content, "")


def test_the_exact_name_wins(tmp_path: Path) -> None:
    (tmp_path / "APP_OFFLINE.HTM").write_text("loud")
    (tmp_path / "app_offline.htm").write_text("plain")
    assert read_page(tmp_path) == Page("plain")


@pytest.mark.parametrize(
    "name", ["app_o", "app_offline", "app_offline.html", "my_app_offline.htm", "app_offline.htm~"]
)
def test_names_that_are_like_it_do_not_count(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert read_page(tmp_path) is None


def test_a_folder_that_is_not_there_is_online(tmp_path: Path) -> None:
    assert read_page(tmp_path / "nowhere") is None


def test_no_link_no_folder_no_pipe_is_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of root")
    path = tmp_path / "app_offline.htm"
    makers = (
        lambda: path.symlink_to(secret),
        lambda: os.link(secret, path),
        lambda: os.mkfifo(path),
        path.mkdir,
    )
    for make in makers:
        make()
        page = read_page(tmp_path)
        assert page is not None
        assert page.body == ""
        assert page.problem
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_a_page_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "app_offline.htm"
    path.write_bytes(b"x" * LARGEST)
    assert read_page(tmp_path) == Page("x" * LARGEST)
    path.write_bytes(b"x" * (LARGEST + 1))
    page = read_page(tmp_path)
    assert page is not None
    assert page.body == ""
    assert "longer" in page.problem
