"""One app in the keeper: brings events to its law and carries out the commands. Decides nothing itself."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from dataclasses import replace
from typing import Any, Protocol

import gevent

from supervisor_conf import cgroups
from supervisor_conf.control import messages
from supervisor_conf.control.messages import AppRoutes, Report, Spawned
from supervisor_conf.keeper import processes, words
from supervisor_conf.keeper.care import Care
from supervisor_conf.keeper.dissolving import Dissolving
from supervisor_conf.keeper.oom import OomCounter
from supervisor_conf.keeper.probing import Probing
from supervisor_conf.keeper.remains import Remains
from supervisor_conf.keeper.reports import LastStart, read_report, report_key, report_text
from supervisor_conf.keeper.told import Told
from supervisor_conf.law import commands, events, journey
from supervisor_conf.law.commands import State
from supervisor_conf.law.draining import Usage
from supervisor_conf.law.events import Hold
from supervisor_conf.law.lifecycle import LawBroken, Lifecycle
from supervisor_conf.law.past import FALLBACK_RETRY, Past, read_past
from supervisor_conf.law.rows import Cause, Rules
from supervisor_conf.settings import AppSettings


class House(Protocol):
    """What an app needs of the keeper around it. Askers are the numbers of peers."""

    oom: OomCounter
    dissolving: Dissolving

    def tell_plugin(self, message: object) -> None: ...
    def publish(self, routes: AppRoutes) -> None: ...
    def release(self, asker: int, routes: AppRoutes) -> None: ...
    def refuse(self, asker: int, app: str, refusal: messages.Refusal) -> None: ...
    def recycled(self, app: str, refusal: messages.Refusal | None) -> None: ...
    def moved(self, app: str) -> None: ...


class KeptApp:
    """`settings` and the law of one app, and the generations that are known of it by number."""

    def __init__(self, settings: AppSettings, drain_limit: float, house: House, log: Any):
        self.settings = settings
        self.law = Lifecycle(rules_of(settings, drain_limit))
        self.generations: dict[int, Spawned] = {}
        self.usage = Usage()
        self._told = Told()
        self.last_report: Report | None = None
        self.last_start = LastStart(settings.name, house.tell_plugin)
        self.ready_after: float | None = None  # seconds the last start took
        # Generations that a «ready» was said of, by this keeper or the last
        self._ready_told: set[int] = set()
        self._kill_told: set[int] = set()
        self.routes = AppRoutes(settings.name, State.STOPPED, retry_after=FALLBACK_RETRY, path=settings.path)
        self._house = house
        self._log = log.bind(app=settings.name)
        self.care = Care(settings, self.law, self.generations, self.handle, self._log)
        self._probing = Probing(settings, self.law, self.generations, self.handle, self._say, self._log)
        self._remains = Remains(settings.name, house.dissolving, house.tell_plugin, self._log)
        self._past = Past()  # as the plugin keeps it, for the next keeper
        self._last_past = Past()  # as the last keeper left it: what is kept changes with each process found
        self._events: deque[events.Event] = deque()
        self._handling = False
        self._alarm = gevent.get_hub().loop.timer(0)

    # ---------------------------------------------------------------------------------------------------
    # Events

    def handle(self, event: events.Event) -> None:
        """In order; one that is caused by carrying out another waits for its end."""
        self._events.append(event)
        if self._handling:
            return
        self._handling = True
        was_open = Hold.FAILED in self.law.holds
        try:
            while self._events:
                for command in self.law.handle(self._events.popleft(), time.monotonic()):
                    self._carry_out(command)
        except Exception as error:
            # Half of what the law wanted is done: only a new keeper, which looks at everything anew, can go on.
            raise LawBroken(f"{self.settings.name}: {error}") from error
        finally:
            self._handling = False
        self._tell_of_the_breaker(was_open)
        if self.law.past != self._past:
            self._past = self.law.past
            self._house.tell_plugin(messages.Keep(past_key(self.settings.name), self._past.to_text()))
        self._set_alarm()
        self._house.moved(self.settings.name)

    def resume(self, kept: dict[str, str]) -> None:
        """What the last keeper had kept; before anything else is told."""
        self.last_report = read_report(kept.get(report_key(self.settings.name), ""))
        self.last_start.resume(kept)
        self._past = self._last_past = read_past(kept.get(past_key(self.settings.name), ""))
        self.law.resume(self._past, time.monotonic())

    def change(self, settings: AppSettings, drain_limit: float) -> None:
        """Other settings from now on; what they mean to a process takes effect when it is replaced."""
        self.settings = settings
        self.law.change(rules_of(settings, drain_limit))
        self.care.change(settings)
        self._probing.change(settings)
        self.routes = replace(self.routes, path=settings.path)
        self.handle(events.Lifted(Hold.FAILED))  # the cure may be among them

    def change_drain_limit(self, drain_limit: float) -> None:
        """The one rule of an app that is a key of `[front]`."""
        self.law.change(rules_of(self.settings, drain_limit))

    def outdated(self, newest: int) -> None:
        """The generations up to this one were started with older settings. Where the path was another one, no request
        can be sent there."""
        older = tuple(number for number in self.generations if number <= newest)
        elsewhere = tuple(n for n in older if self.generations[n].path != self.settings.path)
        if elsewhere:
            self.handle(events.Recycle("the app has moved to another path", elsewhere, useless=True))
        if older:
            self.handle(events.Recycle("the configuration has changed", older))

    def forget(self) -> tuple[str, ...]:
        """It is gone for good: nothing rings any more. Returns what the plugin keeps of it."""
        self._alarm.close()
        self._probing.stop()
        return report_key(self.settings.name), past_key(self.settings.name)

    def spawned(self, generation: Spawned) -> None:
        self._know(generation)
        self.handle(
            events.Spawned(
                generation.slot,
                generation.generation,
                generation.pid,
                _address(generation),
                generation.asked,
            )
        )

    def found(self, generation: Spawned) -> None:
        number = generation.generation
        was_ready, obsolete = number in self._last_past.ready, self._last_past.why_obsolete(number)
        if was_ready:
            self._ready_told.add(number)
        self._know(generation)
        self.handle(
            events.Found(generation.slot, number, generation.pid, _address(generation), was_ready, obsolete)
        )

    def _know(self, generation: Spawned) -> None:
        self.generations[generation.generation] = generation
        self._remains.expect(generation)

    def sweep_remains(self, kept: dict[str, str]) -> None:
        """Of generations that ended while there was no keeper: `kept` is what the last one had kept."""
        self._remains.sweep_kept(kept, self.generations)

    def exited(self, message: messages.Exited) -> None:
        generation = self.generations.get(message.generation)
        if generation is None:
            return
        row = self.law.row(message.generation)
        starting = row is not None and row.state is State.STARTING and not row.was_ready
        killed = os.WIFSIGNALED(message.status) and os.WTERMSIG(message.status) == signal.SIGKILL
        # Looked at every time, so that an older kill is not taken for this one.
        grew, counted = self._house.oom.grew(), cgroups.oom_kills(generation.cgroup)
        short = grew if counted is None else counted > 0
        self._told = Told(message.generation, message.first_output, killed and short)
        left_behind = processes.members(generation.pid, generation.nonce, gone=True) if starting else ()
        self.handle(
            events.Exited(
                message.generation,
                message.status,
                # An app that prints its environment shall not publish its token in pages and answers of ours.
                message.last_output.replace(generation.token, "[token]"),
                message.administrative,
                len(left_behind),
            )
        )

    def drained(self, worker: int, generation: int, serial: int) -> None:
        self.usage.drained(worker, generation, serial)
        self._tell_if_drained()

    def worker_came(self, worker: int, pid: int, using: tuple[int, ...]) -> None:
        """`using`: the generations that it knew from the last keeper."""
        self.usage.told(worker, (number for number in using if number in self.generations))
        self.worker_expected_no_more(pid)

    def worker_expected_no_more(self, pid: int) -> None:
        self.usage.expected_no_more(pid)
        self._tell_if_drained()

    def worker_gone(self, worker: int) -> None:
        self.handle(events.AskerGone(worker))
        self.usage.worker_gone(worker)
        self.care.use.worker_gone(worker)
        self._tell_if_drained()

    def told(self, worker: int) -> None:
        """This worker was sent `routes`."""
        self.usage.told(worker, (route.generation for route in self.routes.routes), self.routes.serial)

    def probing(self) -> list[gevent.Greenlet[..., Any]]:
        return self._probing.greenlets

    def _tell_if_drained(self) -> None:
        for row in list(self.law.rows):
            if row.state is State.DRAINING and not self.usage.is_used(row.generation):
                self.handle(events.Drained(row.generation))

    # ---------------------------------------------------------------------------------------------------
    # Commands

    def _carry_out(self, command: commands.Command) -> None:
        match command:
            case commands.Spawn(slot):
                self._house.tell_plugin(messages.Start(self.settings.name, slot))
            case commands.Signal(slot, generation, number):
                self._tell_of_a_kill(generation, number)
                self._house.tell_plugin(messages.Signal(self.settings.name, slot, generation, int(number)))
            case commands.Probe(generation):
                self._probing.look_until_ready(generation)
            case commands.AskGuard(generation):
                self._probing.ask_guard(generation)
            case commands.SendShutdown(generation, limit):
                self._probing.send_shutdown(generation, limit)
            case commands.Publish():
                self._publish(command)
            case commands.Drain(generation):
                if not self.usage.is_used(generation):
                    self.handle(events.Drained(generation))
            case commands.Release(askers):
                for asker in askers:
                    self._house.release(asker, self.routes)
            case commands.Refuse(askers, why, report):
                refusal = words.refusal(why, report and self._stamped(report))
                for asker in askers:
                    self._house.refuse(asker, self.settings.name, refusal)
            case commands.Sweep(generation):
                self._sweep(self.generations[generation])
            case commands.Promote(slot, generation):
                self._house.tell_plugin(messages.Promote(self.settings.name, slot, generation))
            case commands.RecycleEnded(why, report):
                self._recycled(why, report)
            case commands.Ailing(report):
                self._ailing(report)
            case commands.Record(report, crash, again):
                self._record(report, crash=crash, again=again)
            case commands.Moved():
                self._tell_move(command)

    def _publish(self, view: commands.Publish) -> None:
        self.routes = AppRoutes(
            self.settings.name,
            view.state,
            tuple(self._route(route) for route in view.routes),
            self._refusal(view.refusal),
            retry_after=self.law.past.retry_after,
            serial=self.routes.serial + 1,
            path=self.settings.path,
        )
        self._house.publish(self.routes)

    def as_of_now(self, routes: AppRoutes) -> AppRoutes:
        """To be said to whoever comes later than they were made."""
        if routes.refusal is None or not routes.refusal.counts_down:
            return routes
        return replace(routes, refusal=self._refusal(routes.refusal.why))

    def _refusal(self, why: str) -> messages.Refusal | None:
        if not why:
            return None
        if why != Hold.FAILED:
            return words.refusal(why)
        refusal = words.refusal(why, self.last_report)
        closes = self.law.breaker_closes_at
        if closes is None:
            return refusal
        left = max(math.ceil(closes - time.monotonic()), 1)
        return replace(refusal, retry_after=left, counts_down=True)

    def _route(self, route: commands.Route) -> messages.Route:
        known = self.generations[route.generation]
        return messages.Route(
            known.generation,
            known.pid,
            known.host,
            known.port,
            known.socket,
            known.token,
            guarded=route.guarded,
            healthy=route.healthy,
            path=known.path,
        )

    def _sweep(self, generation: Spawned) -> None:
        self._remains.sweep(generation)
        self.generations.pop(generation.generation, None)
        self._ready_told.discard(generation.generation)
        self._kill_told.discard(generation.generation)
        self.usage.generation_gone(generation.generation)

    def _stamped(self, report: Report) -> Report:
        """With the date, and with what only the kernel and the plugin know."""
        return report if report.at else replace(self._told.complete(report), at=time.time())

    def _record(self, report: Report, *, crash: bool, again: bool) -> None:
        self.last_report = self._stamped(report)
        self._log.warning(
            "app.crashed" if crash else "app.start-failed",
            generation=report.generation,
            pid=report.pid,
            step=report.failed_step,
            exit=report.exit,
            seconds=report.seconds,
            summary=report.summary,
            # All of the report but the app's last lines, which may quote what visitors asked for.
            steps={step.name: step.after for step in self.last_report.steps},
            advice=report.advice,
            again=again,
        )
        self._house.tell_plugin(messages.Say(words.outcome(report, crash=crash, again=again)))
        self._keep_report()

    def _ailing(self, report: Report) -> None:
        self.last_report = self._stamped(report)
        self._log.warning("app.ailing", generation=report.generation, pid=report.pid, summary=report.summary)
        self._say(report.summary)
        self._keep_report()

    def _keep_report(self) -> None:
        assert self.last_report is not None
        self._house.tell_plugin(messages.Keep(report_key(self.settings.name), report_text(self.last_report)))
        self.last_start.forget()

    def _recycled(self, why: str, report: Report | None) -> None:
        self._log.info("app.recycled", problem=why)
        if why:
            self.care.recycle_failed()
        refusal = words.refusal(why, report and self._stamped(report)) if why else None
        self._house.recycled(self.settings.name, refusal)

    def _tell_of_a_kill(self, generation: int, number: int) -> None:
        """Of one that was to stop, and did not within its time limit; once."""
        row = self.law.row(generation)
        stopping = row is not None and row.state is State.STOPPING and row.failure is None
        if number == signal.SIGKILL and stopping and generation not in self._kill_told:
            self._kill_told.add(generation)
            pid, limit = self.generations[generation].pid, self.settings.shutdown_time_limit
            self._log.warning("app.killed", generation=generation, pid=pid, shutdown_time_limit=limit)

    def _tell_of_the_breaker(self, was_open: bool) -> None:
        if not was_open and Hold.FAILED in self.law.holds:
            limit = self.settings.rapid_fails_per_minute
            failures = self.law.fails_within_window(time.monotonic())
            self._log.warning("app.rapid-fail", failures=failures, rapid_fails_per_minute=limit)

    def _tell_move(self, move: commands.Moved) -> None:
        self._log.info(
            "app.moved",
            slot=move.slot,
            generation=move.generation,
            was=move.was,
            now=move.now,
            because=move.because,
            seconds=move.seconds,
        )
        if move.was is State.STARTING:
            self._probing.end(move.generation)
        line = self._line(move)
        if line:
            self._say(line)

    def _line(self, move: commands.Moved) -> str:
        row = self.law.row(move.generation)
        match move.was, move.now:
            case State.STOPPED, State.STARTING:
                return "" if move.because == Cause.FOUND else "starting"
            case State.STARTING, State.READY if row is not None and not self._told_ready(move):
                self.ready_after = move.seconds
                self._ready_told.add(move.generation)
                self.last_start.went_well(row, time.monotonic())
                where = words.where(self.generations[move.generation])
                return f"ready in {move.seconds:.2f} s, pid {row.pid}, {where}"
            case _, State.STOPPED if self.law.rows:
                known = self.generations.get(move.generation)
                return f"pid {known.pid} has stopped" if known and not move.failed else ""
            case State.STOPPING, State.STOPPED:
                self.ready_after = None
                return "" if move.failed else "stopped"
            case _, State.STOPPED:
                self.ready_after = None
        return ""

    def _say(self, line: str) -> None:
        """To the person at the terminal."""
        self._house.tell_plugin(messages.Say(f"{self.settings.name}: {line}"))

    def _told_ready(self, move: commands.Moved) -> bool:
        """It was announced already: by this keeper, before a suspicion, or by the one before."""
        return move.generation in self._ready_told

    # ---------------------------------------------------------------------------------------------------
    # Time

    def _set_alarm(self) -> None:
        self._alarm.close()
        due = self.law.due
        if due is not None:
            self._alarm = gevent.get_hub().loop.timer(max(due - time.monotonic(), 0))
            self._alarm.start(lambda: gevent.spawn(self._ring))

    def _ring(self) -> None:
        for generation in self.law.starting_due(time.monotonic()):
            self._probing.look_elsewhere(self.generations[generation])
        self.handle(events.TimePassed())


def rules_of(settings: AppSettings, drain_limit: float) -> Rules:
    """What the law is told of an app's settings."""
    return Rules(
        settings.name,
        processes=settings.processes,
        eager=settings.start == "eager",
        startup_time_limit=settings.startup_time_limit,
        shutdown_time_limit=settings.shutdown_time_limit,
        drain_limit=drain_limit,
        require_pairing=settings.require_pairing,
        overlap=settings.overlap,
        rapid_fails_per_minute=settings.rapid_fails_per_minute,
    )


def past_key(app: str) -> str:
    """Under which the plugin keeps what else of the app's life the next keeper needs."""
    return f"past {app}"


def _address(generation: Spawned) -> str:
    if generation.handed:
        return journey.DESCRIPTOR
    return generation.socket or f"{generation.host}:{generation.port}"
