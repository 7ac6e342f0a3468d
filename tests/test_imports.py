"""Who may import whom: the first paragraph of docs/architecture.md, read from the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("backend_shim", "supervisor_conf", "proxy")  # each may import those before it

# What a foreign package is for, and the only places that may import it: files, or folders that end in "/".
ONLY_IN = {
    "supervisor": ("supervisor_conf/plugin/", "supervisor_conf/ctl.py", "supervisor_conf/instance.py"),
    "gevent": (
        "supervisor_conf/control/server.py",
        "supervisor_conf/keeper/",
        "proxy/__main__.py",
        "proxy/backend.py",
        "proxy/connection.py",
        "proxy/keeper_link.py",
        "proxy/lending.py",
        "proxy/listener.py",
        "proxy/modules/basic.py",
        "proxy/pipeline.py",
        "proxy/streams.py",
        "proxy/tunnel.py",
        "proxy/upload.py",
        "proxy/worker.py",
    ),
    "gssapi": ("proxy/kerberos.py",),
    "bcrypt": ("proxy/modules/password_hashes.py",),
    "cryptography": ("proxy/modules/client_certificate.py",),
    "pam": ("proxy/modules/pam_helper.py",),
    "inotify_simple": ("supervisor_conf/keeper/watch.py",),
    "h11": ("proxy/strict.py", "proxy/peer.py", "proxy/body.py", "supervisor_conf/keeper/asking.py"),
}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted name of every module the file imports, wherever in the file."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*parents, node.module or ""])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_follow_the_arrow(path: Path) -> None:
    own = PACKAGES.index(path.relative_to(ROOT).parts[0])
    tops = {module.split(".")[0] for module in imports(path)}
    assert not tops & set(PACKAGES[own + 1 :])
    assert "tests" not in tops


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_foreign_packages_stay_in_their_rooms(path: Path) -> None:
    tops = {module.split(".")[0] for module in imports(path)}
    strangers = [package for package in tops & ONLY_IN.keys() if not allowed(path, ONLY_IN[package])]
    assert not strangers


def allowed(path: Path, places: tuple[str, ...]) -> bool:
    return any(name(path) == place or (place[-1] == "/" and name(path).startswith(place)) for place in places)


def test_the_shim_needs_the_standard_library_only() -> None:
    foreign = {
        module
        for path in (ROOT / "backend_shim").rglob("*.py")
        if "autoload" not in path.parts
        for module in (found.split(".")[0] for found in imports(path))
        if module != "backend_shim" and module not in sys.stdlib_module_names
    }
    servers = {"uvicorn", "gunicorn", "hypercorn", "waitress", "granian", "werkzeug", "flask", "django"}
    assert foreign <= servers  # imported only where the app has imported them already


def test_every_place_in_the_table_exists() -> None:
    places = {place for places in ONLY_IN.values() for place in places}
    assert not {place for place in places if not (ROOT / place).exists()}
