"""What the tests take from the npm registry."""

from __future__ import annotations

import subprocess
from pathlib import Path

PATIENCE = 70.0  # seconds for one try: two are less than what a test may take


class NoAnswer(Exception):
    """The registry answers nothing: no fault of what is tested."""


def npm(folder: Path, *arguments: str) -> None:
    """One npm command in `folder`, tried twice where the registry keeps silent; AssertionError when it fails."""
    command = ["npm", *arguments, "--no-audit", "--no-fund"]
    for _ in range(2):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return
    raise NoAnswer(f"the npm registry does not answer within {PATIENCE:g} s")
