"""Files of one folder: whatever is in it and whatever is asked for, nothing outside is opened."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.folder import Folder, Opener


def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@contextmanager
def folder_at(path: Path, *, links: bool = True, opener: Opener | None = None) -> Iterator[Folder]:
    folder = Folder(path, at_once, links=links, opener=opener)
    yield folder
    folder.close()


def content(folder: Folder, *segments: str) -> bytes:
    descriptor, state = folder.open([os.fsencode(segment) for segment in segments])
    assert stat.S_ISREG(state.st_mode)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """`public` with what people put there; `secret` beside it."""
    (tmp_path / "secret").write_text("SECRET")
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    (public / "a.txt").write_text("a")
    (public / "sub" / "b.txt").write_text("b")
    (public / "inside").symlink_to("sub/b.txt")
    (public / "sub" / "up").symlink_to("../a.txt")
    (public / "absolute").symlink_to(tmp_path / "secret")
    (public / "absolute-inside").symlink_to(public / "a.txt")
    (public / "relative").symlink_to("../secret")
    (public / "out").symlink_to("..")
    (public / "loop").symlink_to("loop")
    (public / "self").symlink_to("/proc/self/root")
    os.mkfifo(public / "fifo")
    return public


@pytest.mark.parametrize("opener", [None, Opener.BENEATH, Opener.STEPS])
def test_what_is_inside(tree: Path, opener: Opener | None) -> None:
    with folder_at(tree, opener=opener) as folder:
        assert content(folder, "a.txt") == b"a"
        assert content(folder, "sub", "b.txt") == b"b"
        _, state = folder.open([])
        assert stat.S_ISDIR(state.st_mode)


def test_this_machine_has_openat2(tree: Path) -> None:
    """The tests that follow are about the real thing."""
    with folder_at(tree) as folder:
        assert folder.opener is Opener.CACHED


def test_links_that_stay_inside(tree: Path) -> None:
    with folder_at(tree) as folder:
        assert content(folder, "inside") == b"b"
        assert content(folder, "sub", "up") == b"a"
    for without in (folder_at(tree, links=False), folder_at(tree, opener=Opener.STEPS)):
        with without as folder, pytest.raises(OSError, match="symbolic"):
            folder.open([b"inside"])


@pytest.mark.parametrize("opener", [None, Opener.BENEATH, Opener.STEPS])
@pytest.mark.parametrize(
    "segments",
    [["absolute"], ["relative"], ["out", "secret"], ["absolute-inside"], ["loop"], ["fifo"], ["self", "etc", "passwd"],
     ["self", "fd", "0"], ["a.txt", "x"], ["nothing"], ["x" * 300]],
)  # fmt: skip
def test_what_is_not(tree: Path, opener: Opener | None, segments: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with folder_at(tree, opener=opener) as folder, pytest.raises(OSError):  # noqa: PT011  whatever the kernel says
        folder.open([os.fsencode(segment) for segment in segments])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_was_switched(tree: Path) -> None:
    current = tree.parent / "current"
    current.symlink_to("public")
    next_release = tree.parent / "next"
    next_release.mkdir()
    (next_release / "a.txt").write_text("new")
    with folder_at(current) as folder:
        assert content(folder, "a.txt") == b"a"
        folder.refresh()
        assert content(folder, "a.txt") == b"a"
        current.unlink()
        folder.refresh()
        assert content(folder, "a.txt") == b"a"
        current.symlink_to("next")
        assert content(folder, "a.txt") == b"a"
        folder.refresh()
        assert content(folder, "a.txt") == b"new"


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, error in (("nothing", FileNotFoundError), ("file", NotADirectoryError)):
        with pytest.raises(error):
            Folder(tmp_path / name, at_once, links=True)


# A tree of a few names at two levels; a link leads along any path of them, up, or from the root on.
names = st.sampled_from(["a", "b", "c"])
steps = st.lists(st.sampled_from(["a", "b", "c", "..", ".", "secret"]), min_size=1, max_size=4)
targets = st.tuples(st.sampled_from(["", "", "/", "@/"]), steps).map(lambda pair: pair[0] + "/".join(pair[1]))
nodes = st.one_of(st.just("file"), st.just("folder"), targets)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), nodes, max_size=8)


@given(
    trees,
    st.lists(st.lists(names, min_size=1, max_size=4), max_size=6),
    st.sampled_from([None, Opener.STEPS]),
)
def test_nothing_outside_is_ever_opened(
    tree: dict[tuple[str, ...], str], asked: list[list[str]], opener: Opener | None
) -> None:
    with tempfile.TemporaryDirectory() as place:
        outside = Path(place)
        public = outside / "a" / "b"  # names that links may lead to are outside, too
        public.mkdir(parents=True)
        for secret in (outside / "secret", outside / "a" / "c", outside / "a" / "secret"):
            secret.write_text("OUTSIDE")
        for path, node in sorted(tree.items()):
            plant(public, path, node.replace("@", place))
        with folder_at(public, opener=opener) as folder:
            for segments in [*asked, *map(list, tree)]:
                found = opened(folder, segments)
                if found is not None:
                    real, data = found
                    assert data == b"INSIDE"
                    assert real.is_relative_to(public.resolve())


def plant(public: Path, path: tuple[str, ...], node: str) -> None:
    """What does not fit under a file or a link is left out."""
    place = public.joinpath(*path)
    parents = [public.joinpath(*path[:length]) for length in range(1, len(path))]
    if place.exists() or place.is_symlink() or any(p.is_symlink() or p.is_file() for p in parents):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if node == "file":
        place.write_text("INSIDE")
    elif node == "folder":
        place.mkdir()
    else:
        place.symlink_to(node)


def opened(folder: Folder, segments: list[str]) -> tuple[Path, bytes] | None:
    """Where a file that was opened really is, and what is in it."""
    try:
        descriptor, state = folder.open([os.fsencode(segment) for segment in segments])
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") if stat.S_ISREG(state.st_mode) else open(os.devnull, "rb") as file:
        if stat.S_ISDIR(state.st_mode):
            os.close(descriptor)
            return None
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")), file.read()
