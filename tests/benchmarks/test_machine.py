"""What is said of a machine that lacks something."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from benchmarks import machine


def test_every_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.write_text("#!/bin/sh\n")
    here.chmod(0o755)
    programs = {"one": ("package-one", str(here)), "two": ("package-two", str(tmp_path / "nowhere"))}
    monkeypatch.setattr(machine, "PROGRAMS", programs)
    assert machine.missing_packages() == {"two": "package-two"}
    assert machine.program("one") == str(here)


def test_one_core_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    with pytest.raises(machine.UnfitMachine, match="two cores"):
        machine.cores()


def test_the_front_has_a_core_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 2, 3})
    assert machine.cores() == machine.Cores(front=frozenset({2}), rest=frozenset({3, 5}))


def test_open_files_are_raised_as_far_as_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        allowed = machine.raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, before[1])
        assert allowed > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_machine_is_described() -> None:
    assert all(machine.describe()[key] for key in ("processor", "cores", "kernel", "system", "python"))
