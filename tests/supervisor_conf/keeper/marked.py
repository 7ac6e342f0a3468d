"""Processes that carry a generation's nonce, as apps do, until the end of a test."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from supervisor_conf.keeper import processes
from tests.supervisor_conf.keeper.apps import python


@dataclass(frozen=True, slots=True)
class Marked:
    """`said`: its first line."""

    pid: int
    nonce: str
    said: bytes


@contextmanager
def marked_processes() -> Iterator[Callable[[str, bool], Marked]]:
    """`start(code, nonce)`: Python in a process group of its own, once it has said a line. Without `nonce` it does not
    know what it should carry. All go at the end, with what they have started."""
    started: list[tuple[subprocess.Popen[bytes], str]] = []

    def start(code: str, nonce: bool) -> Marked:
        mark = secrets.token_hex(16)
        environment = os.environ | ({"PORTICO_NONCE": mark} if nonce else {})
        process = subprocess.Popen(python(code), stdout=subprocess.PIPE, process_group=0, env=environment)
        started.append((process, mark))
        assert process.stdout is not None
        return Marked(process.pid, mark, process.stdout.readline())

    try:
        yield start
    finally:
        for process, mark in started:
            processes.sweep(process.pid, mark)
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
