"""Kills for lack of memory, as the kernel counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor_conf.keeper import oom
from supervisor_conf.keeper.oom import OomCounter


@pytest.mark.parametrize(
    "others", ["low 0\nhigh 3\n", "oom_kill_disable 0\nunder_oom 0\n", "pgfault 99999\n"]
)
def test_it_grows_with_the_counter_and_with_nothing_else(tmp_path: Path, others: str) -> None:
    file = tmp_path / "memory.events"
    file.write_text(f"{others}oom_kill 7\noom_group_kill 0\n")
    counter = OomCounter(file)
    assert not counter.grew()
    file.write_text(f"{others}oom_kill 8\noom_group_kill 9\n")
    assert counter.grew()
    assert not counter.grew()


def test_a_file_that_is_not_there_never_grows(tmp_path: Path) -> None:
    counter = OomCounter(tmp_path / "nowhere")
    assert not counter.grew()


def test_where_the_memory_controller_counts(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/a/b\n1:cpu:/\n0::/user.slice/x\n")
    assert oom._cgroup_files(membership, Path("/c")) == [
        Path("/c/memory/a/b/memory.oom_control"),
        Path("/c/memory/memory.oom_control"),
        Path("/c/user.slice/x/memory.events"),
    ]
    assert oom._cgroup_files(tmp_path / "nowhere", Path("/c")) == []
