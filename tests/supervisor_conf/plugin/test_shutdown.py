"""The end: tiers, nothing for idle programs, nobody waits for a keeper that is not there; and no restart of all."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
from pathlib import Path
from types import MethodType, SimpleNamespace

from supervisor.http import NOT_DONE_YET
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface

from supervisor_conf.control import messages
from supervisor_conf.listen import Listen
from supervisor_conf.plugin import commands
from tests.supervisor_conf.plugin.rig import (
    FOREVER,
    TIMEOUT,
    Rig,
    alive,
    python,
    section,
    settings_of,
    wait_for,
)


def _end(rig: Rig) -> int:
    assert rig.supervisord is not None
    return rig.supervisord.wait(TIMEOUT)


def _said(rig: Rig, app: str) -> str:
    rig.keeper_now().say(messages.AskOutput(generation=1, app=app, slot=0))
    return rig.keeper_now().expect(messages.Output).text


def _refused(address: tuple[str, int]) -> bool:
    """Both have closed: the plugin, and the worker when it got its SIGTERM."""
    try:
        socket.create_connection(address, TIMEOUT).close()
    except ConnectionRefusedError:
        return True
    return False


def _terminate(rig: Rig) -> None:
    assert rig.supervisord is not None
    rig.supervisord.terminate()


def _counter(rig: Rig, longest: float) -> str:
    factory = {"supervisor.rpcinterface_factory": f"{__package__}.turn_counter:make"}
    return section("rpcinterface:counter", file=rig.run / "turns", longest=longest, **factory)


def test_thirty_idle_programs_cost_no_turn(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, *[FOREVER] * 31))
    try:
        rig.start(rig.portico_conf(workers=0, keeper=False) + _counter(rig, longest=0.5))
        rig.ctl("start", "shop")
        _terminate(rig)
        assert _end(rig) == 0
        # SIGTERM, its end, and what a busy machine makes of the two.
        assert int((tmp_path / "turns").read_text()) < 30
        assert rig.events("app.exited")[0]["status"] == "killed by SIGTERM"
    finally:
        rig.clean()


def test_stock_supervisord_takes_a_turn_for_each_idle_program(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, FOREVER))
    idle = [
        section(f"program:idle{n}", command="/bin/cat", autostart="false", priority=500) for n in range(30)
    ]
    running = section("program:running", command="/bin/cat", priority=1)
    try:
        rig.start(rig.stock_conf(running, *idle) + _counter(rig, longest=0.01), stock=True)
        wait_for(lambda: rig.info("running")["statename"] == "RUNNING", rig)
        _terminate(rig)
        assert _end(rig) == 0
        assert int((tmp_path / "turns").read_text()) >= 30
    finally:
        rig.clean()


def test_workers_drain_first_then_the_keeper_stops_the_apps(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    spawned = rig.start_app()
    wait_for(lambda: _said(rig, "shop") == "up\n", rig)
    address = rig.url()
    worker = rig.info("portico-front:0")["pid"]
    visitor = socket.create_connection(address, TIMEOUT)
    visitor.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
    wait_for((rig.run / f"slow-{worker}").exists, rig)
    _terminate(rig)
    rig.keeper_now().expect(messages.Ending, stage="front")
    wait_for(lambda: _refused(address), rig)
    rig.keeper_now().say(messages.Start(app="shop", slot=0))
    refused = rig.keeper_now().expect(messages.SpawnFailed)
    assert refused.sentence == "Portico is shutting down."
    assert all(map(alive, (worker, spawned.pid)))
    (rig.run / "go").touch()
    assert visitor.recv(1000).endswith(str(worker).encode())
    visitor.close()
    assert rig.keeper_now().expect(messages.WorkerExited).pid == worker
    rig.keeper_now().expect(messages.Ending, stage="apps")
    assert alive(spawned.pid)
    rig.keeper_now().say(messages.Signal(app="shop", slot=0, generation=1, signal=15))
    assert not rig.keeper_now().expect(messages.Exited).administrative
    # Nothing runs any more, but the keeper still sweeps: supervisord turns, and waits for it.
    assert _said(rig, "shop") == "up\n"
    assert rig.events("shutdown.stage")[-1]["stage"] == "apps"
    rig.keeper_now().say(messages.AppsStopped())
    assert _end(rig) == 0
    assert not (rig.run / "supervisor.sock").exists()


def test_without_a_keeper_the_plugin_stops_the_apps_itself(tmp_path: Path) -> None:
    stubborn = python(
        "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\nsignal.pause()"
    )
    rig = Rig(tmp_path, settings_of(tmp_path, FOREVER, stubborn, shutdown_time_limit=1.0))
    try:
        rig.start(rig.portico_conf())
        rig.be_keeper()
        first, second = rig.start_app("shop"), rig.start_app("shop2")
        wait_for(lambda: _said(rig, "shop2") == "up\n", rig)
        _terminate(rig)
        rig.keeper_now().expect(messages.Ending, stage="apps")
        os.kill(rig.info_pid("portico-keeper"), signal.SIGKILL)
        assert _end(rig) == 0
        assert not alive(first.pid)
        assert not alive(second.pid)
        words = {event["app"]: event["status"] for event in rig.events("app.exited")}
        assert words == {"shop": "killed by SIGTERM", "shop2": "killed by SIGKILL"}
    finally:
        rig.clean()


def test_a_keeper_that_never_answers_is_not_waited_for_longer_than_the_limit(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, FOREVER, shutdown_time_limit=0.0))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        _terminate(rig)
        assert _end(rig) == 0
        assert not alive(spawned.pid)
        assert [event["stage"] for event in rig.events("shutdown.stage")] == [
            "front",
            "apps",
            "keeper",
            "over",
        ]
        assert len(rig.events("shutdown.without-keeper")) == 1
    finally:
        rig.clean()


def test_supervisorctl_shutdown_ends_everything(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    assert rig.ctl("shutdown").stdout == "Shut down\n"
    assert _end(rig) == 0


def test_a_unix_socket_leaves_no_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, FOREVER)
    listen = (Listen(scheme="unix", path=str(tmp_path / "front.sock")),)
    rig = Rig(
        tmp_path, dataclasses.replace(settings, front=dataclasses.replace(settings.front, listen=listen))
    )
    try:
        rig.start(rig.portico_conf())
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(tmp_path / "front.sock"))
            visitor.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert visitor.recv(100).startswith(b"HTTP/1.1 200")
        assert rig.stop() == 0
        assert not (tmp_path / "front.sock").exists()
    finally:
        rig.clean()


def test_reload_and_hangup_restart_nothing(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    spawned = rig.start_app()
    before = rig.info("portico-front:0")["pid"]
    told = rig.ctl("reload")
    assert told.returncode == 1
    assert "app reload" in told.stdout
    assert rig.supervisord is not None
    rig.supervisord.send_signal(signal.SIGHUP)
    wait_for(lambda: rig.events("reload.refused"), rig)
    assert "no configuration file to read again" in (rig.run / "supervisord.log").read_text()
    assert rig.info("portico-front:0")["pid"] == before
    assert alive(spawned.pid)


def test_stock_supervisord_restarts_everything_on_hangup(rig: Rig) -> None:
    rig.start(rig.stock_conf(section("program:shop", command="/bin/cat")), stock=True)
    wait_for(lambda: rig.info("shop")["statename"] == "RUNNING", rig)
    before = rig.info("shop")["pid"]
    assert rig.supervisord is not None
    rig.supervisord.send_signal(signal.SIGHUP)
    wait_for(lambda: not alive(before), rig)


def test_waiting_for_a_stop_does_not_spin() -> None:
    """supervisord asks the function that it was answered with again and again: after 0 s means without a pause."""

    class Interface(SupervisorNamespaceRPCInterface):  # type: ignore[misc]
        def stopProcess(self, name: str, wait: bool = True) -> object:
            def onwait() -> object:
                return NOT_DONE_YET

            onwait.delay = 0  # type: ignore[attr-defined]
            return onwait

    interface = Interface(SimpleNamespace(process_groups={}))
    assert interface.stopProcess("shop").delay == 0
    commands.wrap(interface, lambda group: [], refuse_reload=False)
    assert interface.stopProcess("shop").delay == commands.WAIT_TURN
    assert isinstance(interface.stopProcess, MethodType)
