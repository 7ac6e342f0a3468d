"""The keeper as a process: what it does with real apps that start, fail, crash and stop."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest

from supervisor_conf import accounts
from supervisor_conf.control import messages
from supervisor_conf.control.client import ControlClient
from supervisor_conf.control.messages import AppRoutes, Done, GiveUp, Order, Report
from supervisor_conf.keeper.listeners import tcp_listeners
from tests.kit.link_peer import PATIENCE, LinkPeer, WorkerPeer
from tests.kit.until import wait_until
from tests.supervisor_conf.keeper.apps import IN_TIME, python, server
from tests.supervisor_conf.keeper.conftest import MakePeer

SLOW = "import time; time.sleep(60)"


def worker_of(peer: LinkPeer) -> WorkerPeer:
    peer.wait_for_socket()
    return WorkerPeer(peer.run_directory / "control.sock")


def operator_of(peer: LinkPeer) -> WorkerPeer:
    return WorkerPeer(peer.run_directory / "control.sock", "operator")


def ready(worker: WorkerPeer) -> messages.Route:
    return worker.heard.wait_for(AppRoutes, lambda one: bool(one.routes)).routes[0]


def guarded(worker: WorkerPeer) -> messages.Route:
    return worker.heard.wait_for(AppRoutes, lambda one: bool(one.routes) and one.routes[0].guarded).routes[0]


def order(peer: LinkPeer, *words: str, json: bool = False) -> tuple[Done, list[str]]:
    peer.wait_for_socket()
    shown: list[str] = []
    with ControlClient(peer.run_directory / "control.sock") as client:
        done = client.order(Order(words[0], words[1:], json), shown.append)
    return done, shown


def failure(worker: WorkerPeer) -> Report:
    refusal = worker.heard.wait_for(GiveUp).refusal
    assert refusal.status == 502
    assert refusal.report is not None
    return refusal.report


# --------------------------------------------------------------------------------------------------------
# Starting


def test_a_start_on_request_is_probed_published_and_asked_whether_it_is_guarded(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        assert worker.heard.wait_for(AppRoutes) == AppRoutes(
            "shop", "STOPPED", queue_share=peer.settings.apps[0].queue_limit, retry_after=5
        )
        assert peer.said.wait_for(messages.FrontReady).pid == os.getpid()
        worker.say(messages.Need("shop"))
        route = ready(worker)
        (spawned,) = peer.running.values()
        assert (route.port, route.token, route.pid) == (spawned.port, spawned.token, spawned.pid)
        guarded(worker)
        line = peer.said.wait_for(messages.Say, lambda one: "ready in" in one.text).text
        assert f"pid {spawned.pid}, port {spawned.port}" in line
        status, _ = order(peer, "status")
        assert "guarded" in status.text
        assert spawned.token not in status.text


def test_two_workers_that_ask_get_one_start(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as one, worker_of(peer) as other:
        one.say(messages.Need("shop"))
        other.say(messages.Need("shop"))
        assert ready(one) == ready(other)
        assert len(peer.children) == 1


def test_who_asks_when_the_app_is_ready_is_told_again(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        guarded(worker)
        worker.say(messages.Need("shop"))
        guarded(worker)


def test_an_eager_app_starts_though_nobody_asks(keeper: MakePeer) -> None:
    with keeper(server(), start="eager") as peer, worker_of(peer) as worker:
        ready(worker)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_descendant_may_be_the_one_that_listens(keeper: MakePeer, host: str) -> None:
    forks = (
        "import ctypes\npid = os.fork()\nif pid == 0:\n    ctypes.CDLL(None).prctl(1, 9)  # ends with its parent\n"
        "    os.setsid(); serve(int(os.environ['PORT']))\nos.waitpid(pid, 0)"
    )
    with keeper(server(host=host, main=forks)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        assert ready(worker).pid == next(iter(peer.running))


def test_a_ready_path_must_answer_well(keeper: MakePeer) -> None:
    with keeper(server(), ready="/ready") as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        ready(worker)


def test_an_app_that_is_not_guarded_is_served_and_status_says_so(keeper: MakePeer) -> None:
    with keeper(server(guarded=False)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        assert not ready(worker).guarded
        peer.event("app.guard")
        assert "not guarded" in order(peer, "status")[0].text


# --------------------------------------------------------------------------------------------------------
# Starts that fail


def test_an_app_that_exits_is_tried_twice_and_reported_once(keeper: MakePeer) -> None:
    command = python("import os, sys; print(os.environ['ASPNETCORE_TOKEN'], 'no database'); sys.exit(3)")
    with keeper(command) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert len(peer.children) == 2
        assert report.last_lines.startswith("[token] ")  # of those who print their environment
        assert report.failed_step == "listening"
        assert report.exit == "exit status 3"
        assert "no database" in report.last_lines
        assert [step.name for step in report.steps if step.name != "exec"] == ["asked", "spawned"]
        done, _ = order(peer, "why", "shop")
        assert "no database" in done.text
        worker.say(messages.Need("shop"))
        failure(worker)
        assert len(peer.children) == 4


def test_the_startup_time_limit_kills(keeper: MakePeer) -> None:
    with keeper(python(SLOW), startup_time_limit=0.3) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert report.failed_step == "listening"
        assert report.exit == "killed by SIGKILL"


def test_an_app_that_listens_elsewhere_is_told_where_and_what_to_do(keeper: MakePeer) -> None:
    elsewhere = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); time.sleep(60)"
    with keeper(python(elsewhere), startup_time_limit=IN_TIME) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert len(peer.children) == 1
        assert report.failed_step == "listening"
        assert "listens on 127.0.0.1:" in report.summary
        assert any(advice.startswith("Set `port = ") for advice in report.advice)
        assert any("PORT" in advice and "{port}" in advice for advice in report.advice)


def test_a_stranger_on_the_port_gets_neither_requests_nor_token(keeper: MakePeer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with keeper(python(SLOW), port=port) as peer, worker_of(peer) as worker:
            worker.say(messages.Need("shop"))
            report = failure(worker)
            assert report.failed_step == "ours"
            assert f"pid {os.getpid()}" in report.summary
            assert not any(one.routes for one in worker.heard.all(AppRoutes))


def test_a_ready_path_that_answers_badly_is_named(keeper: MakePeer) -> None:
    app = server(ready=500)
    with keeper(app, ready="/ready", startup_time_limit=IN_TIME) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert report.failed_step == "ready"
        assert "GET /ready answered 500" in report.summary


def test_an_app_that_answers_nonsense_does_not_end_the_keeper(keeper: MakePeer) -> None:
    """What it says is quoted, shortly: a report that fits into no frame would end the keeper of all apps."""
    nonsense = (
        "import os, socket\ns = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n"
        "while True:\n"
        "    c = s.accept()[0]; c.recv(9999); c.sendall(b'HTTP/1.1 ' + b'\\1' * 15_000 + b'\\r\\n\\r\\n'); c.close()"
    )
    with (
        keeper(python(nonsense), ready="/ready", startup_time_limit=IN_TIME) as peer,
        worker_of(peer) as worker,
    ):
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert "GET /ready was not answered in HTTP: illegal status line" in report.summary
        assert len(report.summary) < 500


def test_require_pairing_refuses_an_app_that_is_not_guarded(keeper: MakePeer) -> None:
    with keeper(server(guarded=False), require_pairing=True) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        refusal = worker.heard.wait_for(GiveUp).refusal
        assert (refusal.status, refusal.why) == (502, "unguarded")
        assert not any(one.routes for one in worker.heard.all(AppRoutes))


def test_a_command_that_goes_into_the_background_is_told_so(keeper: MakePeer) -> None:
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(60)\nos._exit(0)"
    with keeper(python(daemon)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert "background" in report.summary
        assert peer.survivors() == []


def test_a_launcher_that_found_no_command_is_put_in_words(keeper: MakePeer) -> None:
    with keeper(python("import sys; sys.exit(127)")) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert report.failed_step == "spawned"
        assert "not found" in report.summary
        assert len(peer.children) == 1


def test_a_start_that_supervisord_refuses_is_reported(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        peer.refuse_spawn = "No more processes."
        worker.say(messages.Need("shop"))
        report = failure(worker)
        assert (report.summary, report.failed_step, report.pid) == ("No more processes.", "spawned", 0)


# --------------------------------------------------------------------------------------------------------
# Crashes


def test_a_crash_takes_the_route_away_and_the_next_request_starts_anew(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        first = ready(worker)
        guarded(worker)
        os.kill(first.pid, signal.SIGKILL)
        worker.heard.wait_for(AppRoutes, lambda one: one.state == "STOPPED" and not one.routes)
        assert peer.said.wait_for(messages.Say, lambda one: "crashed" in one.text).text == (
            "shop: crashed (killed by SIGKILL)"
        )
        worker.say(messages.Need("shop"))
        second = ready(worker)
        assert second.generation > first.generation
        assert second.token != first.token


def test_what_a_crashed_app_leaves_behind_is_swept(keeper: MakePeer) -> None:
    leaves = "if os.fork() == 0:\n    os.setsid(); import time; time.sleep(60); os._exit(0)\n"
    with keeper(server(before=leaves)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        first = guarded(worker)
        assert len(peer.survivors_of(first.generation)) == 2
        os.kill(first.pid, signal.SIGKILL)
        worker.heard.wait_for(AppRoutes, lambda one: one.state == "STOPPED" and not one.routes)
        worker.say(messages.Need("shop"))
        ready(worker)
        assert peer.survivors_of(first.generation) == []


def test_a_generation_that_refused_a_connection_is_looked_at_and_published_again(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        route = ready(worker)
        guarded(worker)
        worker.say(messages.Bad("shop", route.generation, "ECONNREFUSED"))
        worker.heard.wait_for(AppRoutes, lambda one: not one.routes and one.state == "STARTING")
        assert ready(worker).generation == route.generation
        assert len(peer.children) == 1


def test_a_process_that_lives_but_does_not_listen_any_more_is_replaced(keeper: MakePeer) -> None:
    deaf = (
        "import threading, time\n"
        "def serve(port):\n"
        "    one = Server((HOST, port), App)\n"
        "    signal.signal(signal.SIGUSR1, lambda *_: one.socket.close())\n"
        "    threading.Thread(target=one.serve_forever, daemon=True).start()\n"
        "    while True: time.sleep(60)\n"
    )
    with keeper(server(before=deaf)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        first = ready(worker)
        guarded(worker)
        os.kill(first.pid, signal.SIGUSR1)
        wait_until(lambda: not tcp_listeners(first.port), "the closed listener")
        worker.say(messages.Bad("shop", first.generation, "ECONNREFUSED"))
        worker.say(messages.Need("shop"))
        assert ready(worker).generation > first.generation


# --------------------------------------------------------------------------------------------------------
# Stopping


def test_app_stop_drains_sends_the_message_and_holds(keeper: MakePeer, run_directory: Path) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        route = ready(worker)
        guarded(worker)
        with operator_of(peer) as operator:
            operator.say(Order("stop", ("shop",)))
            refusal = worker.heard.wait_for(AppRoutes, lambda one: not one.routes and one.state == "DRAINING")
            assert refusal.refusal is not None
            assert (refusal.refusal.status, refusal.refusal.why) == (503, "stopped")
            assert peer.running  # it is not touched before its requests are through
            worker.say(messages.Drained("shop", route.generation, refusal.serial))
            assert operator.heard.wait_for(Done) == Done(0, "shop: stopped")
        assert not peer.said.all(messages.Signal)  # a polite app needs none
        assert "shutdown message /iisintegration shutdown" in peer.output()
        wait_until(lambda: peer.stopped == ("shop",), "the remembered stop")
        worker.say(messages.Need("shop"))
        assert worker.heard.wait_for(GiveUp).refusal.why == "stopped"


def test_app_start_lifts_the_stop_and_waits_until_it_is_ready(keeper: MakePeer) -> None:
    peer = keeper(server(), begin=False)
    peer.stopped = ("shop",)
    peer.start_keeper()
    with worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        assert worker.heard.wait_for(GiveUp).refusal.why == "stopped"
        done, shown = order(peer, "start", "shop")
        assert done.status == 0
        assert "ready" in done.text
        assert shown == ["shop: starting"]
        wait_until(lambda: peer.stopped == (), "the forgotten stop")
        ready(worker)


def test_app_start_that_fails_tells_why_and_exits_1(keeper: MakePeer) -> None:
    with keeper(python("import sys; print('broken'); sys.exit(4)")) as peer:
        done, _ = order(peer, "start", "shop")
        assert done.status == 1
        assert "exit status 4" in done.text
        assert "broken" in done.text


def test_who_ignores_message_and_sigterm_is_killed(keeper: MakePeer) -> None:
    stubborn = server(polite=False, before="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with keeper(stubborn, shutdown_time_limit=0.6) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        guarded(worker)
        worker.close()  # its requests are gone with it
        done, _ = order(peer, "stop", "shop")
        assert done.status == 0
        wait_until(lambda: len(peer.said.all(messages.Signal)) == 2, "both signals")
        sent = [one.signal for one in peer.said.all(messages.Signal)]
        assert sent == [signal.SIGTERM, signal.SIGKILL]


def test_supervisorctl_stop_withdraws_the_route_at_once(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        route = guarded(worker)
        peer.send(messages.AdminStopped("shop", 0))
        os.killpg(route.pid, signal.SIGTERM)
        worker.heard.wait_for(AppRoutes, lambda one: one.refusal is not None and one.state == "STOPPED")
        worker.say(messages.Need("shop"))
        assert worker.heard.wait_for(GiveUp).refusal.why == "stopped"
        peer.spawn("shop", asked=False)  # supervisorctl start
        assert ready(worker).generation > route.generation


def test_the_end_gives_up_who_waits_and_stops_every_app(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        ready(worker)
        peer.send(messages.Ending("front"))
        worker.close()
        peer.send(messages.Ending("apps"))
        peer.said.wait_for(messages.AppsStopped)
        assert not peer.running
        assert peer.keeper is not None
        peer.keeper.terminate()
        assert peer.keeper.wait(PATIENCE) == 0
        assert not (peer.run_directory / "control.sock").exists()


def test_at_the_end_nothing_starts_and_who_waits_is_refused(keeper: MakePeer) -> None:
    with keeper(python(SLOW)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        peer.said.wait_for(messages.Start)
        peer.send(messages.Ending("front"))
        refused = worker.heard.wait_for(AppRoutes, lambda one: one.refusal is not None).refusal
        assert refused is not None
        assert refused.why == "ending"


# --------------------------------------------------------------------------------------------------------
# The keeper's own life


def test_a_new_keeper_publishes_what_runs_without_a_start(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        route = ready(worker)
        peer.kill_keeper()
        peer.start_keeper()
        with worker_of(peer) as again:
            first = again.heard.wait_for(AppRoutes)
            assert [one.generation for one in first.routes] == [route.generation]
            assert len(peer.children) == 1


def test_a_new_keeper_still_knows_the_last_report(keeper: MakePeer) -> None:
    with keeper(python("import sys; print('no database'); sys.exit(3)")) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        failure(worker)
        peer.kill_keeper()
        peer.start_keeper()
        assert "no database" in order(peer, "why", "shop")[0].text


def test_what_a_process_left_that_ended_while_there_was_no_keeper_is_swept(keeper: MakePeer) -> None:
    leaves = "if os.fork() == 0:\n    os.setsid(); import time; time.sleep(60); os._exit(0)\n"
    with keeper(server(before=leaves)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        route = ready(worker)
        wait_until(lambda: len(peer.survivors()) == 2 and peer.kept, "what is to be kept")
        peer.kill_keeper()
        os.kill(route.pid, signal.SIGKILL)
        peer.said.wait_for(int, lambda pid: pid == route.pid)
        assert len(peer.survivors()) == 1
        peer.start_keeper()
        peer.wait_for_socket()
        wait_until(lambda: not peer.survivors(), "the sweep")


def test_the_last_will_kills_everything_of_every_app(keeper: MakePeer) -> None:
    leaves = "if os.fork() == 0:\n    os.setsid(); import time; time.sleep(60); os._exit(0)\n"
    with keeper(server(before=leaves)) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        ready(worker)
        assert len(peer.survivors()) == 2
        assert peer.hang_up() == 0
        assert peer.survivors() == []


# --------------------------------------------------------------------------------------------------------
# Orders and peers


def test_status_as_json_is_the_same_twice_and_has_no_token(keeper: MakePeer) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        token = ready(worker).token
        guarded(worker)
        first, second = (order(peer, "status", json=True)[0].text for _ in range(2))
        assert first == second
        assert token not in first
        assert token not in (peer.run_directory / "portico.log").read_text()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("status", "nobody"), 1),
        (("start",), 2),
        (("nonsense",), 2),
        (("offline",), 2),
        (("offline", "shop"), 0),
        (("online", "shop"), 0),
        (("recycle", "shop"), 0),
        (("reset", "shop"), 0),
        (("why", "shop"), 0),
    ],
)
def test_orders_that_end_at_once(keeper: MakePeer, words: tuple[str, ...], status: int) -> None:
    done, _ = order(keeper(server()), *words)
    assert done.status == status
    assert done.text


def test_recycling_the_front_waits_for_the_plugin(keeper: MakePeer, run_directory: Path) -> None:
    with keeper(server()) as peer, worker_of(peer), operator_of(peer) as one:
        one.say(Order("recycle", ("portico-front",)))
        peer.said.wait_for(messages.RecycleFront)
        peer.send(messages.FrontRecycled("The new worker did not start."))
        assert one.heard.wait_for(Done) == Done(1, "The new worker did not start.")


def test_a_process_that_is_no_worker_gets_no_routes(keeper: MakePeer) -> None:
    peer = keeper(server(), begin=False)
    peer.workers = ()
    peer.start_keeper()
    with worker_of(peer) as stranger:
        assert "not a worker" in stranger.heard.wait_for(messages.Refused).sentence
        assert stranger.ended.wait(PATIENCE)
        assert not stranger.heard.all(AppRoutes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
@pytest.mark.parametrize(("user", "admitted"), [("nobody", True), ("daemon", False)])
def test_a_worker_is_of_the_workers_user(
    keeper: MakePeer, user: str, admitted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells who connected: the test is the workers' user, or another one, at that moment."""
    with keeper(server(), front='user = "65534"') as peer:
        peer.wait_for_socket()
        monkeypatch.chdir(peer.run_directory)  # as workers do: the folders above may be closed to them
        peer.run_directory.chmod(0o711)
        account = pwd.getpwnam("nobody")
        os.setegid(account.pw_gid)  # which may open the socket
        os.seteuid(pwd.getpwnam(user).pw_uid)
        try:
            worker = WorkerPeer(Path("control.sock"))
        finally:
            os.seteuid(0)
            os.setegid(0)
        with worker:
            if admitted:
                assert worker.heard.wait_for(AppRoutes)
            else:
                assert "not a worker" in worker.heard.wait_for(messages.Refused).sentence


