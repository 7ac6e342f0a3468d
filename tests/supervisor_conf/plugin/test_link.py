"""supervisord's end of the link to a keeper that does not do its part."""

from __future__ import annotations

import os

from supervisor.options import ServerOptions
from supervisor.poller import Poller

from supervisor_conf.control import messages
from supervisor_conf.plugin.link import UNSENT, Link, pair


def test_a_keeper_that_does_not_read_is_broken_and_costs_no_more_memory() -> None:
    ours, theirs = pair()
    problems: list[str] = []
    link = Link(ours, lambda order: None, problems.append, Poller(ServerOptions()))
    ours.close()
    message = messages.Output(generation=1, text="x" * 60_000)
    for _ in range(UNSENT // 60_000 + 20):
        link.send(message)
        assert len(link._unsent) <= UNSENT
    assert problems == ["The keeper does not read what it is told."]
    link.close()
    os.close(theirs)
