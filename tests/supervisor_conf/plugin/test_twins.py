"""Two processes of an app in one place: their names, and that nothing of it is left afterwards."""

from __future__ import annotations

import os
import signal

from supervisor_conf.control import messages
from tests.supervisor_conf.plugin.rig import Rig, alive, wait_for


def _names(rig: Rig) -> dict[str, int]:
    with rig.rpc() as rpc:
        return {
            one["name"]: one["pid"] for one in rpc.supervisor.getAllProcessInfo() if one["group"] == "shop"
        }


def _started(rig: Rig, slot: int) -> messages.Spawned:
    rig.keeper_now().say(messages.Start(app="shop", slot=slot))
    return rig.keeper_now().expect(messages.Spawned, slot=slot)


def _pair(rig: Rig) -> tuple[messages.Spawned, messages.Spawned]:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    return _started(rig, 0), _started(rig, 1)


def _promote(rig: Rig, one: messages.Spawned) -> None:
    rig.keeper_now().say(messages.Promote(app="shop", slot=one.slot, generation=one.generation))


def _end(rig: Rig, one: messages.Spawned, number: int = signal.SIGTERM) -> messages.Exited:
    order = messages.Signal(app="shop", slot=one.slot, generation=one.generation, signal=number)
    rig.keeper_now().say(order)
    return rig.keeper_now().expect(messages.Exited, generation=one.generation)


def test_the_new_one_has_a_name_of_its_own_until_it_is_promoted(rig: Rig) -> None:
    old, new = _pair(rig)
    assert (old.generation, new.generation) == (1, 2)
    assert len({old.port, new.port}) == len({old.token, new.token}) == len({old.nonce, new.nonce}) == 2
    assert _names(rig) == {"shop": old.pid, "shop-new": new.pid}
    _promote(rig, new)
    wait_for(lambda: _names(rig) == {"shop": new.pid, f"shop-draining-{old.pid}": old.pid}, rig)
    assert rig.ctl("reread").stdout == "No config updates to processes\n"
    assert _end(rig, old).slot == 0
    wait_for(lambda: _names(rig) == {"shop": new.pid}, rig)
    third = _started(rig, 0)
    assert _names(rig) == {"shop": new.pid, "shop-new": third.pid}


def test_it_is_promoted_by_the_death_of_the_other(rig: Rig) -> None:
    old, new = _pair(rig)
    os.kill(old.pid, signal.SIGKILL)
    assert rig.keeper_now().expect(messages.Exited).slot == 0
    wait_for(lambda: _names(rig) == {"shop": new.pid}, rig)
    assert rig.info("shop")["statename"] == "RUNNING"


def test_one_that_dies_before_leaves_the_other_as_it_was(rig: Rig) -> None:
    old, new = _pair(rig)
    os.kill(new.pid, signal.SIGKILL)
    assert rig.keeper_now().expect(messages.Exited).slot == 1
    wait_for(lambda: _names(rig) == {"shop": old.pid}, rig)
    again = _started(rig, 1)
    assert _names(rig) == {"shop": old.pid, "shop-new": again.pid}


def test_the_slot_of_a_start_is_the_name_that_is_free(rig: Rig) -> None:
    old, new = _pair(rig)
    _promote(rig, new)
    _end(rig, old)
    _end(rig, new)
    wait_for(lambda: _names(rig) == {"shop": 0}, rig)
    third = _started(rig, 0)
    assert _names(rig) == {"shop": third.pid}
    assert rig.ctl("stop", "shop").returncode == 0
    assert rig.keeper_now().expect(messages.AdminStopped).slot == 0


def test_a_slot_that_is_taken_is_not_started_again(rig: Rig) -> None:
    _, new = _pair(rig)
    rig.keeper_now().say(messages.Start(app="shop", slot=1))
    assert f"pid {new.pid}" in rig.keeper_now().expect(messages.SpawnFailed, slot=1).sentence


def test_supervisorctl_stops_the_one_that_serves_and_group_words_both(rig: Rig) -> None:
    old, new = _pair(rig)
    _promote(rig, new)
    wait_for(lambda: f"shop-draining-{old.pid}" in _names(rig), rig)
    assert rig.ctl("stop", "shop:*").returncode == 0
    wait_for(lambda: _names(rig) == {"shop": 0}, rig)
    assert not alive(old.pid)
    assert not alive(new.pid)


def test_update_takes_both_away_with_their_group(rig: Rig) -> None:
    old, new = _pair(rig)
    conf = rig.run / "supervisord.conf"
    conf.write_text(conf.read_text().replace("[program:shop]", "[program:other]"))
    assert "shop: removed process group" in rig.ctl("update").stdout
    assert not alive(old.pid)
    assert not alive(new.pid)


def test_a_new_keeper_is_told_of_both(rig: Rig) -> None:
    old, new = _pair(rig)
    _promote(rig, new)
    wait_for(lambda: f"shop-draining-{old.pid}" in _names(rig), rig)
    keeper = rig.info("portico-keeper")["pid"]
    os.kill(keeper, signal.SIGKILL)
    memory = rig.be_keeper(
        wait_for(lambda: (pid := rig.info("portico-keeper")["pid"]) != keeper and pid, rig)
    )
    running = {one.process: (one.slot, one.pid) for one in memory.running}
    assert running == {"shop": (1, new.pid), f"shop:shop-draining-{old.pid}": (0, old.pid)}


def test_both_are_stopped_at_the_end(rig: Rig) -> None:
    old, new = _pair(rig)
    assert rig.supervisord is not None
    rig.supervisord.terminate()
    assert rig.keeper_now().expect(messages.Ending, stage="apps")
    for one in (old, new):
        _end(rig, one)
    rig.keeper_now().say(messages.AppsStopped())
    assert rig.supervisord.wait(20) == 0
