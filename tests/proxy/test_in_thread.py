"""What blocks in a module: in a thread of the worker's pool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.modules import Module
from proxy.pipeline import made
from supervisor_conf.settings import ModuleSettings
from tests.kit.memory_front import settings_of_memory


class Looking(Module):
    """Looks for a file, which may block."""

    def __init__(self, options: dict[str, str], context: object) -> None:
        self.context = context


def test_what_a_thread_raises_is_the_module_s_to_handle_and_is_printed_nowhere(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    module = made(ModuleSettings(f"{__name__}:Looking", "{}"), "", 0, settings_of_memory(), lambda: 0.0)
    assert isinstance(module, Looking)
    assert module.context.in_thread(os.path.basename, "/a/b") == "b"  # type: ignore[attr-defined]
    with pytest.raises(FileNotFoundError):
        module.context.in_thread(os.stat, tmp_path / "nothing")  # type: ignore[attr-defined]
    assert capfd.readouterr().err == ""


WITHOUT_IMPORTS = f"""
import dataclasses, sys
from proxy.pipeline import Pipeline
from supervisor_conf.settings import ModuleSettings
from tests.kit.memory_front import settings_of_memory

settings = settings_of_memory()
front = dataclasses.replace(settings.front, modules=(ModuleSettings("{__name__}:Looking", "{{}}"),))
pipeline = Pipeline.of(dataclasses.replace(settings, front=front), lambda: 0.0)

class Closed:
    def find_spec(self, name, path=None, target=None):
        raise PermissionError(name)

sys.meta_path[:] = [Closed()]
print(pipeline._front.modules[0].context.in_thread(len, "abc"))
"""


def test_a_worker_that_can_import_nothing_any_more_still_has_its_threads() -> None:
    """Workers become another user, for whom the environment of Portico may be closed (a Python below /root)."""
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_IMPORTS], capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.returncode) == ("3\n", 0), ended.stderr
