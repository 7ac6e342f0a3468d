"""Names of processes are anybody's to choose."""

from __future__ import annotations

import subprocess
import sys

import pytest

from supervisor_conf.keeper.processes import read_process

RENAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0)
print("renamed", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"plain (1) name", "plain (1) name"),
        (b"\x1b[31mred\r\nX", "?[31mred??X"),
        (b"\xff\xe4", "\ufffd\ufffd"),
        ("\u202egnp".encode(), "?gnp"),
    ],
)
def test_a_name_is_told_without_what_a_terminal_obeys(name: bytes, told: str) -> None:
    command = [sys.executable, "-c", RENAMED, name.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = read_process(process.pid)
        process.communicate()
    assert found is not None
    assert found.name == told
