"""Exits: at once, with the raw status, and nothing of the group stays; nothing of ours survives supervisord."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import SignalReceiver
from supervisor.poller import PollPoller

from supervisor_conf.control import messages
from supervisor_conf.control.codec import encode
from supervisor_conf.plugin.exits import Waker, wrap_get_signal
from supervisor_conf.plugin.link import TURN
from tests.supervisor_conf.plugin.rig import FOREVER, Rig, alive, python, section, settings_of, wait_for

WITH_CHILD = python("""
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])
open('child.new', 'w').write(str(child.pid)); os.rename('child.new', 'child')
while True: signal.pause()
""")


def test_a_signal_ends_the_sleep_of_the_poller_only_with_the_waker() -> None:
    poller = PollPoller(SimpleNamespace(logger=None))
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    waker = None
    try:
        assert _poll_and_signal(poller, 0.05) == []
        waker = Waker()
        (fd,) = [fd for fd, one in asyncore.socket_map.items() if one is waker]
        poller.register_readable(fd)
        # The time is for a failure only: a poller that is not woken comes back with nothing.
        assert _poll_and_signal(poller, 20) == [fd]
        waker.handle_read_event()
        assert poller.poll(0) == ([], [])
        waker.poke()
        assert poller.poll(20)[0] == [fd]
        for _ in range(100_000):
            waker.poke()
    finally:
        signal.signal(signal.SIGUSR1, before)
        if waker is not None:
            waker.close()
    assert waker not in asyncore.socket_map.values()


def _poll_and_signal(poller: PollPoller, timeout: float) -> list[int]:
    """What poll says when SIGUSR1 comes while it waits: from a child, so that it cannot come before."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        stat = f"/proc/{parent}/stat"
        while Path(stat).read_text().rpartition(")")[2].split()[0] != "S":
            pass
        os.kill(parent, signal.SIGUSR1)
        os._exit(0)
    found: list[int] = poller.poll(timeout)[0]
    os.waitpid(child, 0)
    return found


def test_supervisord_is_woken_for_each_signal_and_never_told_of_a_hangup() -> None:
    receiver = SignalReceiver()
    refused: list[int] = []
    pokes: list[int] = []
    waker = SimpleNamespace(poke=lambda: pokes.append(1))
    reopened: list[int] = []
    taken = wrap_get_signal(receiver, waker, lambda: refused.append(1), lambda: reopened.append(1))
    receiver.receive(signal.SIGHUP, None)
    receiver.receive(signal.SIGTERM, None)
    assert taken() is None
    assert (len(refused), len(pokes)) == (1, 1)
    assert taken() == signal.SIGTERM
    assert len(pokes) == 2
    assert taken() is None
    assert len(pokes) == 2
    receiver.receive(signal.SIGUSR2, None)
    assert (taken(), reopened) == (signal.SIGUSR2, [1])


def test_a_crash_is_told_with_status_and_last_output(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, python("import sys; print('first'); sys.exit('last words')")))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        ended = rig.keeper_now().expect(messages.Exited)
        assert (ended.pid, os.WEXITSTATUS(ended.status), ended.administrative) == (spawned.pid, 1, False)
        assert sorted(ended.last_output.split("\n")) == ["", "first", "last words"]
        assert ended.first_output >= 0
        assert rig.info("shop")["statename"] == "EXITED"
    finally:
        rig.clean()


def test_a_signal_without_a_name_is_told_as_well(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    spawned = rig.start_app()
    number = signal.SIGRTMIN + 3
    os.kill(spawned.pid, number)
    assert os.WTERMSIG(rig.keeper_now().expect(messages.Exited).status) == number
    assert rig.events("app.exited")[0]["status"] == f"killed by signal {number}"


def test_what_is_left_of_the_group_is_killed_after_a_crash(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, WITH_CHILD))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        wait_for((tmp_path / "child").exists, rig)
        grandchild = int((tmp_path / "child").read_text())
        os.kill(spawned.pid, signal.SIGKILL)
        assert os.WTERMSIG(rig.keeper_now().expect(messages.Exited).status) == signal.SIGKILL
        wait_for(lambda: not alive(grandchild), rig)
    finally:
        rig.clean()


def test_stock_supervisord_leaves_the_grandchild(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, WITH_CHILD))
    (tmp_path / "app.py").write_text(WITH_CHILD[2])
    command = f"{sys.executable} {tmp_path}/app.py"
    group = {"stopasgroup": "true", "killasgroup": "true", "autorestart": "false"}
    grandchild = 0
    try:
        rig.start(
            rig.stock_conf(section("program:shop", command=command, directory=tmp_path, **group)), stock=True
        )
        wait_for((tmp_path / "child").exists, rig)
        grandchild = int((tmp_path / "child").read_text())
        wait_for(lambda: rig.info("shop")["statename"] == "RUNNING", rig)
        os.kill(rig.info("shop")["pid"], signal.SIGKILL)
        wait_for(lambda: rig.info("shop")["statename"] == "EXITED", rig)
        assert alive(grandchild)
    finally:
        rig.clean()
        if grandchild:
            os.kill(grandchild, signal.SIGKILL)


