"""The `app` words of operators. An order is answered at once, or registered until what it waits for has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, Protocol

from supervisor_conf.control import messages
from supervisor_conf.control.messages import Done, Order, Progress, Refusal
from supervisor_conf.control.server import Peer
from supervisor_conf.keeper import questions, status, words
from supervisor_conf.keeper.app import KeptApp
from supervisor_conf.keeper.offline import Offline
from supervisor_conf.keeper.questions import Answer, Questions
from supervisor_conf.law import events
from supervisor_conf.law.commands import State
from supervisor_conf.law.events import Hold

TEXT_PIECE: Final = 8000
"""Characters of a text that go into one frame: a frame holds them whatever JSON makes of each."""

FRONT: Final = "portico-front"

_USAGE: Final = {
    "status": "app status [NAME] [--json]",
    "start": "app start NAME",
    "stop": "app stop NAME",
    "offline": "app offline NAME [MESSAGE]",
    "online": "app online NAME",
    "why": "app why NAME [--json]",
    "log": "app log NAME [-f]",
    "requests": "app requests [NAME] [--json]",
    "recycle": "app recycle NAME, app recycle portico-front",
    "reset": "app reset NAME",
    "reload": "app reload",
    "reopen": "app reopen",
}


class House(Protocol):
    """What orders need of the keeper."""

    apps: dict[str, KeptApp]
    offline: Offline
    questions: Questions

    def tell_plugin(self, message: object) -> None: ...
    def workers(self) -> list[dict[str, object]]: ...
    def worker_peers(self) -> list[Peer]: ...


class Orders:
    """The orders under way, by the number of the peer that gave them: one order a connection."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._starting: dict[int, tuple[Peer, KeptApp]] = {}
        self._stopping: dict[int, tuple[Peer, KeptApp]] = {}
        self._recycling: dict[int, Peer] = {}
        self._renewing: dict[int, tuple[Peer, KeptApp]] = {}
        self._reopening: dict[int, Peer] = {}
        self._reloading: dict[int, Peer] = {}
        self._reloaded: list[messages.Reloaded] = []  # whose apps are still being recycled
        self._changed: dict[str, str | None] = {}  # app -> what went wrong with its recycle; None: under way

    def take(self, peer: Peer, order: Order) -> None:
        words_known: dict[str, Callable[[Peer, Order], None]] = {
            "status": self._status,
            "start": self._start,
            "stop": self._stop,
            "offline": self._offline,
            "online": self._online,
            "why": self._why,
            "log": self._log,
            "requests": self._requests,
            "recycle": self._recycle,
            "reset": self._reset,
            "reload": self._reload,
            "reopen": self._reopen,
        }
        if order.word not in words_known:
            _end(peer, 2, f"There is no word `app {order.word}`. Try one of: {', '.join(_USAGE)}.")
        else:
            words_known[order.word](peer, order)

    def forget(self, peer: Peer) -> None:
        """The operator has gone; what was begun goes on."""
        for waiting in (
            self._starting,
            self._stopping,
            self._renewing,
            self._recycling,
            self._reopening,
            self._reloading,
        ):
            waiting.pop(peer.number, None)

    # ---------------------------------------------------------------------------------------------------
    # What orders wait for

    def released(self, number: int) -> None:
        if number in self._starting:
            peer, app = self._starting.pop(number)
            _end(peer, 0, f"{app.settings.name}: {_running(app)}")

    def refused(self, number: int, refusal: Refusal) -> None:
        if number in self._starting:
            peer, app = self._starting.pop(number)
            name = app.settings.name
            told = self._house.offline.sentence(name) or refusal.sentence
            _end(peer, 1, words.story(refusal.report) if refusal.report else f"{name}: {told}")

    def moved(self, name: str) -> None:
        for number, (peer, app) in list(self._stopping.items()):
            if app.settings.name == name and not app.law.rows:
                del self._stopping[number]
                _end(peer, 0, f"{name}: stopped")

    def recycled(self, name: str, refusal: Refusal | None) -> None:
        if name in self._changed:
            self._changed[name] = "" if refusal is None else _left(self._house.apps[name], refusal)
            self._answer_reloads()
        for number, (peer, app) in list(self._renewing.items()):
            if app.settings.name != name:
                continue
            del self._renewing[number]
            if refusal is None:
                _end(peer, 0, f"{name}: recycled, {_running(app)}" if _serves(app) else f"{name}: stopped")
            else:
                _end(peer, 1, _left(app, refusal))

    def renewing(self, names: set[str], *, more: bool = False) -> None:
        """A reload has begun to recycle these apps. `more`: besides those it has begun with."""
        self._changed = (self._changed if more else {}) | dict.fromkeys(sorted(names))

    def reloaded(self, message: messages.Reloaded) -> None:
        if message.problem:
            if (peer := self._reloading.pop(message.asker, None)) is not None:
                _end(peer, 1, message.text)
        elif message.asker in self._reloading:
            self._reloaded.append(message)
            self._answer_reloads()

    def _answer_reloads(self) -> None:
        if None in self._changed.values():
            return
        problems = [problem for problem in self._changed.values() if problem]
        for message in self._reloaded:
            peer = self._reloading.pop(message.asker, None)
            if peer is not None:
                _end(peer, 1 if problems else 0, "\n".join((message.text, *problems)))
        self._reloaded.clear()

    def front_recycled(self, problem: str) -> None:
        for peer in self._recycling.values():
            _end(peer, 1 if problem else 0, problem or f"{FRONT}: recycled")
        self._recycling.clear()

    def reopened(self, problem: str) -> None:
        for peer in self._reopening.values():
            _end(peer, 1 if problem else 0, problem or "log files: reopened")
        self._reopening.clear()

    # ---------------------------------------------------------------------------------------------------
    # The words

    def _status(self, peer: Peer, order: Order) -> None:
        apps = list(self._house.apps.values())
        if order.arguments:
            app = self._named(peer, order)
            if app is None:
                return
            apps = [app]
        away = self._house.offline.sentence
        shown = [one for app in apps for one in status.statuses(app, away(app.settings.name))]
        text = status.as_json(shown, self._house.workers()) if order.json else status.as_table(shown)
        _end(peer, 0, text)

    def _start(self, peer: Peer, order: Order) -> None:
        app = self._named(peer, order)
        if app is None:
            return
        name = app.settings.name
        self._house.tell_plugin(messages.AdminStop(name, on=False))
        app.handle(events.Lifted(Hold.STOPPED))
        app.handle(events.Lifted(Hold.FAILED))
        if app.law.state is not State.READY:
            peer.send(Progress(f"{name}: starting"))
        self._starting[peer.number] = (peer, app)
        app.handle(events.Wanted(peer.number))

    def _stop(self, peer: Peer, order: Order) -> None:
        app = self._named(peer, order)
        if app is None:
            return
        name = app.settings.name
        self._house.tell_plugin(messages.AdminStop(name, on=True))
        if app.law.rows:
            peer.send(Progress(f"{name}: stopping"))
        self._stopping[peer.number] = (peer, app)
        app.handle(events.Held(Hold.STOPPED))

    def _offline(self, peer: Peer, order: Order) -> None:
        app = self._named(peer, replace(order, arguments=order.arguments[:1]))
        if app is None:
            return
        name = app.settings.name
        self._house.offline.take(name, " ".join(order.arguments[1:]))
        if not app.law.rows:
            _end(peer, 0, f"{name}: offline")
            return
        peer.send(Progress(f"{name}: offline, visitors get 503; stopping"))
        self._stopping[peer.number] = (peer, app)

    def _online(self, peer: Peer, order: Order) -> None:
        app = self._named(peer, order)
        if app is None:
            return
        left = self._house.offline.bring_back(app.settings.name)
        _end(peer, 1 if left else 0, left or f"{app.settings.name}: online, the next request starts it")

    def _why(self, peer: Peer, order: Order) -> None:
        app = self._named(peer, order)
        if app is None:
            return
        name, failed, started = app.settings.name, app.last_report, app.last_start.report
        now = status.why_down(app, self._house.offline.sentence(name))
        if order.json:
            _end(peer, 0, words.as_json(name, failed, started, now))
        else:
            down = [f"{name}: {now}"] if now else []
            _end(peer, 0, "\n".join([*down, *status.starts_under_way(app), words.why(name, failed, started)]))

    def _log(self, peer: Peer, order: Order) -> None:
        """Where the log is: whoever asks reads the files with rights of their own."""
        app = self._named(peer, order)
        if app is None:
            return
        name, prefix = app.settings.name, app.settings.stdout_log
        if prefix in ("", "-"):
            kept = "is on the terminal" if prefix else "is not kept"
            _end(peer, 1, f'{name}: its output {kept} (stdout_log = "{prefix}").')
        else:
            _end(peer, 0, prefix)

    def _requests(self, peer: Peer, order: Order) -> None:
        name = ""
        if order.arguments:
            app = self._named(peer, order)
            if app is None:
                return
            name = app.settings.name

        def show(answer: Answer) -> None:
            _end(peer, 0, questions.as_json(answer) if order.json else questions.as_table(answer))

        self._house.questions.ask(self._house.worker_peers(), name, show)

    def _recycle(self, peer: Peer, order: Order) -> None:
        if order.arguments == (FRONT,):
            peer.send(Progress(f"{FRONT}: replacing the workers one at a time"))
            self._recycling[peer.number] = peer
            self._house.tell_plugin(messages.RecycleFront())
            return
        app = self._named(peer, order)
        if app is None:
            return
        name = app.settings.name
        if app.law.state not in (State.READY, State.STARTING):
            _end(peer, 0, f"{name}: not running, nothing to recycle")
            return
        peer.send(
            Progress(f"{name}: starting a successor" if app.settings.overlap else f"{name}: restarting")
        )
        self._renewing[peer.number] = (peer, app)
        app.handle(events.Recycle("app recycle"))
        if self._renewing.get(peer.number) is not None and not app.law.recycling:
            del self._renewing[peer.number]
            _end(peer, 0, f"{name}: starting anyway")

    def _reset(self, peer: Peer, order: Order) -> None:
        app = self._named(peer, order)
        if app is not None:
            app.handle(events.Lifted(Hold.FAILED))
            _end(peer, 0, f"{app.settings.name}: failures forgotten")

    def _reload(self, peer: Peer, order: Order) -> None:
        if order.arguments:
            _end(peer, 2, f"Usage: {_USAGE[order.word]}")
            return
        self._reloading[peer.number] = peer
        self._house.tell_plugin(messages.Reload(peer.number))

    def _reopen(self, peer: Peer, order: Order) -> None:
        if order.arguments:
            _end(peer, 2, f"Usage: {_USAGE[order.word]}")
            return
        self._reopening[peer.number] = peer
        self._house.tell_plugin(messages.Reopen())

    def _named(self, peer: Peer, order: Order) -> KeptApp | None:
        if len(order.arguments) != 1:
            _end(peer, 2, f"Usage: {_USAGE[order.word]}")
            return None
        app = self._house.apps.get(order.arguments[0])
        if app is None:
            known = ", ".join(self._house.apps) or "none"
            _end(peer, 1, f"There is no app {order.arguments[0]!r}. Apps here: {known}.")
        return app


