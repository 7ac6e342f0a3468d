"""Starts: fresh generation, port, token; what the child inherits; supervisorctl's truth about it."""

from __future__ import annotations

import os

from supervisor_conf.control import messages
from tests.supervisor_conf.plugin.rig import Rig


def test_a_start_is_a_fresh_generation_port_and_token(rig: Rig) -> None:
    rig.start(rig.portico_conf())
    memory = rig.be_keeper()
    assert memory.running == ()
    first = rig.start_app()
    assert (first.app, first.process, first.slot, first.generation, first.asked) == (
        "shop",
        "shop",
        0,
        1,
        True,
    )
    assert rig.info("shop")["pid"] == first.pid
    assert rig.keeper is not None
    rig.keeper.say(messages.Signal(app="shop", slot=0, generation=1, signal=15))
    ended = rig.keeper.expect(messages.Exited)
    assert (ended.pid, ended.generation, ended.administrative) == (first.pid, 1, False)
    assert os.WTERMSIG(ended.status) == 15
    second = rig.start_app()
    assert second.generation == 2
    assert second.port != first.port
    assert second.token != first.token
    assert second.nonce != first.nonce
    assert rig.stop() == 0