def test_a_worker_that_is_confirmed_late_is_let_in(keeper: MakePeer) -> None:
    peer = keeper(server(), begin=False)
    peer.workers = ()
    peer.start_keeper()
    with worker_of(peer) as worker:
        peer.send(messages.WorkerSpawned("portico-front:0", os.getpid()))
        worker.heard.wait_for(AppRoutes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
def test_orders_are_taken_from_root_and_who_started_it_alone(
    keeper: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the workers' user, who may open the socket."""
    with keeper(server()) as peer:
        peer.wait_for_socket()
        monkeypatch.chdir(peer.run_directory)
        peer.run_directory.chmod(0o711)
        with accounts.ActingAs(accounts.account("nobody")):
            stranger = WorkerPeer(Path("control.sock"), "operator")
        with stranger:
            assert (
                "from root and from the user who started"
                in stranger.heard.wait_for(messages.Refused).sentence
            )
            assert stranger.ended.wait(PATIENCE)


def test_an_operator_is_never_told_a_route(keeper: MakePeer, run_directory: Path) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker, operator_of(peer) as operator:
        operator.say(messages.Need("shop"))  # no word of an operator's
        worker.say(messages.Need("shop"))
        ready(worker)
        operator.say(Order("status"))
        operator.heard.wait_for(Done)
        assert not operator.heard.all(AppRoutes)


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 1 << 31), struct.pack(">I", 2) + b"[]", os.urandom(64)],
    ids=["http", "oversize", "no object", "noise"],
)
def test_garbage_ends_that_peer_and_nothing_else(
    keeper: MakePeer, run_directory: Path, garbage: bytes
) -> None:
    with keeper(server()) as peer, worker_of(peer) as worker:
        with socket.socket(socket.AF_UNIX) as noisy:
            noisy.settimeout(PATIENCE)
            noisy.connect(str(run_directory / "control.sock"))
            noisy.sendall(garbage)
            noisy.shutdown(socket.SHUT_WR)
            while noisy.recv(4096):
                pass
        worker.say(messages.Need("shop"))
        ready(worker)


