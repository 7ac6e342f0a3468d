"""THE TABLE of the modules that come with Portico, and of their options. It drives reading and `docs/settings.md`.

What each module does stands in `proxy/modules/`; what only this machine can tell (a file that cannot be read) is
looked at in `check.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from supervisor_conf.setting_table import Key

SHIPPED: Final[Mapping[str, tuple[Key, ...]]] = {}
