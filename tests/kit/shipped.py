"""Shipped modules as a worker makes them, from lines of TOML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import monotonic

from proxy.modules import Module
from proxy.pipeline import made
from supervisor_conf.settings import load_settings


def module_of(folder: Path, use: str, options: str = "") -> Module:
    """A module of the front; `options` are lines of its table. Its run directory is `folder`."""
    file = folder / "portico.toml"
    file.write_text(
        f'[apps.shop]\ncommand = "true"\n[[front.modules]]\nuse = "{use}"\n{options}\n', encoding="utf-8"
    )
    settings = load_settings(file, {})
    settings = replace(settings, front=replace(settings.front, run_directory=folder))
    return made(settings.front.modules[0], "", 0, settings, monotonic)
