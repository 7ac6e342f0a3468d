"""A keeper with a plugin link played by the test, real apps, real sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from supervisor_conf.settings import load_settings
from tests.kit.link_peer import LinkPeer

MakePeer = Callable[..., LinkPeer]


@pytest.fixture
def run_directory() -> Iterator[Path]:
    # pytest's own folders can be longer than a socket's path may be
    with tempfile.TemporaryDirectory(prefix="portico-keeper-") as folder:
        yield Path(folder)


@pytest.fixture
def keeper(run_directory: Path) -> Iterator[MakePeer]:
    """`keeper(command, key=value…)`: a keeper with one app, `shop`; keys go into its table."""
    with ExitStack() as stack:

        def make(command: list[str], *, begin: bool = True, front: str = "", **keys: object) -> LinkPeer:
            lines = ["[front]", front, "[apps.shop]", 'command = "unused"']
            lines += [f"{key} = {_toml(value)}" for key, value in keys.items()]
            file = run_directory / "portico.toml"
            file.write_text("\n".join(lines))
            peer = LinkPeer(load_settings(file, {}), run_directory, {"shop": command})
            stack.callback(peer.__exit__)
            if begin:
                peer.start_keeper()
            return peer

        yield make


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