def lines(peer: LinkPeer) -> list[str]:
    return [one.text.split(":")[1].split(" in ")[0].strip() for one in peer.said.all(messages.Say)]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_the_terminal_is_told(keeper: MakePeer, processes: int) -> None:
    """The next keeper knows of every process that it was ready: nothing is said twice."""

    def all_guarded(worker: WorkerPeer) -> None:
        worker.heard.wait_for(
            AppRoutes, lambda one: [route.guarded for route in one.routes] == [True] * processes
        )

    with keeper(server(), processes=processes) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        all_guarded(worker)
        peer.kill_keeper()
        peer.start_keeper()
        with worker_of(peer) as again:
            all_guarded(again)
            again.close()
        order(peer, "stop", "shop")
        wait_until(lambda: sum("stopped" in line for line in lines(peer)) == processes, "the last line")
        said = Counter(line.split()[-1] for line in lines(peer))  # of two, «pid 4711 has stopped»
        assert said == dict.fromkeys(("starting", "ready", "stopped"), processes)


def test_what_the_terminal_is_told_of_a_failed_start(keeper: MakePeer) -> None:
    with keeper(python(SLOW), startup_time_limit=0.3) as peer:
        order(peer, "start", "shop")
        wait_until(lambda: len(lines(peer)) >= 4, "the last line")
        assert lines(peer) == ["starting", "start failed", "starting", "start failed"]
