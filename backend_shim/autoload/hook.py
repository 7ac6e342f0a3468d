"""An import hook that patches a known server's module when, and only when, the app imports it."""

from __future__ import annotations

import sys

from backend_shim.pairing import Pairing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

# The keys of servers.PATCHES: that module is loaded with the first server, this one at every interpreter start.
HOOKED = frozenset(
    {
        "uvicorn.config",
        "uvicorn.server",
        "gunicorn.config",
        "gunicorn.app.base",
        "hypercorn.config",
        "hypercorn.asyncio.run",
        "hypercorn.trio.run",
        "waitress.server",
        "granian.server",
        "granian.server.common",
        "granian.server.embed",
        "werkzeug.serving",
        "wsgiref.simple_server",
        "a2wsgi.wsgi",
        "asgiref.wsgi",
        "hypercorn.app_wrappers",
        "starlette.middleware.wsgi",
        "uvicorn.middleware.wsgi",
    }
)


def activate(environ: Mapping[str, str]) -> None:
    """Does nothing outside Portico."""
    if not Pairing.is_in(environ) or any(isinstance(finder, ServerFinder) for finder in sys.meta_path):
        return
    # Read now: gunicorn removes LISTEN_PID and LISTEN_FDS before its workers are forked.
    pairing = Pairing.from_environ(environ)
    assert pairing is not None
    finder = ServerFinder(pairing)
    sys.meta_path.insert(0, finder)
    for name in HOOKED.intersection(sys.modules):  # a .pth file was earlier
        finder.patch(sys.modules[name])


class ServerFinder:
    """First on `sys.meta_path`. Finds nothing itself: lets the others find, and adds a step after the loading."""

    def __init__(self, pairing: Pairing) -> None:
        self.pairing = pairing
        self.claim: Any = None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in HOOKED:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                self._add_step(spec)
                return spec
        return None

    def _add_step(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader  # one a module, but for archives: hence the look at the name below
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            say(f"{spec.name} is loaded in a way the shim does not know")
            return

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == spec.name:
                self.patch(module)

        loader.exec_module = exec_module

    def patch(self, module: ModuleType) -> None:
        """A server of a version we do not know must still start, so that the front can tell: it is not guarded."""
        try:
            from backend_shim.autoload.claim import Claim
            from backend_shim.autoload.servers import PATCHES

            if self.claim is None:
                self.claim = Claim(self.pairing)
            PATCHES[module.__name__](module, self.claim)
        except Exception as error:  # noqa: BLE001 - said on stderr; whatever it is, the app's own start goes on
            say(f"{module.__name__} cannot be bound and guarded: {type(error).__name__}: {error}")


def say(sentence: str) -> None:
    """One line where the app's own output goes."""
    print("portico: " + sentence, file=sys.stderr)
