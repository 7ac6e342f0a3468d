"""What a reload finds by comparing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.changes import (
    NEEDS_OF_APP,
    NEEDS_OF_FRONT,
    Changes,
    Needs,
    compare,
    needs_of_app,
    needs_of_front,
)
from supervisor_conf.settings import (
    AppSettings,
    FrontSettings,
    Settings,
    settings_for_command,
    without_secrets,
)

START = settings_for_command(["serve"], Path("/srv/shop"), {}, run_directory=Path("/srv/run"))
(SHOP,) = START.apps
APP_KEYS = [field.name for field in dataclasses.fields(AppSettings) if field.name != "name"]
FRONT_KEYS = [field.name for field in dataclasses.fields(FrontSettings)]

DIFFERENT = object()
"""No comparison looks into a value: any other one will do."""


def with_apps(*apps: AppSettings) -> Settings:
    return dataclasses.replace(START, apps=apps)


def app(name: str, **keys: object) -> AppSettings:
    return dataclasses.replace(SHOP, name=name, **keys)  # type: ignore[arg-type]


NAMES = st.sampled_from(["shop", "blog", "mail", "wiki"])
SOME_APPS = st.dictionaries(NAMES, st.sampled_from(["old", "new"])).map(
    lambda found: tuple(app(name, command=(command,)) for name, command in found.items())
)


@given(SOME_APPS, SOME_APPS)
def test_old_and_changes_make_new(old: tuple[AppSettings, ...], new: tuple[AppSettings, ...]) -> None:
    found = compare(with_apps(*old), with_apps(*new))
    after = {one.name: one for one in new}
    made = {one.name: one for one in old if one.name not in found.removed}
    made |= {name: after[name] for name in (*found.added, *found.changed)}
    assert made == after
    assert not set(found.added) & {one.name for one in old}
    assert set(found.removed) <= {one.name for one in old}
    assert found.nothing == ({one.name: one for one in old} == after)
    assert found.workers == bool(found.added or found.removed)
    assert not found.refused


@given(SOME_APPS, SOME_APPS)
def test_there_and_back(old: tuple[AppSettings, ...], new: tuple[AppSettings, ...]) -> None:
    there, back = compare(with_apps(*old), with_apps(*new)), compare(with_apps(*new), with_apps(*old))
    assert set(there.added) == set(back.removed)
    assert set(there.changed) == set(back.changed)
    assert there.workers == back.workers


@given(st.permutations(["shop", "blog", "mail"]))
def test_the_order_of_apps_is_nothing(names: list[str]) -> None:
    found = compare(with_apps(app("shop"), app("blog"), app("mail")), with_apps(*map(app, names)))
    assert found == Changes()
    assert found.summary == "nothing has changed"


@pytest.mark.parametrize("key", APP_KEYS)
def test_a_key_of_an_app(key: str) -> None:
    found = compare(
        with_apps(app("shop"), app("blog")), with_apps(app("shop", **{key: DIFFERENT}), app("blog"))
    )
    assert found.changed == ("shop",)
    assert (found.added, found.removed, found.front) == ((), (), ())
    assert found.workers == (Needs.WORKERS in needs_of_app(key))
    assert found.recycled == (("shop",) if Needs.PROCESS in needs_of_app(key) else ())
    assert found.moved == (("shop",) if key == "path" else ())
    assert found.counts == (("[apps.shop] processes",) if key == "processes" else ())
    assert not found.refused


@pytest.mark.parametrize("key", FRONT_KEYS)
def test_a_key_of_the_front(key: str) -> None:
    front = dataclasses.replace(START.front, **{key: DIFFERENT})  # type: ignore[arg-type]
    found = compare(START, dataclasses.replace(START, front=front))
    assert found.front == (key,)
    assert found.workers == (Needs.WORKERS in needs_of_front(key))
    assert bool(found.refused) == (key in ("listen", "run_directory", "user", "event_log_format"))
    assert found.counts == (("[front] workers",) if key == "workers" else ())
    assert (found.changed, found.recycled) == ((), ())
    assert all(f"[front] {key} " in sentence for sentence in found.refused)


def test_workers_are_not_replaced_for_what_they_are_never_told() -> None:
    """What is left out of their settings cannot be a reason to give them new ones."""
    secret = {
        name for name in APP_KEYS if getattr(without_secrets(START).apps[0], name) != getattr(SHOP, name)
    }
    assert secret
    assert all(needs_of_app(key) == Needs.PROCESS for key in secret)


def test_every_key_of_an_app_is_classified_and_nothing_else() -> None:
    assert set(NEEDS_OF_APP) == set(APP_KEYS)
    assert set(NEEDS_OF_FRONT) < set(FRONT_KEYS)


def test_a_key_that_nobody_has_classified_needs_everything() -> None:
    assert needs_of_app("of_tomorrow") == Needs.PROCESS | Needs.WORKERS
    assert needs_of_front("of_tomorrow") == Needs.WORKERS


def test_another_content_of_the_environment_file_needs_new_processes() -> None:
    both = with_apps(app("shop"), app("blog"))
    found = compare(both, both, ["shop"])
    assert (found.changed, found.recycled, found.workers) == (("shop",), ("shop",), False)
    assert compare(both, with_apps(app("blog")), ["shop"]).changed == ()


def test_an_app_that_comes_is_not_recycled() -> None:
    found = compare(with_apps(app("blog")), with_apps(app("shop", path="/shop"), app("blog")))
    assert (found.added, found.changed, found.recycled, found.moved) == (("shop",), (), (), ())


@pytest.mark.parametrize(
    "key", ["command", "directory", "user", "environment", "environment_file", "transport", "require_pairing"]
)
def test_who_an_app_is_and_what_it_may_do_takes_new_processes(key: str) -> None:
    """Whatever the table says: one that runs as a user whom it no longer has is a hole."""
    changed = dataclasses.replace(SHOP, **{key: DIFFERENT})
    assert compare(START, with_apps(changed)).recycled == ("shop",)
