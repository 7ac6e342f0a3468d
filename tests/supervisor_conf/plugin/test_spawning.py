"""Starts: fresh generation, port, token; what the child inherits; what supervisorctl says of it."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import xmlrpc.client
from pathlib import Path

import pytest
from supervisor.xmlrpc import Faults

from supervisor_conf.control import messages
from supervisor_conf.plugin.redaction import MASK
from tests.supervisor_conf.plugin.rig import (
    FOREVER,
    Rig,
    alive,
    children_of,
    python,
    section,
    settings_of,
    wait_for,
)

SHOW = python("""
import json, os, signal, sys
fds = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))
status = open('/proc/self/status').read()
shown = {'fds': fds[:-1], 'environ': dict(os.environ), 'pgid': os.getpgid(0), 'pid': os.getpid(),
         'blocked': [l for l in status.splitlines() if l.startswith('SigBlk')]}
open('shown', 'w').write(json.dumps(shown)); os.rename('shown', 'shown.json')
while True: signal.pause()
""")


def _start_and_stop(rig: Rig) -> None:
    """Both in one turn of supervisord's loop: the signal follows the fork at once."""
    with rig.rpc() as rpc:
        rpc.system.multicall(
            [
                {"methodName": "supervisor.startProcess", "params": ["shop", False]},
                {"methodName": "supervisor.stopProcess", "params": ["shop", False]},
            ]
        )


