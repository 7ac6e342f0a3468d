from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor_conf.plugin.rig import FOREVER, Rig, settings_of


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Not started yet; one app `shop` that runs until it is stopped."""
    made = Rig(tmp_path, settings_of(tmp_path, FOREVER))
    yield made
    made.clean()
