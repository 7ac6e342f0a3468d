"""Every seeded fault fits the sources of today: `tox -e mutants` shows that each is found."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import FAULTS, ROOT
from tests.mutants.fault import Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.why}")
def test_it_is_one_mistake_in_a_file_that_still_compiles(fault: Fault) -> None:
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    assert text.count(fault.old) == 1
    assert fault.new != fault.old
    compile(text.replace(fault.old, fault.new), fault.file, "exec")


def test_the_tests_that_find_them_are_there() -> None:
    wanted = {test for fault in FAULTS for test in fault.tests}
    assert [test for test in sorted(wanted) if not _is_there(test)] == []


def _is_there(test: str) -> bool:
    """A file, a folder, or one test of a file whose others take long."""
    path, _, name = test.partition("::")
    file = ROOT / path
    return f"def {name}(" in file.read_text(encoding="utf-8") if name else file.exists()


def test_no_fault_is_there_twice() -> None:
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)
