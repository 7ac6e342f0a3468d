"""`app reload`, SIGHUP, `reload_on_change`: the configuration is read again, and what changed is taken over.

The plugin owns the settings, because it outlives everybody who needs them: every new keeper, worker and start of an
app is given what it holds. One reload at a time:

    read, compare → groups of added apps, places of more processes → NewSettings to the keeper, who recycles what needs
    it → workers replaced, if they have to know, more or fewer → Outdated for apps that have moved to another path
      → Leave for removed apps → AppGone → groups removed → Reloaded

So a worker hears of an app when it is there, an app goes when no worker knows it, and between a worker that knows the
old path and a process that knows the new one nothing is ever sent: either takes routes of its own path alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from supervisor.states import SupervisorStates

from supervisor_conf import certificates, launch, run_directory
from supervisor_conf.changes import Changes, compare
from supervisor_conf.check import DESCRIPTORS_ABOVE
from supervisor_conf.conffile import (
    FRONT,
    minimum_descriptors,
    render_supervisorctl_conf,
    render_supervisord_conf,
)
from supervisor_conf.control import messages
from supervisor_conf.plugin.apps import HOST, nobody_listens
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.descriptors import raise_limit
from supervisor_conf.plugin.source import Source, Unusable
from supervisor_conf.settings import AppSettings, Settings, to_json
from supervisor_conf.slots import place_of

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the file with `reload_on_change`. It is read when two looks have seen the same: an
editor may write in several steps."""

BY_ITSELF: Final = "reload_on_change"
"""Who asks where the file has changed."""

NOBODY: Final = 0
"""The asker of a reload for which nobody waits at a socket: the terminal is told instead."""

_NO_FILE: Final = "There is no configuration file to read again: `portico run` was given a command."
_FOREIGN: Final = (
    "a supervisord that is not Portico's own takes neither more nor fewer apps and processes: its configuration has to "
    "name them (`portico render --include`), and it has to be started again."
)


class Hands(Protocol):
    """What a reload needs of the plugin."""

    def send(self, message: object) -> None: ...
    def app_changed(self, app: AppSettings) -> None: ...
    def settings_changed(self) -> None: ...
    def replace_workers(self, *, all_of_them: bool) -> str: ...


@dataclass(slots=True)
class _Turn:
    """The reload under way."""

    asker: int
    changes: Changes
    warnings: tuple[str, ...]
    before: Settings  # whose apps go on where the workers do
    of_workers: Settings  # what the workers of before know
    renewed: bool = False  # the certificates
    replacing: bool = False  # the workers are being replaced

    @property
    def summary(self) -> str:
        said = [] if self.renewed and self.changes.nothing else [self.changes.summary]
        return "; ".join((*said, "renewed the certificates") if self.renewed else said)


