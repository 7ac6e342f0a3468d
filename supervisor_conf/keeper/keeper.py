"""The keeper: the apps' laws between the plugin, which has the hands, and the workers, who want routes.

It can be killed at any moment: the plugin remembers what runs, and a new keeper looks at it again. It is also
the last will: when the plugin link ends, supervisord is gone, and everything of every app is killed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import gevent

from supervisor_conf import cgroups
from supervisor_conf.control import messages
from supervisor_conf.control.messages import AppRoutes, GiveUp, Refusal, Spawned
from supervisor_conf.control.server import ControlServer, Peer
from supervisor_conf.keeper import processes, restartfile
from supervisor_conf.keeper.app import KeptApp
from supervisor_conf.keeper.care import ROUND
from supervisor_conf.keeper.certificates import Certificates
from supervisor_conf.keeper.credential_caches import CredentialCaches
from supervisor_conf.keeper.dissolving import Dissolving
from supervisor_conf.keeper.link import PluginLink
from supervisor_conf.keeper.logs import Logs
from supervisor_conf.keeper.offline import FILE, Offline
from supervisor_conf.keeper.oom import OomCounter
from supervisor_conf.keeper.orders import Orders
from supervisor_conf.keeper.questions import Questions
from supervisor_conf.keeper.watch import Watch
from supervisor_conf.law import events
from supervisor_conf.law.events import EndStage, Hold
from supervisor_conf.law.lifecycle import LawBroken
from supervisor_conf.law.wear import shares
from supervisor_conf.settings import AppSettings, Settings, from_json

FIRST_ROUND: Final = 0.25
"""Seconds that workers wait at most for a new keeper's first look at what runs: they keep their routes so long."""


