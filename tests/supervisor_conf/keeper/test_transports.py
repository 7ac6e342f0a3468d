"""The keeper and apps on Unix sockets: those they make, and those they are given."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from supervisor_conf.control import messages
from supervisor_conf.control.messages import AppRoutes, GiveUp
from tests.kit.link_peer import LinkPeer
from tests.kit.until import wait_until
from tests.supervisor_conf.keeper.apps import IN_TIME, python, server
from tests.supervisor_conf.keeper.conftest import MakePeer
from tests.supervisor_conf.keeper.test_keeper import failure, guarded, order, ready, worker_of

SLOW = python("import time; time.sleep(60)")
ELSEWHERE = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); time.sleep(60)"
MAIN = {"unix": "serve_path()", "fd": "serve_given()"}
BOTH = pytest.mark.parametrize("transport", ["unix", "fd"])


def running(peer: LinkPeer) -> messages.Spawned:
    (spawned,) = wait_until(lambda: list(peer.running.values()), "an app that was started")
    return spawned


@BOTH
def test_a_start_ends_in_a_route_to_the_socket(keeper: MakePeer, transport: str) -> None:
    app = server(main=MAIN[transport])
    with keeper(app, transport=transport) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        route, spawned = guarded(worker), running(peer)
        assert (route.host, route.port, route.socket) == ("", 0, spawned.socket)
        line = peer.said.wait_for(messages.Say, lambda one: "ready in" in one.text).text
        assert line.endswith({"unix": f"socket {spawned.socket}", "fd": "a descriptor"}[transport])
        shown = json.loads(order(peer, "status", json=True)[0].text)["apps"][0]
        assert (shown["port"], shown["socket"], shown["guarded"]) == (0, spawned.socket, True)
        table = order(peer, "status")[0].text
        assert f" {Path(spawned.socket).name} " in table


@BOTH
def test_the_shutdown_message_comes_over_the_socket(keeper: MakePeer, transport: str) -> None:
    app = server(main=MAIN[transport])
    with keeper(app, transport=transport, front="drain_limit = 0") as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        guarded(worker)
        assert order(peer, "stop", "shop")[0].status == 0
        assert "shutdown message /iisintegration shutdown" in peer.output()
        assert peer.said.all(messages.Signal) == []


def test_a_given_socket_is_ready_when_somebody_answers_and_says_at_once_whether_it_is_guarded(
    keeper: MakePeer,
) -> None:
    app = server(guarded=False, main=MAIN["fd"], before="import time; time.sleep(0.3)")
    with keeper(app, transport="fd") as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        assert not ready(worker).guarded
        assert "not guarded" in order(peer, "status")[0].text
        # The first route that was published was the first thing that was known: nobody asked afterwards.
        assert [one.routes[0].guarded for one in worker.heard.all(AppRoutes) if one.routes] == []


def test_the_first_route_to_a_given_socket_is_known_to_be_guarded(keeper: MakePeer) -> None:
    with keeper(server(main=MAIN["fd"]), transport="fd") as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        assert ready(worker).guarded


@BOTH
def test_require_pairing(keeper: MakePeer, transport: str) -> None:
    app = server(guarded=False, main=MAIN[transport])
    with keeper(app, transport=transport, require_pairing=True) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        assert worker.heard.wait_for(GiveUp).refusal.why == "unguarded"
        assert not any(one.routes for one in worker.heard.all(AppRoutes))


@BOTH
def test_a_ready_path_is_asked_over_the_socket(keeper: MakePeer, transport: str) -> None:
    app = server(main=MAIN[transport], ready=503)
    keys = {"transport": transport, "ready": "/ready", "startup_time_limit": IN_TIME}
    with keeper(app, **keys) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        assert "GET /ready answered 503" in failure(worker).summary


@BOTH
def test_an_app_that_does_not_use_what_it_was_given(keeper: MakePeer, transport: str) -> None:
    with keeper(SLOW, transport=transport, startup_time_limit=0.4) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert report.failed_step == "listening"
        did = {"unix": f"did not listen on {peer.run_directory}/", "fd": "did not answer on descriptor 3"}
        assert did[transport] in report.summary
        placeholder = {"unix": "{socket}", "fd": "{fd}"}[transport]
        assert any(placeholder in advice for advice in report.advice)


@BOTH
def test_an_app_that_listens_on_a_port_instead_is_told_so(keeper: MakePeer, transport: str) -> None:
    app = python(ELSEWHERE)
    with keeper(app, transport=transport, startup_time_limit=IN_TIME) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert report.failed_step == "listening"
        assert "listens on 127.0.0.1:" in report.summary
        assert any('Set `transport = "port"` and `port = ' in advice for advice in report.advice)


def test_a_stranger_on_the_socket_gets_neither_requests_nor_token(keeper: MakePeer) -> None:
    with keeper(SLOW, transport="unix") as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        path = running(peer).socket
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.bind(path)
            stranger.listen()
            said = peer.said.wait_for(messages.Say, lambda one: "start failed" in one.text).text
            assert f"{path} is held by pid {os.getpid()}" in said
            # The second attempt has a path of its own.
            wait_until(lambda: [one for one in peer.running.values() if one.socket != path], "another start")
            assert not any(one.routes for one in worker.heard.all(AppRoutes))


@BOTH
def test_a_new_keeper_finds_it_ready(keeper: MakePeer, transport: str) -> None:
    with keeper(server(main=MAIN[transport]), transport=transport) as peer:
        with worker_of(peer) as worker:
            worker.say(messages.Need("shop"))
            before = ready(worker)
            peer.kill_keeper()
        peer.start_keeper()
        with worker_of(peer) as worker:
            after = ready(worker)
            assert (after.generation, after.socket, after.token) == (
                before.generation,
                before.socket,
                before.token,
            )


@BOTH
def test_a_crash_withdraws_the_route(keeper: MakePeer, transport: str) -> None:
    with keeper(server(main=MAIN[transport]), transport=transport) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        first = guarded(worker)
        os.kill(first.pid, signal.SIGKILL)
        worker.heard.wait_for(AppRoutes, lambda one: not one.routes)
        worker.say(messages.Need("shop"))
        second = ready(worker)
        assert (second.socket == first.socket, second.token == first.token) == (False, False)


def test_a_socket_that_was_closed_to_the_workers_is_opened_again_when_one_complains(keeper: MakePeer) -> None:
    with keeper(server(main=MAIN["unix"]), transport="unix") as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        route = guarded(worker)
        os.chmod(route.socket, 0o600)
        worker.say(messages.Bad("shop", route.generation, "permission denied"))
        worker.heard.wait_for(AppRoutes, lambda one: not one.routes)
        assert ready(worker).generation == route.generation
        mode = os.stat(route.socket).st_mode & 0o777
        assert mode == (0o660 if os.geteuid() == 0 else 0o600)
