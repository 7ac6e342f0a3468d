"""What an app is told at its start of how visitors are known, and what a reload makes of a changed file."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from supervisor_conf.authentication import MODULES, http_auth, schemes
from supervisor_conf.changes import compare
from supervisor_conf.settings import ModuleSettings, Settings, from_json, load_settings, to_json


def module(use: str, required: bool = True) -> ModuleSettings:
    return ModuleSettings(use, '{"required": %s}' % str(required).lower())  # noqa: UP031


# `windows;` `basic;` `anonymous;` in this order, whatever the order of the modules.
ROWS = [
    ([], "anonymous;", ""),
    ([module("basic", False)], "basic;anonymous;", "Basic"),
    ([module("basic")], "basic;", "Basic"),
    ([module("negotiate", False)], "windows;anonymous;", "Negotiate"),
    ([module("negotiate")], "windows;", "Negotiate"),
    ([module("basic", False), module("negotiate", False)], "windows;basic;anonymous;", "Negotiate,Basic"),
    ([module("basic", False), module("negotiate")], "windows;basic;", "Negotiate,Basic"),
    ([module("client_certificate")], "anonymous;", "ClientCertificate"),
    ([module("client_certificate"), module("basic")], "basic;", "Basic,ClientCertificate"),
    ([module("headers")], "anonymous;", ""),
    ([module("hours:Hours"), module("basic")], "basic;", "Basic,Other"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "+".join(m.use for m in row[0]) or "none")
def test_ancms_words_and_our_schemes(row: tuple[list[ModuleSettings], str, str]) -> None:
    modules, words, names = row
    for order in itertools.permutations(modules):
        assert http_auth(order) == words
        assert schemes(order) == names


def test_one_that_is_required_leaves_nobody_anonymous_wherever_it_stands() -> None:
    two = [module("basic", False), module("basic")]
    assert http_auth(two) == http_auth(two[::-1]) == "basic;"


def load(folder: Path, front: str = "", app: str = "") -> Settings:
    if not (folder / "htpasswd").exists():
        (folder / "htpasswd").touch()
    file = folder / "portico.toml"
    file.write_text(
        f'[front]\n{front}\n[apps.shop]\ncommand = "serve"\n{app}\n[apps.other]\ncommand = "serve"\npath = "/o"'
    )
    return load_settings(file, os.environ)


BASIC = 'use = "basic"\nfile = "htpasswd"\nrequired = false'


def test_the_front_s_modules_are_of_every_app_and_its_own_of_one(tmp_path: Path) -> None:
    shop, other = load(tmp_path, f"[[front.modules]]\n{BASIC}").apps
    assert (shop.http_auth, other.http_auth) == ("basic;anonymous;", "basic;anonymous;")
    shop, other = load(tmp_path, "", f"[[apps.shop.modules]]\n{BASIC}").apps
    assert (shop.http_auth, other.http_auth) == ("basic;anonymous;", "anonymous;")
    assert (shop.schemes, other.schemes) == ("Basic", "")


def test_the_names_are_those_of_the_shipped_modules() -> None:
    from supervisor_conf.module_table import SHIPPED

    assert set(MODULES) <= set(SHIPPED)
    for name in MODULES:
        assert "required" in {key.name for key in SHIPPED[name]}


def test_a_reload_tells_new_processes_and_new_workers(tmp_path: Path) -> None:
    before = load(tmp_path)
    changes = compare(before, load(tmp_path, "", f"[[apps.shop.modules]]\n{BASIC}"))
    assert (changes.changed, changes.recycled, changes.workers) == (("shop",), ("shop",), True)


def test_a_reload_sees_that_a_file_of_a_module_has_changed(tmp_path: Path) -> None:
    text = f"[[front.modules]]\n{BASIC}"
    before = load(tmp_path, text)
    assert compare(before, load(tmp_path, text)).nothing
    (tmp_path / "htpasswd").write_text("ann:…")
    changes = compare(before, load(tmp_path, text))
    assert (changes.front, changes.workers, changes.recycled) == (("modules",), True, ())
    (tmp_path / "htpasswd").unlink()
    (tmp_path / "htpasswd").mkdir()
    compared = load_settings(tmp_path / "portico.toml", os.environ)
    assert compared.front.modules[0].files == ("no file",)
    (tmp_path / "htpasswd").rmdir()
    assert load_settings(tmp_path / "portico.toml", os.environ).front.modules[0].files == ("missing",)
    assert from_json(to_json(before)) == before
