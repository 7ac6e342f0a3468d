"""Files that come, go and change in a folder: told by inotify, and seen without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import inotify_simple
import pytest
import structlog
from gevent.event import Event

from supervisor_conf.keeper import watch
from supervisor_conf.keeper.watch import Watch

LIMIT = 20.0
MakeWatch = Callable[..., "Seen"]


class Seen:
    def __init__(self, *folders: Path) -> None:
        self.folders: list[Path] = []
        self._event = Event()
        self.watch = Watch(("app_offline.htm",), self._changed, structlog.get_logger())
        self.watch.set_folders(folders)
        self.watch.start()

    def _changed(self, folder: Path) -> None:
        self.folders.append(folder)
        self._event.set()

    def next(self) -> Path:
        with gevent.Timeout(LIMIT):
            while not self.folders:
                self._event.clear()
                self._event.wait()
        # one deed may be several events of the kernel's
        gevent.sleep(0)
        found = set(self.folders)
        self.folders.clear()
        (folder,) = found
        return folder


@pytest.fixture
def seen() -> Iterator[MakeWatch]:
    made: list[Seen] = []

    def make(*folders: Path) -> Seen:
        made.append(Seen(*folders))
        return made[-1]

    yield make
    for one in made:
        one.watch.close()


@pytest.fixture(params=["inotify", "looks", "no watches left"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With inotify no look comes within the test; without it, looks are all there is."""

    def none_left(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watch, "LOOK_EVERY", 3600 if request.param == "inotify" else 0.005)
    if request.param == "looks":
        monkeypatch.setattr(watch, "INotify", none_left)
    if request.param == "no watches left":
        monkeypatch.setattr(inotify_simple.INotify, "add_watch", none_left)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["app_offline.htm", "App_Offline.HTM"])
def test_a_file_comes_changes_and_goes(tmp_path: Path, seen: MakeWatch, name: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    one = seen(tmp_path, other)
    path = tmp_path / name
    path.write_text("soon")
    assert one.next() == tmp_path
    path.write_text("very soon")
    assert one.next() == tmp_path
    path.rename(other / name)
    with gevent.Timeout(LIMIT):
        while len(set(one.folders)) < 2:
            gevent.sleep(0.001)
    one.folders.clear()
    (other / name).unlink()
    assert one.next() == other


def test_other_names_are_nothing(tmp_path: Path, seen: MakeWatch) -> None:
    one = seen(tmp_path)
    for name in ("app_o", "app_offline.ht", "app_offline.html", "xapp_offline.htm", "app_offline"):
        (tmp_path / name).write_text("x")
    (tmp_path / "app_offline.htm").write_text("x")
    assert one.next() == tmp_path
    one.watch.look()
    assert one.folders == []


def test_a_folder_that_is_replaced_is_watched_again(
    tmp_path: Path, seen: MakeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.005)
    folder = tmp_path / "app"
    folder.mkdir()
    one = seen(folder)
    folder.rename(tmp_path / "old")
    folder.mkdir()
    (folder / "app_offline.htm").write_text("x")
    with gevent.Timeout(LIMIT):
        while folder not in one.folders:
            gevent.sleep(0.001)


def test_a_folder_that_is_no_longer_wanted_is_let_go(tmp_path: Path, seen: MakeWatch) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    one = seen(*folders)
    one.watch.set_folders(folders[1:])
    (folders[0] / "app_offline.htm").write_text("x")
    (folders[1] / "app_offline.htm").write_text("x")
    assert one.next() == folders[1]


def test_nothing_is_left_open(tmp_path: Path, seen: MakeWatch) -> None:
    before = os.listdir("/proc/self/fd")
    one = seen(tmp_path)
    one.watch.close()
    assert os.listdir("/proc/self/fd") == before
