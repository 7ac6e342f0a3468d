"""Hypothesis profiles (`fast` for every run, `deep` for `tox -e deep`), and what all tests may ask for."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.kit import environments
from tests.kit.shared import build_once

SHARED = pytest.StashKey[Path]()

# A shell's `&` and nohup leave SIGINT ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# As many examples as `mutants` has, which finds every seeded fault.
settings.register_profile("fast", deadline=None, derandomize=True, max_examples=60, stateful_step_count=40)
# Other examples in every run; slow properties take a part of them (tests/kit/examples.py).
settings.register_profile(
    "deep",
    deadline=None,
    max_examples=int(os.environ.get("DEEP_EXAMPLES", "10000")),
    suppress_health_check=[HealthCheck.too_slow],
    stateful_step_count=100,
    print_blob=True,
)
#: Seconds for one property: it hangs after that, by profile. pytest's own limit is for all the others.
PATIENCE = {"deep": 1800}
# Whether a seeded fault is found is all that counts: no time for a small example.
settings.register_profile(
    "mutants", settings.get_profile("fast"), max_examples=60, phases=[Phase.explicit, Phase.generate]
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fast")
settings.load_profile(PROFILE)


def pytest_configure(config: pytest.Config) -> None:
    """One folder for a whole run, that every user can look into: what is built once is there."""
    if not hasattr(config, "workerinput"):
        config.stash[SHARED] = environments.readable_folder()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a run with `-p no:xdist` does not have
def pytest_configure_node(node: Any) -> None:
    node.workerinput["shared"] = str(node.config.stash[SHARED])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[SHARED])


@pytest.fixture(scope="session")
def shared_folder(pytestconfig: pytest.Config) -> Path:
    given = getattr(pytestconfig, "workerinput", None)
    return Path(given["shared"]) if given else pytestconfig.stash[SHARED]


@pytest.fixture(scope="session")
def ordinary_commands(shared_folder: Path) -> Path:
    """Commands of an environment with Portico, installed as the README says, usable by everybody."""
    return build_once(shared_folder, "portico", environments.portico_environment)


#: The files that take longest, in this order. They come first: one that began last would run alone at the end.
LONGEST = (
    "test_transports.py",
    "test_reload.py",
    "test_commands.py",
    "test_ancm_config_rows.py",
    "test_lifecycle_recycle.py",
    "test_servers.py",
    "test_first_request.py",
    "test_reload_least.py",
    "test_tls.py",
    "test_reload_counts.py",
    "test_logs.py",
    "test_death.py",
)


@pytest.hookimpl(trylast=True)  # hypothesis has marked its tests then
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)
    if PROFILE in PATIENCE:
        for item in items:
            if item.get_closest_marker("hypothesis"):
                item.add_marker(pytest.mark.timeout(PATIENCE[PROFILE]))


def _place(item: pytest.Item) -> tuple[int, bool]:
    """The longest, then the other tests of the whole, and the short ones at last."""
    name = item.path.name
    return (LONGEST.index(name) if name in LONGEST else len(LONGEST), item.path.parent.name != "system")