def test_a_start_is_a_fresh_generation_port_and_token(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    assert rig.be_keeper().running == ()
    first = rig.start_app()
    assert (first.app, first.process, first.slot, first.generation, first.asked) == (
        "shop",
        "shop",
        0,
        1,
        True,
    )
    assert rig.info("shop")["pid"] == first.pid
    assert 10_000 <= first.port <= 32_767
    assert rig.keeper is not None
    rig.keeper.say(messages.Signal(app="shop", slot=0, generation=1, signal=15))
    ended = rig.keeper.expect(messages.Exited)
    assert (ended.pid, ended.generation, ended.administrative) == (first.pid, 1, False)
    assert os.WTERMSIG(ended.status) == 15
    second = rig.start_app()
    assert second.generation == 2
    assert second.port != first.port
    assert second.token != first.token
    assert len(set(second.token)) > 8  # of 64 digits by chance
    assert second.nonce != first.nonce


def test_a_generation_that_has_ended_is_not_signalled(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    first = rig.start_app()
    assert rig.keeper is not None
    rig.keeper.say(messages.Signal(app="shop", slot=0, generation=first.generation + 1, signal=9))
    rig.keeper.say(messages.AskOutput(generation=first.generation, app="shop", slot=0))
    rig.keeper.expect(messages.Output)
    assert rig.info("shop")["statename"] in ("STARTING", "RUNNING")
    assert alive(first.pid)


def test_a_second_start_of_a_slot_is_refused(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    first = rig.start_app()
    assert rig.keeper is not None
    rig.keeper.say(messages.Start(app="shop", slot=0), messages.Start(app="nosuch", slot=0))
    assert f"still runs (pid {first.pid})" in rig.keeper.expect(messages.SpawnFailed, app="shop").sentence
    assert "no process" in rig.keeper.expect(messages.SpawnFailed, app="nosuch").sentence
    assert rig.info("shop")["pid"] == first.pid


def test_a_configured_port_is_honoured(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, FOREVER, port=12345))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        assert rig.start_app().port == 12345
    finally:
        rig.clean()


def test_an_app_inherits_its_environment_and_nothing_else(tmp_path: Path) -> None:
    import json

    rig = Rig(tmp_path, settings_of(tmp_path, SHOW, environment=(("A_SECRET", "hunter2"),), path="/shop"))
    try:
        with open(tmp_path / "of-the-starter", "w") as file:
            # As a careless starter does it: an inheritable descriptor, far above minfds.
            high = fcntl.fcntl(file, fcntl.F_DUPFD, 3000)
            rig.start(rig.portico_conf(), pass_fds=(high,))
            os.close(high)
        rig.be_keeper()
        spawned = rig.start_app()
        wait_for((tmp_path / "shown.json").exists, rig)
        shown = json.loads((tmp_path / "shown.json").read_text())
        assert shown["fds"] == [0, 1, 2]
        assert shown["pgid"] == shown["pid"] == spawned.pid
        assert [line.split()[1] for line in shown["blocked"]] == ["0" * 16]
        environ = shown["environ"]
        assert environ["PORT"] == str(spawned.port)
        assert environ["ASPNETCORE_TOKEN"] == spawned.token
        assert environ["PORTICO_NONCE"] == spawned.nonce
        assert environ["PORTICO_PID"] == str(spawned.pid)
        assert environ["ASPNETCORE_APPL_PATH"] == "/shop"
        assert environ["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "shim")
        assert environ["A_SECRET"] == "hunter2"
        assert not [
            name for name in environ if name.startswith(("SUPERVISOR", "LISTEN_", "PORTICO_SETTINGS"))
        ]
    finally:
        rig.clean()


def test_token_and_command_reach_no_file_no_argv_and_no_rpc_answer(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    spawned = rig.start_app()
    wait_for(lambda: b"signal.pause" in Path(f"/proc/{spawned.pid}/cmdline").read_bytes(), rig)
    with rig.rpc() as rpc:
        answers = repr([rpc.supervisor.getAllProcessInfo(), rpc.supervisor.getAllConfigInfo()])
        assert sorted(name for name in rpc.system.listMethods() if name.startswith("portico")) == [
            "portico.getAPIVersion"
        ]
    assert rig.supervisord is not None
    places = [answers]
    for pid in (rig.supervisord.pid, *children_of(rig.supervisord.pid)):
        places.append(Path(f"/proc/{pid}/cmdline").read_text())
    places += [file.read_text() for file in rig.run.iterdir() if file.is_file()]
    assert spawned.token not in "\n".join(places)
    assert "signal.pause" not in answers


def test_sigterm_just_after_the_fork_ends_the_app(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    assert rig.keeper is not None
    for _ in range(20):
        _start_and_stop(rig)
        spawned = rig.keeper.expect(messages.Spawned)
        ended = rig.keeper.expect(messages.Exited)
        assert (ended.pid, os.WTERMSIG(ended.status)) == (spawned.pid, 15)


def test_stock_supervisord_swallows_a_sigterm_just_after_the_fork(rig: Rig) -> None:
    program = section(
        "program:shop", command=f"{sys.executable} {rig.run}/app.py", autostart="false", stopwaitsecs=60
    )
    (rig.run / "app.py").write_text(FOREVER[2])
    # A child of stock supervisord closes minfds descriptors one by one: the more, the longer it is deaf.
    conf = rig.stock_conf(program).replace("[supervisord]", "[supervisord]\nminfds = 16000")
    rig.start(conf, stock=True)
    _start_and_stop(rig)
    wait_for(lambda: "up" in _stdout(rig), rig)
    assert rig.info("shop")["statename"] == "STOPPING"
    assert alive(rig.info("shop")["pid"])


def _stdout(rig: Rig) -> str:
    with rig.rpc() as rpc:
        return str(rpc.supervisor.readProcessStdoutLog("shop", 0, 1000))


def test_a_start_is_no_difference_for_reread(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    rig.start_app()
    assert rig.ctl("reread").stdout == "No config updates to processes\n"


def test_stock_supervisord_takes_an_edited_environment_for_a_change(rig: Rig) -> None:
    program = section("program:shop", command="/bin/cat")
    naive = section(
        "rpcinterface:naive", **{"supervisor.rpcinterface_factory": f"{__package__}.naive_plugin:make"}
    )
    rig.start(rig.stock_conf(program, naive), stock=True)
    wait_for(lambda: rig.info("shop")["statename"] in ("STARTING", "RUNNING"), rig)
    assert rig.ctl("reread").stdout == "shop: changed\n"


def test_supervisorctl_stop_is_administrative_and_start_lifts_it(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    assert rig.keeper is not None
    first = rig.start_app()
    assert rig.ctl("pid", "shop").stdout == f"{first.pid}\n"
    assert rig.ctl("stop", "shop").stdout == "shop: stopped\n"
    assert rig.keeper.expect(messages.AdminStopped) == messages.AdminStopped(app="shop", slot=0)
    assert rig.keeper.expect(messages.Exited).administrative
    assert rig.ctl("stop", "shop").stdout == "shop: ERROR (not running)\n"
    rig.keeper.expect(messages.AdminStopped)
    os.kill(rig.info("portico-keeper")["pid"], 9)
    rig.keeper.close()
    rig.keeper = None
    wait_for(lambda: len(rig.events("keeper.spawned")) == 2, rig)
    assert rig.be_keeper().stopped == ("shop",)
    assert rig.ctl("start", "shop").stdout == "shop: started\n"
    second = rig.keeper_now().expect(messages.Spawned)
    assert (second.asked, second.generation) == (False, 2)
    assert rig.info("shop")["pid"] == second.pid
    rig.keeper_now().say(messages.AdminStop(app="shop", on=True))
    rig.ctl("restart", "shop")
    rig.keeper_now().expect(messages.Spawned, generation=3)
    os.kill(rig.info("portico-keeper")["pid"], 9)
    third = wait_for(lambda: rig.events("keeper.spawned")[2:], rig)[0]["pid"]
    assert rig.be_keeper(third).stopped == ()


def test_supervisorctl_start_is_refused_with_the_sentence(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    rig.be_keeper()
    sentence = "shop is offline: app_offline.htm is in its folder."
    rig.keeper_now().say(
        messages.RefuseStart(app="shop", sentence=sentence), messages.AskOutput(0, "shop", 0)
    )
    rig.keeper_now().expect(messages.Output)
    with rig.rpc() as rpc, pytest.raises(xmlrpc.client.Fault, match=re.escape(sentence)) as refused:
        rpc.supervisor.startProcess("shop")
    assert refused.value.faultCode == Faults.SPAWN_ERROR
    told = rig.ctl("start", "shop")
    assert (told.stdout, told.returncode) == ("shop: ERROR (spawn error)\n", 7)
    assert rig.ctl("start", "shop:*").stdout == "shop: ERROR (spawn error)\n"
    assert rig.info("shop")["spawnerr"] == sentence
    rig.keeper_now().say(messages.RefuseStart(app="shop", sentence=""), messages.AskOutput(0, "shop", 0))
    rig.keeper_now().expect(messages.Output)
    assert rig.ctl("start", "shop").stdout == "shop: started\n"


def test_a_command_that_is_not_there_is_told_in_the_output(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path, settings_of(tmp_path, ["nosuchcommand"], stdout_log=str(tmp_path / "logs/shop/stdout"))
    )
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        ended = rig.keeper_now().expect(messages.Exited)
        assert os.WEXITSTATUS(ended.status) == 127
        assert "nosuchcommand was not found on the app's PATH" in ended.last_output
        assert Path(spawned.log).read_text() == ended.last_output
        assert rig.ctl("tail", "shop").stdout == ended.last_output + "\n"
    finally:
        rig.clean()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_an_app_of_another_user_runs_and_dies_with_supervisord(tmp_path: Path) -> None:
    command = ["/usr/bin/python3", "-c", "import os, time; print(os.getuid(), flush=True); time.sleep(600)"]
    rig = Rig(tmp_path, settings_of(tmp_path, command, user="nobody", directory=Path("/")))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        wait_for(lambda: _output(rig, spawned).text == "65534\n", rig)
        assert rig.supervisord is not None
        rig.supervisord.kill()
        rig.supervisord.wait()
        wait_for(lambda: not alive(spawned.pid), rig)
    finally:
        rig.clean()


DEBIAN_PYTHON = Path("/usr/bin/python3.11")


@pytest.mark.skipif(os.geteuid() != 0 or not DEBIAN_PYTHON.exists(), reason="root becomes nobody to run it")
def test_an_ordinary_user_runs_everything(ordinary_commands: Path) -> None:
    import tempfile

    # pytest's own folders are closed to other users, as tox's and an interpreter under /root are.
    (packages,) = ordinary_commands.parent.glob("lib/python3*/site-packages")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        run.chmod(0o755)
        forever = [str(DEBIAN_PYTHON), *FOREVER[1:]]
        rig = Rig(run, settings_of(run, forever, stdout_log=str(run / "logs/shop/stdout"), user="root"))
        rig.python = str(DEBIAN_PYTHON)
        os.chown(run, 65534, 65534)
        try:
            rig.start(
                rig.portico_conf(),
                pythonpath=str(packages),
                user=65534,
                group=65534,
                extra_groups=(),
            )
            rig.be_keeper()
            spawned = rig.start_app()
            wait_for(lambda: _output(rig, spawned).text == "up\n", rig)
            assert rig.supervisord is not None
            for pid in (spawned.pid, *children_of(rig.supervisord.pid)):
                assert os.stat(f"/proc/{pid}").st_uid == 65534
            assert Path(spawned.log).read_text() == "up\n"
            rig.supervisord.kill()
            rig.supervisord.wait()
            wait_for(lambda: not alive(spawned.pid), rig)
        finally:
            rig.clean()


def _output(rig: Rig, spawned: messages.Spawned) -> messages.Output:
    rig.keeper_now().say(
        messages.AskOutput(generation=spawned.generation, app=spawned.app, slot=spawned.slot)
    )
    return rig.keeper_now().expect(messages.Output)


def test_each_start_writes_a_log_of_its_own_with_the_bytes_as_they_are(tmp_path: Path) -> None:
    """But for the token, which is in no file."""
    source = (
        r"import os, signal; os.write(1, b'\x1b[1mbytes \xff\x00\n'); os.write(2, b'err'); "
        r"os.write(1, os.environb[b'ASPNETCORE_TOKEN']); signal.pause()"
    )
    rig = Rig(tmp_path, settings_of(tmp_path, python(source), stdout_log=str(tmp_path / "logs/shop/stdout")))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        first = rig.start_app()
        assert re.fullmatch(rf"stdout_\d{{14}}_{first.pid}\.log", Path(first.log).name)
        written = b"\x1b[1mbytes \xff\x00\nerr" + MASK
        wait_for(lambda: Path(first.log).read_bytes() == written, rig)
        output = _output(rig, first)
        assert output.text == written.decode("utf-8", "replace")
        assert output.first_after >= 0
        rig.keeper_now().say(messages.Signal(app="shop", slot=0, generation=1, signal=9))
        assert rig.keeper_now().expect(messages.Exited).last_output == output.text
        second = rig.start_app()
        assert second.log != first.log
        assert _output(rig, first).text == ""
        assert Path(first.log).read_bytes() == written
    finally:
        rig.clean()


def test_a_log_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    rig = Rig(tmp_path, settings_of(tmp_path, FOREVER, stdout_log=str(tmp_path / "file/stdout")))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        assert spawned.log == ""
        wait_for(lambda: _output(rig, spawned).text == "up\n", rig)
        (warning,) = rig.events("app.log-problem")
        assert "cannot be created: " in warning["problem"]
    finally:
        rig.clean()


def test_output_to_the_terminal(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings_of(tmp_path, FOREVER, stdout_log="-"))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        rig.start_app()
        wait_for(lambda: (tmp_path / "terminal").read_bytes() == b"up\n", rig)
    finally:
        rig.clean()