def _left(app: KeptApp, refusal: Refusal) -> str:
    """A recycle has come to nothing."""
    name = app.settings.name
    told = words.story(refusal.report) if refusal.report else f"{name}: {refusal.sentence}"
    return f"{told}\n{name}: what runs was left as it is" if _serves(app) else told


def _serves(app: KeptApp) -> bool:
    return app.law.state is State.READY


def _running(app: KeptApp) -> str:
    (row, *_) = (row for row in app.law.rows if row.state is State.READY)
    known = app.generations[row.generation]
    took = "" if app.ready_after is None else f" in {app.ready_after:.2f} s"
    return f"ready{took}, pid {known.pid}, {words.where(known)}"


def _end(peer: Peer, code: int, text: str) -> None:
    """A long text of a success goes ahead in pieces; a failure is one text, cut to a frame."""
    *ahead, last = _pieces(text)
    for piece in ahead if code == 0 else ():
        peer.send(Progress(piece))
    peer.send(Done(code, last if code == 0 else text[:TEXT_PIECE]))
    peer.close()


def _pieces(text: str) -> Iterator[str]:
    """Whole lines together as far as they fit; what is shown after each piece is a line's end."""
    piece = ""
    for line in text.split("\n"):
        while len(line) > TEXT_PIECE:
            if piece:
                yield piece
            piece, line = line[:TEXT_PIECE], line[TEXT_PIECE:]
        if piece and len(piece) + len(line) + 1 > TEXT_PIECE:
            yield piece
            piece = line
        else:
            piece = f"{piece}\n{line}" if piece else line
    yield piece
