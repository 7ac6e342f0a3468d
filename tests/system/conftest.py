"""Real supervisord, real workers, real apps, on loopback, in folders that all users may look into."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import aspnetcore, environments
from tests.kit.configs import with_apps
from tests.kit.npm import NoAnswer
from tests.kit.run import Person, myself
from tests.kit.shared import build_once

PEOPLE = ["root", "ordinary user"] if os.geteuid() == 0 else ["ordinary user"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder with the fixture apps in `apps/`."""
    yield from _folder()


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    """The same for a run that several tests share."""
    yield from _folder()


def _folder() -> Iterator[Path]:
    made = with_apps(environments.readable_folder())
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def servers_commands(shared_folder: Path) -> Path:
    """Commands of an environment that has the app servers and has never heard of Portico."""
    return build_once(shared_folder, "servers", environments.servers_environment)


@pytest.fixture(scope="session")
def aspnetcore_app(shared_folder: Path) -> Path:
    """A real ASP.NET Core app: one executable file, `tests/system/aspnetcore/Program.cs` inside."""
    if not aspnetcore.available():
        pytest.skip(f"the .NET runtime at hand is for {aspnetcore.MACHINE}")
    try:
        return build_once(shared_folder, "aspnetcore", aspnetcore.build)
    except NoAnswer as silence:
        pytest.skip(str(silence))


@pytest.fixture(params=PEOPLE)
def person(request: pytest.FixtureRequest) -> Person:
    """Who runs Portico: the user of the tests, and when that is root an ordinary user as well."""
    if request.param == "root" or os.geteuid() != 0:
        return myself()
    return environments.ordinary_person(request.getfixturevalue("ordinary_commands"))
