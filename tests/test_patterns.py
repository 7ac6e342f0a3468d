"""No pattern has a possessive or atomic group.

Up to Python 3.11.4 a group whose inside fails halfway keeps what it has eaten (gh-106052): a strict pattern then takes
what it must refuse, and only on those versions. A possessive repeat of one character class is not concerned.
"""

from __future__ import annotations

import importlib
import re
import re._constants as constants  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Those that judge bytes of strangers.
PACKAGES = ("proxy", "supervisor_conf/control", "backend_shim")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name not in ("__main__.py", "sitecustomize.py") and "autoload" not in path.parts
)
OPTIONAL = ("gssapi", "bcrypt", "cryptography", "pam")
SINGLE = {constants.IN, constants.LITERAL, constants.NOT_LITERAL, constants.ANY}


def has_group_that_keeps(pattern: str | bytes) -> bool:
    return any(_keeps(item) for item in parser.parse(pattern))


def _keeps(item: object) -> bool:
    if isinstance(item, tuple) and item and item[0] is constants.ATOMIC_GROUP:
        return True
    if isinstance(item, tuple) and item and item[0] is constants.POSSESSIVE_REPEAT:
        inner = item[1][2]
        return len(inner) != 1 or inner[0][0] not in SINGLE
    return isinstance(item, (list, tuple, parser.SubPattern)) and any(_keeps(inner) for inner in item)


def patterns_of(value: object) -> Iterator[re.Pattern[bytes] | re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from patterns_of(item)
    elif isinstance(value, dict):
        yield from patterns_of(list(value.values()))


@pytest.mark.parametrize(
    "pattern", ["(?:a|bc)*+", "(?:a(?:b)?c)?+d", "(?>ab)", "x(?:[ab]++c)++", "(?:(?:ab)?+c)*"]
)
def test_such_groups_are_found(pattern: str) -> None:
    assert has_group_that_keeps(pattern)


@pytest.mark.parametrize("pattern", ["[ab]*+c", "(?:[ab]++c)*d", r"\r?+", "(?P<n>[0-9]{1,3}+)"])
def test_repeats_of_one_class_are_not(pattern: str) -> None:
    assert not has_group_that_keeps(pattern)


@pytest.mark.parametrize("name", MODULES)
def test_no_module_has_one(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name not in OPTIONAL:
            raise
        pytest.skip(f"{missing.name}, of an extra, is not installed")
    found = [pattern for value in vars(module).values() for pattern in patterns_of(value)]
    assert not [pattern.pattern for pattern in found if has_group_that_keeps(pattern.pattern)]