class Reload:
    def __init__(self, context: Context, hands: Hands, source: Source | None, *, foreign: bool) -> None:
        self._context = context
        self._hands = hands
        self._source = source
        self._foreign = foreign
        self._asked: deque[tuple[int, str]] = deque()
        self._turn: _Turn | None = None
        self._workers_behind = False  # they could not be replaced the last time
        self._environments = _environments(context.settings)
        self._read = self._seen = source.signature() if source is not None else None
        self._look_at = 0.0

    def ask(self, asker: int, by: str) -> None:
        """`by`: who wants it, for the log. Two for whom nobody waits are one."""
        if asker != NOBODY or all(waiting != NOBODY for waiting, _ in self._asked):
            self._asked.append((asker, by))
        self._context.waker.poke()

    def tick(self, now: float, *, busy: bool) -> None:
        """`busy`: the workers are being replaced, by whomever."""
        self._look_at_file(now)
        if self._asked and self._turn is None and not busy and self._runs:
            self._begin(*self._asked.popleft())

    def workers_replaced(self, problem: str) -> None:
        """The end of any replacement of the workers."""
        if not problem and self._context.of_workers is self._context.settings:
            self._workers_behind = False
        if self._turn is None or not self._turn.replacing:
            return
        self._turn.replacing = False
        if problem:
            self._workers_stayed(self._turn, problem)
        else:
            self._leave(self._turn)

    def app_gone(self, name: str) -> None:
        """`AppGone`."""
        if name not in self._context.memory.leaving or not self._runs:
            return  # at the end of supervisord the groups are gone through: none is taken away
        self._context.memory.forget_app(name)
        self._context.leaving = tuple(app for app in self._context.leaving if app.name != name)
        self._hands.settings_changed()
        supervisord = self._context.supervisord
        if name in supervisord.process_groups and not supervisord.remove_process_group(name):
            self._context.log.error("app.group-stays", app=name)
        if self._turn is not None and not self._context.memory.leaving:
            self._end(self._turn)

    # ----------------------------------------------------------------------------------------------------------

    @property
    def _runs(self) -> bool:
        running: bool = self._context.options.mood >= SupervisorStates.RUNNING
        return running

    def _look_at_file(self, now: float) -> None:
        if self._source is None or not self._context.settings.front.reload_on_change or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        last, self._seen = self._seen, self._source.signature()
        # A file that is missing for a moment is being replaced.
        if self._seen is not None and self._seen == last and self._seen != self._read:
            self._read = self._seen
            self.ask(NOBODY, BY_ITSELF)

    def _begin(self, asker: int, by: str) -> None:
        self._context.log.info("reload.began", by=by)
        if self._source is None:
            return self._refuse(asker, _NO_FILE)
        self._read = self._source.signature()  # before it is read: what changes later is another change
        try:
            settings, warnings = self._source.read()
        except Unusable as problem:
            return self._refuse(asker, str(problem))
        environments = _environments(settings)
        touched = [name for name, held in self._environments.items() if environments.get(name, held) != held]
        if by == BY_ITSELF and self._source.is_web_config:
            # As IIS does: a web.config that is written anew, by `touch` or with what is published, is another app.
            touched = [app.name for app in settings.apps]
        changes = compare(self._context.settings, settings, touched)
        if changes.refused:
            return self._refuse(asker, "\n".join(changes.refused))
        if self._foreign and (changes.added or changes.removed or changes.counts):
            names = ", ".join((*changes.added, *changes.removed, *changes.counts))
            return self._refuse(asker, f"{names}: {_FOREIGN}")
        if taken := self._taken_ports(settings):
            return self._refuse(asker, "\n".join(taken))
        try:
            renewed = self._context.certificates.refresh(settings.front.tls)
            self._prepare(settings, changes)
        except certificates.Unusable as problem:
            return self._refuse(asker, str(problem))
        except (OSError, ValueError) as problem:
            return self._refuse(asker, f"The run directory or supervisord would not have it: {problem}")
        before, of_workers = self._context.settings, self._context.of_workers
        self._turn = turn = _Turn(asker, changes, warnings, before, of_workers, renewed)
        self._environments = environments
        self._context.of_workers = settings
        self._take_over(settings, changes, set(changes.recycled).difference(changes.moved))
        if changes.workers or self._workers_behind or "workers" in changes.front:
            self._replace_workers(turn, all_of_them=changes.workers or self._workers_behind)
        else:
            self._leave(turn)

    def _taken_ports(self, settings: Settings) -> list[str]:
        """Sentences. Where one port follows another there is no overlap: it would be found out when the old process
        has gone. What apps of ours listen on now may be another one's later: they are recycled, too."""
        ours = {one.port for one in self._context.memory.running.values()}
        before = {app.name: app.port for app in self._context.settings.apps}
        return [
            f"[apps.{app.name}] port: somebody else listens on {HOST}:{app.port}."
            for app in settings.apps
            if app.port
            and app.port not in (before.get(app.name), *ours)
            and not nobody_listens(HOST, app.port)
        ]

    def _refuse(self, asker: int, sentences: str) -> None:
        self._context.log.warning("reload.refused", problem=sentences)
        self._answer(asker, f"Nothing was changed.\n{sentences}", problem=True)

    # ----------------------------------------------------------------------------------------------------------

    def _take_over(self, settings: Settings, changes: Changes, outdated: Iterable[str]) -> None:
        """`outdated`: apps whose processes are to be replaced at once."""
        context = self._context
        context.leaving = tuple(app for app in context.settings.apps if app.name in changes.removed)
        context.settings = settings
        self._hands.settings_changed()
        if not self._foreign:
            self._change_groups(changes)
        for app in settings.apps:
            if app.name in changes.changed:
                self._hands.app_changed(app)
        for name in outdated:
            context.memory.outdate(name)
        generations = tuple(sorted(context.memory.outdated.items()))
        self._hands.send(messages.NewSettings(to_json(context.all_settings), generations, changes.changed))

    def _prepare(self, settings: Settings, changes: Changes) -> None:
        """What may fail, while nothing is changed yet. Raises OSError, ValueError."""
        if changes.nothing:
            return
        directory = settings.front.run_directory
        run_directory.write(directory / run_directory.SUPERVISORCTL_CONF, render_supervisorctl_conf(settings))
        if self._foreign:
            return
        # The hard limit is what `check_machine` has looked at.
        raise_limit(minimum_descriptors(settings) + DESCRIPTORS_ABOVE)
        run_directory.write(directory / run_directory.SUPERVISORD_CONF, render_supervisord_conf(settings))
        self._context.options.process_config(do_usage=False)

    def _change_groups(self, changes: Changes) -> None:
        """As `reread` and `add` of supervisorctl do; no process is touched."""
        supervisord = self._context.supervisord
        for config in supervisord.options.process_group_configs:
            if config.name in changes.added:
                supervisord.add_process_group(config)
            elif config.name in changes.changed or config.name == FRONT:
                # What it is compared with by `reread`, and what a process beside another one is made from.
                config.after_setuid()
                if (group := supervisord.process_groups.get(config.name)) is not None:
                    group.config = config

    def _replace_workers(self, turn: _Turn, *, all_of_them: bool) -> None:
        self._workers_behind = True
        turn.replacing = True
        problem = self._hands.replace_workers(all_of_them=all_of_them)
        if problem and self._turn is turn and turn.replacing:
            turn.replacing = False
            self._workers_stayed(turn, problem)

    def _workers_stayed(self, turn: _Turn, problem: str) -> None:
        if self._runs:
            try:
                self._go_back(turn)
            except (OSError, ValueError) as more:
                problem = (
                    f"{problem}\nThe run directory or supervisord would not have the earlier settings: {more}"
                )
        self._turn = None
        who = ", ".join(("The workers", *turn.changes.moved, *turn.changes.removed))
        text = f"{problem}\n{who} go on with the earlier settings; `app reload` tries again."
        self._context.log.error("reload.workers-stayed", problem=problem)
        self._answer(turn.asker, text, problem=True)

    def _go_back(self, turn: _Turn) -> None:
        """What the workers go on with has to be there: apps that were to leave or to move stay as they are, and a
        worker that dies is followed by one like it. The next reload begins with that. Raises OSError, ValueError.
        """
        context = self._context
        context.of_workers = turn.of_workers
        earlier = {app.name: app for app in turn.before.apps if app.name in turn.changes.moved}
        apps = tuple(earlier.get(app.name, app) for app in context.settings.apps)
        settings = dataclasses.replace(context.settings, apps=(*apps, *context.leaving))
        changes = compare(context.settings, settings)
        lost = {
            one.app
            for one in context.memory.running.values()
            if one.app in earlier and _is_lost(one, earlier[one.app])
        }
        try:
            self._prepare(settings, changes)
        finally:
            self._take_over(settings, changes, lost)

    def _leave(self, turn: _Turn) -> None:
        """Every worker knows the settings of now."""
        if turn.changes.moved:
            for name in turn.changes.moved:
                self._context.memory.outdate(name)
            self._hands.send(messages.Outdated(tuple(sorted(self._context.memory.outdated.items()))))
        if not turn.changes.removed:
            return self._end(turn)
        memory = self._context.memory
        memory.leaving.update(turn.changes.removed)
        for name in turn.changes.removed:
            memory.refuse(name, f"{name} is not in the configuration any more.")
        self._hands.send(messages.Leave(turn.changes.removed))

    def _end(self, turn: _Turn) -> None:
        self._turn = None
        changes = turn.changes
        self._context.log.info(
            "reload.ended",
            added=changes.added,
            removed=changes.removed,
            changed=changes.changed,
            front=changes.front,
        )
        silent = turn.asker == NOBODY and changes.nothing and not turn.renewed
        if not silent:
            self._answer(turn.asker, "\n".join((*turn.warnings, f"reload: {turn.summary}")))
        self._context.waker.poke()

    def _answer(self, asker: int, text: str, *, problem: bool = False) -> None:
        if asker == NOBODY:
            for line in text.split("\n"):
                self._say(line)
        self._hands.send(messages.Reloaded(asker, text, problem))

    def _say(self, line: str) -> None:
        self._context.options.logger.info(f"portico: {line}")
        if self._context.terminal is not None:
            self._context.terminal.say(line)


def _is_lost(process: messages.Spawned, app: AppSettings) -> bool:
    """It was started meanwhile, in the place of one that crashed, and where no worker looks."""
    return process.path != app.path and place_of(process.slot) < app.processes


def _environments(settings: Settings) -> dict[str, bytes]:
    """A digest of what the apps' `environment_file`s hold, which may be secrets; of one that cannot be read: none."""
    found = {}
    for app in settings.apps:
        if app.environment_file is not None:
            try:
                variables = launch.read_environment_file(str(app.environment_file))
            except launch.Refused:
                variables = {}
            found[app.name] = hashlib.sha256(repr(sorted(variables.items())).encode()).digest()
    return found
