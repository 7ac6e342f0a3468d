"""Cgroups of generations: where they can be made, and that nobody who is in one gets away.

What needs a real cgroup v2 is tried on it where this machine has one that may be divided; where it has none, the same
tests say so by looking that there is a reason and that nothing is made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf import cgroups, nonces
from supervisor_conf.cgroups import Home, find_home, home_of
from tests.kit import environments, procfs
from tests.kit.until import wait_until

ENDING = nonces.ending(Path("/nowhere/of/the/tests") / str(os.getpid()))
MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 22 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""
WHOLE = MOUNTS + "32 30 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
PART = MOUNTS + r"32 30 0:28 /docker/1f /mnt/with\040blank rw - cgroup2 none rw"

# Leaves group, session, parent and environment: what is left is its cgroup.
ESCAPE = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(3600)"], {})
"""
SLEEP = "import time; time.sleep(3600)"

# Made, entered by two, killed, removed; by whoever runs it.
DIVIDE = """
import cgroups, os, sys, time
home = cgroups.find_home()
made = home.make("12" + sys.argv[1])
child = os.fork()
if not child:
    cgroups.enter(made)
    os.fork()
    time.sleep(3600)
while len(cgroups.members(made)) < 2:
    time.sleep(0.01)
killed = cgroups.kill(made)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
cgroups.clear(made)
print(home.folder, killed, status, not os.path.exists(made))
"""


@pytest.mark.parametrize(
    ("mounts", "membership", "expected"),
    [
        (WHOLE, "0::/\n", "/sys/fs/cgroup/unified"),
        (
            WHOLE,
            "4:memory:/x\n0::/system.slice/a b.service\n",
            "/sys/fs/cgroup/unified/system.slice/a b.service",
        ),
        (PART, "0::/docker/1f\n", "/mnt/with blank"),
        (PART, "0::/docker/1f/inner\n", "/mnt/with blank/inner"),
        (PART, "0::/docker/1fe\n", None),
        (PART, "0::/\n", None),
        (WHOLE, "0::/../other\n", None),
        (WHOLE, "4:memory:/x\n", None),
        (MOUNTS, "0::/\n", None),
        ("", "", None),
    ],
)
def test_where_a_cgroup_is_reached(mounts: str, membership: str, expected: str | None) -> None:
    assert home_of(mounts, membership) == (None if expected is None else Path(expected))


def test_where_there_is_none_nothing_is_made_and_every_answer_is_empty(tmp_path: Path) -> None:
    home = Home(None, "because")
    assert home.make("ab") == ""
    assert home.left("-cd") == []
    cgroups.enter("")
    assert cgroups.members("") == set()
    assert (cgroups.kill(""), cgroups.clear(""), cgroups.remove(""), cgroups.oom_kills("")) == (
        0,
        0,
        True,
        None,
    )
    assert Home(tmp_path / "gone").make("ab") == ""


def test_what_is_left_is_known_by_its_end(tmp_path: Path) -> None:
    names = ["portico-12ab-cd", "portico-12ab-ef", "other-12ab-cd", "portico--cd", "portico-12zz-cd"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "portico-34-cd").write_text("no folder")
    assert Home(tmp_path).left("-cd") == [str(tmp_path / "portico-12ab-cd")]


def test_kills_for_lack_of_memory_are_counted_where_the_controller_is(tmp_path: Path) -> None:
    assert cgroups.oom_kills(str(tmp_path)) is None
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert cgroups.oom_kills(str(tmp_path)) == 2


# ------------------------------------------------------------------------------------------------------------
# On a real one


@pytest.fixture
def cgroup() -> Iterator[str]:
    """A new one; "" where there cannot be any."""
    home = find_home()
    assert (home.folder is None) == bool(home.why)
    made = home.make(f"{os.getpid():x}{time.monotonic_ns():x}{ENDING}")
    assert bool(made) == (home.folder is not None)
    yield made
    cgroups.clear(made)


def start(cgroup: str, source: str) -> subprocess.Popen[bytes]:
    """A Python that runs it, in the cgroup from before its first line."""
    return subprocess.Popen([sys.executable, "-c", source], preexec_fn=lambda: cgroups.enter(cgroup))


def test_whoever_leaves_everything_else_is_still_in_its_cgroup(cgroup: str) -> None:
    if not cgroup:
        return
    first = start(cgroup, ESCAPE)
    assert first.wait() == 0
    escaped = wait_until(
        lambda: next((pid for pid in cgroups.members(cgroup) if procfs.argv(pid)[2:] == (SLEEP,)), 0),
        "the one that got away",
    )
    assert procfs.environ(escaped).get(nonces.VARIABLE) is None
    assert procfs.parent(escaped) not in (first.pid, os.getpid())
    assert not cgroups.remove(cgroup)
    assert cgroups.clear(cgroup) == 1
    assert not procfs.alive(escaped)
    assert not os.path.exists(cgroup)


def test_those_below_go_with_it(cgroup: str) -> None:
    if not cgroup:
        assert cgroups.clear(cgroup) == 0
        return
    below = f"{cgroup}/of-the-app"
    os.mkdir(below)
    started = [start(where, SLEEP) for where in (cgroup, below)]
    assert cgroups.members(cgroup) == {one.pid for one in started}
    assert cgroups.kill(cgroup) == 2
    assert [one.wait() for one in started] == [-9, -9]
    assert cgroups.remove(cgroup)


def test_the_next_run_finds_it_unless_it_is_in_it_itself(cgroup: str) -> None:
    assert find_home().left(ENDING) == ([cgroup] if cgroup else [])
    source = f"from supervisor_conf.cgroups import *; print(Home(find_home().folder.parent).left({ENDING!r}))"
    if cgroup:
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            preexec_fn=lambda: cgroups.enter(cgroup),
        )
        assert done.stdout == "[]\n", done.stderr


def test_an_ordinary_user_divides_what_was_delegated(cgroup: str) -> None:
    """As systemd's Delegate=yes does it: the folder, its cgroup.procs and cgroup.subtree_control are the user's."""
    if not cgroup or os.geteuid() != 0:
        return
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(os.path.join(cgroup, name), 65534, 65534)

    def become() -> None:
        cgroups.enter(cgroup)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    folder = environments.readable_folder()
    shutil.copy(cgroups.__file__, folder)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", DIVIDE, ENDING],
        capture_output=True,
        text=True,
        preexec_fn=become,
        cwd=folder,
    )
    shutil.rmtree(folder)
    assert done.stdout.split() == [cgroup, "2", "-9", "True"], done