class Keeper:
    def __init__(
        self,
        settings: Settings,
        run_directory: Path,
        link: PluginLink,
        log: Any,
        *,
        group: int | None,
        workers_user: int,
        event_log: int,
    ) -> None:
        """`group`: who may connect to the control socket besides us; `workers_user`: who the workers are;
        `event_log`: the descriptor under `log`."""
        front = settings.front
        self.oom = OomCounter()
        self.dissolving = Dissolving()
        self.apps = {app.name: KeptApp(app, front.drain_limit, self, log) for app in settings.apps}
        self._leaving: set[str] = set()
        self._link = link
        self._log = log
        self.questions = Questions()
        self.offline = Offline(self, log)
        self._watch = Watch((FILE, restartfile.NAME), self._look_in, log)
        self._logs = Logs(front.access_log, run_directory, event_log)
        self._certificates = Certificates(front.tls, self.worker_peers, self.tell_plugin, log)
        self._credentials = CredentialCaches(run_directory, log)
        self._server = ControlServer(run_directory / "control.sock", self, log, group=group)
        self._orders = Orders(self)
        self._peers: dict[int, Peer] = {}
        self._workers_user = workers_user
        self._worker_names: dict[int, str] = {}  # pid -> process, as the plugin confirmed them
        self._ending: EndStage | None = None
        self._apps_stopped = False

    def run(self) -> int:
        """Until supervisord ends it or is gone; the exit status."""
        # A broken law, or a bug in any greenlet of ours, ends this keeper; the next one looks at everything anew.
        hub = gevent.get_hub()
        hub.SYSTEM_ERROR = (*hub.SYSTEM_ERROR, LawBroken)
        main = gevent.getcurrent()
        gevent.signal_handler(signal.SIGTERM, main.throw, SystemExit(0))
        try:
            for message in self._link.messages():
                self._from_plugin(message)
            self._last_will()
        except SystemExit:
            self._log.info("keeper.stopped")
        finally:
            self._credentials.clear()
            self._server.close()
            self._link.flush()
            self.dissolving.finish()
        return 0

    # ---------------------------------------------------------------------------------------------------
    # What the plugin says

    def _from_plugin(self, message: Any) -> None:
        match message:
            case messages.Memory():
                self._remember(message)
            case messages.Spawned(app=name):
                self._with_app(name, lambda app: app.spawned(message))
            case messages.SpawnFailed(app=name, slot=slot, sentence=sentence):
                self._with_app(name, lambda app: app.handle(events.SpawnFailed(slot, sentence)))
            case messages.Exited(app=name):
                self._with_app(name, lambda app: app.exited(message))
            case messages.Output(app=name):
                self._with_app(name, lambda app: app.last_start.output(message))
            case messages.AdminStopped(app=name, slot=slot):
                held = events.Held(Hold.STOPPED, already_signalled=True, slot=slot)
                self._with_app(name, lambda app: app.handle(held))
            case messages.WorkerSpawned(process=process, pid=pid):
                self._worker_names[pid] = process
                self._server.worker_confirmed()
            case messages.WorkerExited(pid=pid):
                self._worker_names.pop(pid, None)
                for one in self.apps.values():
                    one.worker_expected_no_more(pid)
            case messages.Reopened(problem=problem):
                found = " ".join(filter(None, (problem, self._logs.reopen(self.worker_peers()))))
                self._log.info("logs.reopened", problem=found)
                self._orders.reopened(found)
            case messages.FrontRecycled(problem=problem):
                self._orders.front_recycled(problem)
            case messages.NewSettings(text=text):
                self._change(from_json(text), message)
            case messages.Outdated(outdated=outdated):
                self._renew(outdated)
                self._orders.renewing(self._recycling(outdated), more=True)
            case messages.Leave(apps=names):
                self._leave(names)
            case messages.Reloaded():
                self._orders.reloaded(message)
            case messages.Ending(stage=stage):
                self._end(EndStage(stage))
            case _:
                pass  # of a later version, or an answer to a question that nobody asks any more

    def _remember(self, memory: messages.Memory) -> None:
        """Begin: know what runs, look at it, then let workers and operators in."""
        self._log.info(
            "keeper.began", instance=memory.instance, running=len(memory.running), ending=memory.ending
        )
        self._credentials.clear()
        for worker in memory.workers:
            self._worker_names[worker.pid] = worker.process
        kept = dict(memory.kept)
        for name, app in self.apps.items():
            app.resume(kept)
            app.usage.expect(self._worker_names)
            if name in memory.stopped:
                app.handle(events.Held(Hold.STOPPED))
        self._watch_folders()
        self.offline.remember(kept)
        self._watch.start()
        if memory.ending:
            self._end(EndStage(memory.ending))
        for generation in memory.running:
            self._with_app(generation.app, lambda app, found=generation: app.found(found))  # type: ignore[misc]
        for app in self.apps.values():
            app.sweep_remains(kept)
        looking = [probe for app in self.apps.values() for probe in app.probing()]
        gevent.joinall(looking, timeout=FIRST_ROUND)
        self._renew(memory.outdated)
        for app in self.apps.values():
            restartfile.look(app)
            if app.settings.start == "eager":
                app.handle(events.WantedAlways())
        self._leave(memory.leaving)
        self._server.start()
        self._tell_if_apps_stopped()
        gevent.spawn(self._care_for_ever)
        gevent.spawn(self._certificates.watch_for_ever)

    def _care_for_ever(self) -> None:
        while True:
            gevent.sleep(ROUND)
            try:
                for app in list(self.apps.values()):
                    app.care.round()
            except Exception as error:
                # Nobody would look after the apps any longer; a new keeper does.
                raise LawBroken(f"care: {error}") from error

    def _end(self, stage: EndStage) -> None:
        self._ending = stage
        self._log.info("keeper.ending", stage=stage)
        for app in self.apps.values():
            app.handle(events.Ending(stage))
        self._tell_if_apps_stopped()

    # ---------------------------------------------------------------------------------------------------
    # Another configuration

    def _change(self, settings: Settings, told: messages.NewSettings) -> None:
        drain_limit = settings.front.drain_limit
        self._logs.change(settings.front.access_log)
        self._certificates.change(settings.front.tls)
        for app in settings.apps:
            known = self.apps.get(app.name)
            if known is None:
                self._add(app, drain_limit)
            elif known.settings == app and app.name not in told.changed:
                known.change_drain_limit(drain_limit)
            else:
                known.change(app, drain_limit)
                self.offline.look(app.name)
        self._watch_folders()
        self._share_queues()
        self._renew(told.outdated)
        self._orders.renewing(self._recycling(told.outdated))
        self._log.info("keeper.new-settings", apps=len(settings.apps))

    def _add(self, settings: AppSettings, drain_limit: float) -> None:
        name = settings.name
        app = self.apps[name] = KeptApp(settings, drain_limit, self, self._log)
        self.offline.look(name)
        if self._ending is not None:
            app.handle(events.Ending(self._ending))
        elif settings.start == "eager":
            app.handle(events.WantedAlways())

    def _renew(self, outdated: tuple[tuple[str, int], ...]) -> None:
        """Said again and again, it changes nothing more: what is newer stays."""
        for name, newest in outdated:
            self._with_app(name, lambda app, newest=newest: app.outdated(newest))  # type: ignore[misc]

    def _recycling(self, outdated: tuple[tuple[str, int], ...]) -> set[str]:
        return {name for name, _ in outdated if name in self.apps and self.apps[name].law.recycling}

    def _leave(self, names: tuple[str, ...]) -> None:
        """For good."""
        self._leaving.update(names)
        for name in names:
            self._with_app(name, lambda app: app.handle(events.Held(Hold.STOPPED)))
            self._forget_if_gone(name)

    def _forget_if_gone(self, name: str) -> None:
        app = self.apps.get(name)
        if name not in self._leaving or (app is not None and app.law.rows):
            return
        self._leaving.discard(name)
        if app is not None:
            for key in (*app.forget(), self.offline.forget(name)):
                self.tell_plugin(messages.Keep(key, ""))
            del self.apps[name]
        self._watch_folders()
        self._log.info("app.removed", app=name)
        self.tell_plugin(messages.AppGone(name))

    def _watch_folders(self) -> None:
        self._watch.set_folders(
            folder for app in self.apps.values() for folder in restartfile.folders(app.settings.directory)
        )

    def _look_in(self, folder: Path) -> None:
        """A file with a meaning has come, gone or changed there."""
        self.offline.look_in(folder)
        for app in list(self.apps.values()):
            if folder in restartfile.folders(app.settings.directory):
                restartfile.look(app)

    def _with_app(self, name: str, act: Callable[[KeptApp], None]) -> None:
        app = self.apps.get(name)
        if app is not None:
            act(app)

    def _last_will(self) -> None:
        self._log.error("keeper.last-will")
        left: list[Spawned] = [one for app in self.apps.values() for one in app.generations.values()]
        for generation in left:
            killed = processes.sweep(generation.pid, generation.nonce, generation.cgroup)
            cgroups.clear(generation.cgroup)
            self._log.info("app.swept", app=generation.app, generation=generation.generation, killed=killed)

    # ---------------------------------------------------------------------------------------------------
    # House of the apps and of the orders

    def tell_plugin(self, message: object) -> None:
        self._link.send(message)

    def publish(self, routes: AppRoutes) -> None:
        for peer in self.worker_peers():
            self._send_routes(peer, routes)

    def release(self, asker: int, routes: AppRoutes) -> None:
        peer = self._peers.get(asker)
        if peer is not None and peer.role == "worker":
            self._send_routes(peer, routes)
        self._orders.released(asker)

    def refuse(self, asker: int, app: str, refusal: Refusal) -> None:
        peer = self._peers.get(asker)
        if refusal.why == Hold.OFFLINE:
            refusal = self.offline.refusal(app)
        if peer is not None and peer.role == "worker":
            peer.send(GiveUp(app, refusal))
        self._orders.refused(asker, refusal)

    def moved(self, app: str) -> None:
        if app in self.apps:
            self._credentials.only(app, self.apps[app].generations)
        self._orders.moved(app)
        if app in self._leaving:
            # Not within what it is just doing.
            gevent.spawn(self._forget_if_gone, app)
        self._tell_if_apps_stopped()

    def workers(self) -> list[dict[str, object]]:
        connected = {peer.pid for peer in self.worker_peers()}
        return [
            {"process": process, "pid": pid, "connected": pid in connected}
            for pid, process in sorted(self._worker_names.items(), key=lambda item: item[1])
        ]

    def worker_peers(self) -> list[Peer]:
        return [peer for peer in self._peers.values() if peer.role == "worker"]

    def recycled(self, app: str, refusal: Refusal | None) -> None:
        self._orders.recycled(app, refusal)

    def _send_routes(self, peer: Peer, routes: AppRoutes) -> None:
        app = self.apps[routes.app]
        numbers = sorted(worker.number for worker in self.worker_peers())
        share = shares(app.settings.queue_limit, len(numbers))[numbers.index(peer.number)]
        dressed = app.as_of_now(self.offline.dressed(routes))
        peer.send_routes(replace(dressed, queue_share=share))
        app.told(peer.number)

    def _share_queues(self) -> None:
        """A worker has come or gone: each has another part of the queues."""
        for app in self.apps.values():
            self.publish(app.routes)

    def _tell_if_apps_stopped(self) -> None:
        idle = not any(app.law.rows for app in self.apps.values())
        if self._ending is EndStage.APPS and idle and not self._apps_stopped:
            self._apps_stopped = True
            self.tell_plugin(messages.AppsStopped())

    # ---------------------------------------------------------------------------------------------------
    # Roster of the control socket

    def is_worker(self, pid: int, uid: int) -> bool:
        """A number that has become free may be another one's by now, but not another user's."""
        return pid in self._worker_names and uid in (self._workers_user, os.geteuid())

    def may_order(self, uid: int) -> bool:
        return uid in (0, os.geteuid())

    def welcome(self, peer: Peer) -> None:
        self._peers[peer.number] = peer
        if peer.role == "worker":
            self._log.info("worker.connected", pid=peer.pid, name=peer.name)
            for name, app in self.apps.items():
                app.worker_came(
                    peer.number, peer.pid, tuple(number for one, number in peer.using if one == name)
                )
            self._share_queues()
            self._certificates.welcome(peer)
            self.tell_plugin(messages.FrontReady(peer.pid))

    def heard(self, peer: Peer, message: Any) -> None:
        if peer.role == "worker":
            self._from_worker(peer, message)
        elif isinstance(message, messages.Order):
            self._log.info(
                "order", word=message.word, arguments=message.arguments, uid=peer.uid, pid=peer.pid
            )
            self._orders.take(peer, message)

    def gone(self, peer: Peer) -> None:
        self._peers.pop(peer.number, None)
        self._orders.forget(peer)
        self.questions.gone(peer)
        self._credentials.worker_gone(peer.number)
        for app in self.apps.values():
            app.worker_gone(peer.number)
        if peer.role == "worker":
            self._share_queues()

    def _from_worker(self, peer: Peer, message: Any) -> None:
        if isinstance(message, messages.Requests):
            self.questions.answered(peer, message)
            return
        if isinstance(message, messages.DropCredentials):
            self._credentials.drop(peer.number, message.number)
            return
        if isinstance(message, messages.TakeCredentials):
            self._take_credentials(peer, message)
            return
        name = getattr(message, "app", "")
        app = self.apps.get(name)
        if app is None:
            return
        match message:
            case messages.Need():
                peer.routes_sent.pop(name, None)
                app.handle(events.Wanted(peer.number))
            case messages.Bad(generation=generation, why=why):
                self._log.warning("app.refused-connection", app=name, generation=generation, why=why)
                peer.routes_sent.pop(name, None)
                app.handle(events.Suspected(generation))
            case messages.Drained(generation=generation, serial=serial):
                app.drained(peer.number, generation, serial)
            case messages.Counters():
                app.care.counted(peer.number, message)
            case _:
                pass  # of a later version

    def _take_credentials(self, peer: Peer, message: messages.TakeCredentials) -> None:
        app = self.apps.get(message.app)
        wanted = app is not None and app.settings.forward_credentials
        generation = app.generations.get(message.generation) if app is not None and wanted else None
        answer = self._credentials.take(peer.number, message, generation)
        if answer is not None:
            peer.send(answer)
