"""Apps that are offline: app_offline.htm in their folder, as for the ASP.NET Core Module, or `app offline NAME`.

The law holds such an app (Hold.OFFLINE): what runs is drained and stopped, nothing starts. Here is why, and what
visitors are shown.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from supervisor_conf.control import messages
from supervisor_conf.control.messages import AppRoutes, Refusal
from supervisor_conf.keeper import words
from supervisor_conf.keeper.app import KeptApp
from supervisor_conf.keeper.watch import matching
from supervisor_conf.law import events
from supervisor_conf.law.events import Hold

FILE: Final = "app_offline.htm"

LARGEST: Final = 1024 * 1024
"""Bytes of a page: it travels to every worker, and stays in its memory."""

_KEEP: Final = "offline "


@dataclass(frozen=True, slots=True)
class Page:
    """What the file holds. `problem`: why it is not shown; it takes the app offline all the same."""

    body: str  # bytes that are not UTF-8 are surrogates (PEP 383)
    problem: str = ""


def read_page(folder: Path) -> Page | None:
    """The app's app_offline.htm, whatever the case of its name; None if there is none."""
    found = matching(folder, (FILE,))
    if not found:
        return None
    path = folder / (FILE if FILE in found else found[0])
    try:
        return Page(_read(path).decode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        return None  # gone since
    except OSError as error:
        return Page("", f"{path} is not shown: {error.strerror or error}")


def _read(path: Path) -> bytes:
    """Raises OSError. No link is followed and no name of somebody's secret taken: the folder may belong to a user
    who may read less than we may."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError("it is not a file of its own")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(f"it is longer than {LARGEST} bytes")
    return content


class House(Protocol):
    """What is needed of the keeper."""

    apps: dict[str, KeptApp]

    def tell_plugin(self, message: object) -> None: ...
    def publish(self, routes: AppRoutes) -> None: ...


class Offline:
    def __init__(self, house: House, log: Any) -> None:
        self._house = house
        self._log = log
        self._pages: dict[str, Page] = {}
        self._messages: dict[str, str] = {}  # of operators; "" if they said none

    def remember(self, kept: Mapping[str, str]) -> None:
        """A new keeper: what operators said to the one before, and the files as they are now."""
        for name in self._house.apps:
            text = kept.get(_KEEP + name, "")
            message = json.loads(text)["message"] if text else None
            if message is not None:
                self._messages[name] = message
            self.look(name)
            if text:
                self._changed(name, "a keeper before said so")
                self._refuse_start(name)

    def look(self, name: str) -> None:
        """At the app's folder."""
        app = self._house.apps[name]
        page = read_page(app.settings.directory)
        if page == self._pages.get(name):
            return
        if page is not None and page.problem:
            self._log.warning("app.offline-page", app=name, problem=page.problem)
        if page is None:
            del self._pages[name]
        else:
            self._pages[name] = page
        self._changed(name, FILE)

    def forget(self, name: str) -> str:
        """The app is gone for good. Returns the key under which the plugin keeps what operators said."""
        self._pages.pop(name, None)
        self._messages.pop(name, None)
        return _KEEP + name

    def look_in(self, folder: Path) -> None:
        """Something has changed in this folder."""
        for name, app in self._house.apps.items():
            if app.settings.directory == folder:
                self.look(name)

    def take(self, name: str, message: str) -> None:
        """`app offline NAME [MESSAGE]`."""
        self._messages[name] = message
        self._changed(name, "app offline")

    def bring_back(self, name: str) -> str:
        """`app online NAME`: "" or why it is offline still."""
        self._messages.pop(name, None)
        self._changed(name, "app online")
        if name in self._pages:
            return f"{name} is still offline: {FILE} is in {self._house.apps[name].settings.directory}."
        return ""

    def dressed(self, routes: AppRoutes) -> AppRoutes:
        """The routes with the page that belongs to them."""
        if routes.refusal is None or routes.refusal.why != Hold.OFFLINE:
            return routes
        return replace(routes, refusal=self.refusal(routes.app))

    def refusal(self, name: str) -> Refusal:
        refusal = words.refusal(Hold.OFFLINE)
        page = self._pages.get(name)
        if page is not None:
            return replace(refusal, body=page.body, verbatim=True)
        return replace(refusal, sentence=self._messages.get(name) or refusal.sentence)

    # ---------------------------------------------------------------------------------------------------

    def _is_offline(self, name: str) -> bool:
        return name in self._pages or name in self._messages

    def _changed(self, name: str, because: str) -> None:
        app = self._house.apps[name]
        was, now = Hold.OFFLINE in app.law.holds, self._is_offline(name)
        self._keep(name)
        if now and was:
            self._house.publish(app.routes)  # another page
        elif now:
            self._log.info("app.offline", app=name, because=because)
            self._refuse_start(name)
            app.handle(events.Held(Hold.OFFLINE))
        elif was:
            self._log.info("app.online", app=name, because=because)
            self._refuse_start(name)
            app.handle(events.Lifted(Hold.OFFLINE))
            if app.settings.start == "eager":
                app.handle(events.WantedAlways())

    def sentence(self, name: str) -> str:
        """That the app is offline, and what brings it back; "" if it is not."""
        if name in self._pages:
            return f"offline: remove {FILE} from {self._house.apps[name].settings.directory}"
        return f"offline: `app online {name}` brings it back" if name in self._messages else ""

    def _refuse_start(self, name: str) -> None:
        sentence = self.sentence(name)
        self._house.tell_plugin(messages.RefuseStart(name, sentence and f"{name} is {sentence}."))

    def _keep(self, name: str) -> None:
        kept = json.dumps({"message": self._messages.get(name)}) if self._is_offline(name) else ""
        self._house.tell_plugin(messages.Keep(_KEEP + name, kept))
