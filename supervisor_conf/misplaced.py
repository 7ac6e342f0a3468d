"""A key or a table that stands in the wrong place: where it belongs."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor_conf.module_table import SHIPPED
from supervisor_conf.setting_table import APP, FRONT, TLS, Key

_TABLES = {
    "app": "[apps.NAME]",
    "tls": "[front.tls]",
    "certificates": "[[front.tls.certificates]]",
    "modules": "[[front.modules]]",
    "module": "[[front.modules]]",
}


def table_for(name: str) -> str:
    """The table that somebody means who writes `[NAME]`, or ""."""
    return _TABLES.get(name.lower(), "")


def tables_with(key: str) -> str:
    """The tables in which `key` is known, as a phrase; or ""."""
    return " or ".join(place for place, keys in _all_tables() if any(known.name == key for known in keys))


def _all_tables() -> Iterator[tuple[str, tuple[Key, ...]]]:
    yield "[front]", FRONT
    yield "[front.tls]", TLS
    yield "[apps.NAME]", APP
    for use, keys in SHIPPED.items():
        yield f'[[front.modules]] with use = "{use}"', keys