def test_apps_and_workers_die_with_supervisord_and_the_keeper_hears_of_it(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    spawned = rig.start_app()
    worker, keeper = rig.info("portico-front:0")["pid"], rig.info("portico-keeper")["pid"]
    assert rig.supervisord is not None
    rig.supervisord.kill()
    rig.supervisord.wait()
    # The keeper peer ends at the end of its link and by nothing else: it removes its socket last.
    wait_for(lambda: not any(map(alive, (spawned.pid, worker, keeper))), rig)
    assert not (rig.run / f"peer-{keeper}.sock").exists()


def test_children_of_stock_supervisord_survive_it(rig: Rig) -> None:
    (rig.run / "app.py").write_text(FOREVER[2])
    rig.start(
        rig.stock_conf(section("program:shop", command=f"{sys.executable} {rig.run}/app.py")), stock=True
    )
    pid = wait_for(lambda: rig.info("shop")["pid"], rig)
    assert rig.supervisord is not None
    rig.supervisord.kill()
    rig.supervisord.wait()
    try:
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_keeper_that_crashes_comes_back_and_is_told_everything(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    memory = rig.be_keeper()
    worker = rig.info("portico-front:0")["pid"]
    assert memory.kept == ()
    spawned = rig.start_app()
    rig.keeper_now().say(
        messages.Keep("a", "1"),
        messages.Keep("b", "2"),
        messages.Keep("a", ""),
        messages.AskOutput(1, "shop", 0),
    )
    rig.keeper_now().expect(messages.Output)
    old = rig.info("portico-keeper")["pid"]
    os.kill(old, signal.SIGKILL)
    new = wait_for(lambda: rig.events("keeper.spawned")[1:], rig)[0]["pid"]
    again = rig.be_keeper(new)
    assert again.instance == memory.instance
    assert again.running == (spawned,)
    assert again.kept == (("b", "2"),)
    assert again.workers == (messages.WorkerSpawned(process="portico-front:0", pid=worker),)
    assert (again.stopped, again.ending) == ((), "")
    assert alive(spawned.pid)


def test_what_a_keeper_said_last_is_heard_though_it_has_ended(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    old = rig.info("portico-keeper")["pid"]
    assert rig.supervisord is not None
    rig.supervisord.send_signal(signal.SIGSTOP)
    # Longer than what supervisord reads in a turn: the rest is there when it has reaped the keeper.
    text = "x" * (TURN + TURN // 2)
    frame = encode(messages.Keep("long", text), messages.PLUGIN_LINK_FRAME_LIMIT)
    rig.keeper_now().say_bytes(frame)
    relayed = rig.run / f"relayed-{old}"
    wait_for(lambda: relayed.exists() and relayed.read_text() == str(len(frame)), rig)
    os.kill(old, signal.SIGKILL)
    rig.supervisord.send_signal(signal.SIGCONT)
    new = wait_for(lambda: rig.events("keeper.spawned")[1:], rig)[0]["pid"]
    assert rig.be_keeper(new).kept == (("long", text),)


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n" * 100, b"\xff" * 8, b"\0\0\0\2{}", b'\0\0\0\x18{"v":1,"kind":"Start"}   '],
)
def test_a_keeper_that_talks_garbage_is_replaced_and_costs_nothing(rig: Rig, garbage: bytes) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    spawned = rig.start_app()
    rig.keeper_now().say_bytes(garbage)
    new = wait_for(lambda: rig.events("keeper.spawned")[1:], rig)[0]["pid"]
    assert rig.be_keeper(new).running == (spawned,)
    assert alive(spawned.pid)
    assert len(rig.events("keeper.broken")) == 1


def test_a_keeper_that_does_not_read_is_replaced(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        settings_of(tmp_path, python("import signal; print('x' * 16384, flush=True); signal.pause()")),
    )
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        question = messages.AskOutput(generation=1, app="shop", slot=0)
        wait_for(lambda: len(_ask(rig, question).text) > 16000, rig)
        # At once, and no answer is read: the peer keeper then stands still in the middle of one.
        rig.keeper_now().say(*[question] * 800)
        new = wait_for(lambda: rig.events("keeper.spawned")[1:], rig)[0]["pid"]
        assert rig.be_keeper(new).running == (spawned,)
    finally:
        rig.clean()


def _ask(rig: Rig, question: messages.AskOutput) -> messages.Output:
    rig.keeper_now().say(question)
    return rig.keeper_now().expect(messages.Output)
