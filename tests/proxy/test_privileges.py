"""A worker that gave up root has nothing of root's left, and still ends with supervisord."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: What the process is after it has become another user: PR_GET_PDEATHSIG is 2 (prctl(2)).
PROGRAM = """
import ctypes, json, os, pwd
from proxy.privileges import become
become(pwd.getpwnam("nobody"))
asked = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(asked), 0, 0, 0)
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), asked.value]))
"""


@needs_root
def test_nothing_of_roots_is_left_and_death_is_shared() -> None:
    account = pwd.getpwnam("nobody")
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], extra_groups=[0, 4], capture_output=True, check=True
    ).stdout
    users, groups, others, signal_of_death = json.loads(told)
    assert users == [account.pw_uid] * 3
    assert groups == [account.pw_gid] * 3
    assert sorted(others) == sorted(os.getgrouplist(account.pw_name, account.pw_gid))
    assert signal_of_death == signal.SIGKILL
