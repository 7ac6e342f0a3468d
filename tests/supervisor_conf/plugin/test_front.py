"""Workers: they alone have the sockets, which outlive every worker; overlapped replacement; the announcement."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from supervisor_conf.control import messages
from tests.supervisor_conf.plugin.rig import TIMEOUT, Rig, alive, section, wait_for


def _visit(address: tuple[str, int], target: str = "/") -> int:
    """The pid that answered."""
    with socket.create_connection(address, TIMEOUT) as visitor:
        visitor.sendall(f"GET {target} HTTP/1.1\r\n\r\n".encode())
        answer = b""
        while data := visitor.recv(1000):
            answer += data
    return int(answer.rpartition(b"\r\n")[2])


def _worker(rig: Rig, name: str = "portico-front:0") -> int:
    pid = int(wait_for(lambda: rig.info(name)["pid"], rig))
    wait_for((rig.run / f"worker-{pid}").exists, rig)
    return pid


def _names(rig: Rig) -> dict[str, int]:
    with rig.rpc() as rpc:
        return {
            one["name"]: one["pid"]
            for one in rpc.supervisor.getAllProcessInfo()
            if one["group"] == "portico-front"
        }


def test_a_worker_inherits_sockets_settings_and_log(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    memory = rig.be_keeper()
    pid = _worker(rig)
    assert {message.pid for message in memory.workers} <= {pid}
    # The last number is the listing's own descriptor.
    assert (rig.run / f"worker-{pid}").read_text().split()[:6] == ["0", "1", "2", "3", "4", "5"]
    environ = dict(
        pair.split("=", 1) for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in pair
    )
    assert environ["LISTEN_FDS"] == "1"
    assert (environ["PORTICO_SETTINGS_FD"], environ["PORTICO_LOG_FD"]) == ("4", "5")
    told = Path(f"/proc/{pid}/fd/4").read_text()
    assert '"name": "shop"' in told
    assert "signal.pause" not in told
    assert os.path.samefile(f"/proc/{pid}/fd/5", rig.run / "portico.log")


def test_the_keeper_is_told_the_whole_settings(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    pid = rig.info("portico-keeper")["pid"]
    assert "signal.pause" in Path(f"/proc/{pid}/fd/4").read_text()
    assert os.path.samefile(f"/proc/{pid}/fd/5", rig.run / "portico.log")


def test_visitors_wait_while_no_worker_is_there(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=2))
    address = rig.url()
    _worker(rig)
    assert rig.ctl("stop", "portico-front:*").returncode == 0
    with socket.create_connection(address, TIMEOUT) as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert rig.ctl("start", "portico-front:*").returncode == 0
        assert visitor.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_fcgi_program_of_stock_supervisord_refuses_them(rig: Rig) -> None:
    port = _free_port()
    (rig.run / "worker.py").write_text("import signal\nsignal.pause()\n")
    command = f"{sys.executable} {rig.run}/worker.py"
    rig.start(
        rig.stock_conf(section("fcgi-program:x", command=command, socket=f"tcp://127.0.0.1:{port}")),
        stock=True,
    )
    socket.create_connection(("127.0.0.1", port), TIMEOUT).close()
    rig.ctl("stop", "x:*")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), TIMEOUT)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_restart_of_all_workers_under_load_refuses_and_resets_nobody(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=2))
    address = rig.url()
    _worker(rig)
    problems: list[OSError] = []
    answered: set[int] = set()
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            try:
                answered.add(_visit(address))
            except OSError as error:
                problems.append(error)

    clients = [threading.Thread(target=visit) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(2):
            wait_for(lambda: len(answered) >= 1, rig)
            answered.clear()
            rig.ctl("restart", "portico-front:*")
        wait_for(lambda: len(answered) >= 1, rig)
    finally:
        over.set()
        for client in clients:
            client.join()
    assert problems == []


def test_a_killed_worker_is_replaced(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    old = _worker(rig)
    os.kill(old, signal.SIGKILL)
    assert rig.keeper_now().expect(messages.WorkerExited).pid == old
    new = rig.keeper_now().expect(messages.WorkerSpawned).pid
    assert _visit(rig.url()) == new


def test_recycling_lets_long_requests_finish_and_nobody_wait(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    old, address = _worker(rig), rig.url()
    slow = socket.create_connection(address, TIMEOUT)
    slow.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
    wait_for((rig.run / f"slow-{old}").exists, rig)
    rig.keeper_now().say(messages.RecycleFront())
    spawned = rig.keeper_now().expect(messages.WorkerSpawned, process="portico-front:0-new")
    assert _names(rig) == {"0": old, "0-new": spawned.pid}
    rig.keeper_now().say(messages.RecycleFront())
    assert "already" in rig.keeper_now().expect(messages.FrontRecycled).problem
    rig.keeper_now().say(messages.FrontReady(pid=spawned.pid))
    assert rig.keeper_now().expect(messages.WorkerSpawned, process="portico-front:0").pid == spawned.pid
    wait_for(lambda: _names(rig) == {"0": spawned.pid, f"0-draining-{old}": old}, rig)
    assert rig.info(f"portico-front:0-draining-{old}")["statename"] == "STOPPING"
    assert _visit(address) == spawned.pid
    assert rig.ctl("reread").stdout == "No config updates to processes\n"
    (rig.run / "go").touch()
    assert slow.recv(1000).endswith(str(old).encode())
    slow.close()
    assert rig.keeper_now().expect(messages.WorkerExited).pid == old
    assert rig.keeper_now().expect(messages.FrontRecycled).problem == ""
    assert _names(rig) == {"0": spawned.pid}
    assert (
        rig.ctl("restart", "portico-front:0").stdout == "portico-front:0: stopped\nportico-front:0: started\n"
    )


def test_recycling_begins_one_after_the_other_and_waits_for_no_drain(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=2))
    rig.be_keeper()
    before = {_worker(rig, "portico-front:0"), _worker(rig, "portico-front:1")}
    slow = [socket.create_connection(rig.url(), TIMEOUT) for _ in range(2)]
    for visitor in slow:
        visitor.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
    wait_for(lambda: list(rig.run.glob("slow-*")), rig)  # one of the two has one of them, or both
    rig.keeper_now().say(messages.RecycleFront())
    after = set()
    for name in ("0", "1"):
        spawned = rig.keeper_now().expect(messages.WorkerSpawned, process=f"portico-front:{name}-new")
        assert [one for one in _names(rig) if one.endswith("-new")] == [f"{name}-new"]
        rig.keeper_now().say(messages.FrontReady(pid=spawned.pid))
        after.add(spawned.pid)
    wait_for(lambda: {"0", "1"} == {name for name, pid in _names(rig).items() if pid in after}, rig)
    assert [name for name in _names(rig) if "-draining-" in name]
    assert not rig.events("front.recycled")
    (rig.run / "go").touch()
    for visitor in slow:
        assert int(visitor.recv(1000).rpartition(b"\r\n")[2]) in before | after
        visitor.close()
    assert rig.keeper_now().expect(messages.FrontRecycled).problem == ""
    assert set(_names(rig).values()) == after


def test_a_new_worker_that_fails_leaves_the_old_one(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    old = _worker(rig)
    rig.keeper_now().say(messages.RecycleFront())
    spawned = rig.keeper_now().expect(messages.WorkerSpawned, process="portico-front:0-new")
    os.kill(spawned.pid, signal.SIGKILL)
    problem = rig.keeper_now().expect(messages.FrontRecycled).problem
    assert problem == "The new worker portico-front:0-new ended before it was ready."
    wait_for(lambda: _names(rig) == {"0": old}, rig)
    assert _visit(rig.url()) == old
    rig.keeper_now().say(messages.RecycleFront())
    rig.keeper_now().expect(messages.WorkerSpawned, process="portico-front:0-new")


def test_a_new_keeper_knows_workers_by_their_new_names(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    _worker(rig)
    rig.keeper_now().say(messages.RecycleFront())
    spawned = rig.keeper_now().expect(messages.WorkerSpawned, process="portico-front:0-new")
    rig.keeper_now().say(messages.FrontReady(pid=spawned.pid))
    rig.keeper_now().expect(messages.FrontRecycled)
    os.kill(rig.info("portico-keeper")["pid"], signal.SIGKILL)
    new = wait_for(lambda: rig.events("keeper.spawned")[1:], rig)[0]["pid"]
    assert rig.be_keeper(new).workers == (messages.WorkerSpawned(process="portico-front:0", pid=spawned.pid),)


def test_the_url_is_told_once_the_front_is_ready_with_the_real_port(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    host, port = rig.url()
    terminal = rig.run / "terminal"
    assert terminal.read_text() == ""
    pid = _worker(rig)
    ready = messages.FrontReady(pid=pid)
    rig.keeper_now().say(ready, ready, messages.Say("shop is starting…"))
    wait_for(lambda: terminal.read_text() == f"Portico serves http://{host}:{port}\nshop is starting…\n", rig)


def test_a_worker_that_cannot_start_is_told_at_the_terminal(rig: Rig) -> None:
    conf = rig.portico_conf(keeper=False).replace("peer_worker.py", "no_such_worker.py")
    rig.start(conf)
    wait_for(lambda: "portico-front:0 cannot start: " in (rig.run / "terminal").read_text(), rig)
    assert "No such file" in (rig.run / "terminal").read_text()
    with contextlib.suppress(ProcessLookupError):
        assert rig.stop() == 0


def test_somebody_elses_programs_go_their_own_way(rig: Rig) -> None:
    rig.extra = section("program:theirs", command="/bin/cat", serverurl="http://theirs")
    rig.start(rig.portico_conf())
    rig.be_keeper()
    theirs = wait_for(lambda: rig.info("theirs")["pid"], rig)
    environ = Path(f"/proc/{theirs}/environ").read_text()
    assert "SUPERVISOR_PROCESS_NAME=theirs" in environ
    assert "LISTEN_FDS" not in environ
    listening = {os.readlink(one) for one in Path(f"/proc/{_worker(rig)}/fd").iterdir()}
    kept = {os.readlink(one) for one in Path(f"/proc/{theirs}/fd").iterdir()}
    assert not {one for one in listening & kept if one.startswith("socket:")}
    assert rig.stop() == 0
    assert not alive(theirs)
