"""docs/ancm-tests.md names tests of ours: they exist, and it forgets none in the files named after ANCM's rows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ancm-tests.md").read_text("utf-8")
NAMED = re.findall(r"`((?:tests/[a-z_/]+/)?test_\w+\.py): (test_\w+)`", PAGE)


def in_file(file: str) -> set[str]:
    path = ROOT / (file if "/" in file else f"tests/system/{file}")
    return set(re.findall(r"^def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE))


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 70
    missing = [f"{file}: {test}" for file, test in NAMED if test not in in_file(file)]
    assert not missing


def test_every_row_that_is_tried_is_named() -> None:
    rows = {path.name for path in (ROOT / "tests" / "system").glob("test_ancm_*.py")}
    assert len(rows) > 4
    named = {(file, test) for file, test in NAMED if file in rows}
    tried = {(file, test) for file in rows for test in in_file(file)}
    ours_alone = {
        # what the rows leave open beside them
        ("test_ancm_rows.py", "test_middleware_ignores_shutdown_without_the_token"),
        ("test_ancm_rows.py", "test_request_path_base_that_is_ambiguous"),
    }
    assert tried - named == ours_alone
