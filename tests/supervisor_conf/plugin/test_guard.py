"""What supervisord calls of ours never ends supervisord; an unsuitable supervisor is a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from supervisor import events, options, process
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.xmlrpc import Faults, RPCError

from supervisor_conf.plugin.guard import Guard, Unsuitable, self_test


class _Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def critical(self, line: str) -> None:
        self.lines.append((line, {}))


def test_an_exception_is_logged_twice_and_goes_no_further() -> None:
    log, logger = _Log(), _Log()

    def callback(event: object) -> None:
        raise ValueError("broken")

    assert Guard(log, logger).wrap(callback)(None) is None
    ((event, fields),) = log.lines
    assert (event, str(fields["exc_info"])) == ("plugin.bug", "broken")
    ((line, _),) = logger.lines
    assert "ValueError in" in line
    assert "broken" in line


@pytest.mark.parametrize("said", [ExitNow(), RPCError(Faults.FAILED, "no")])
def test_what_supervisord_wants_to_be_told_passes(said: Exception) -> None:
    def callback() -> None:
        raise said

    with pytest.raises(type(said)):
        Guard(_Log(), _Log()).wrap(callback)()


def test_an_event_callback_that_raises_reaches_stock_supervisord_and_not_ours() -> None:
    def callback(event: object) -> None:
        raise ValueError

    for function, expected in ((callback, ValueError), (Guard(_Log(), _Log()).wrap(callback), None)):
        events.subscribe(events.SupervisorRunningEvent, function)
        try:
            if expected is None:
                events.notify(events.SupervisorRunningEvent())
            else:
                with pytest.raises(expected):
                    events.notify(events.SupervisorRunningEvent())
        finally:
            events.unsubscribe(events.SupervisorRunningEvent, function)


def test_this_supervisor_suits() -> None:
    self_test()


@pytest.mark.parametrize("version", ["3.3.5", "4.2.5", "4.2", "4"])
def test_an_old_supervisor_is_a_sentence(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(options, "VERSION", version)
    with pytest.raises(Unsuitable, match=rf"^Portico needs supervisor 4\.3 or newer, this is {version}\.$"):
        self_test()


@pytest.mark.parametrize("version", ["4.3.0", "4.4.0.dev0", "4.10", "5.0"])
def test_a_newer_version_is_judged_by_what_it_has(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(options, "VERSION", version)
    self_test()


def test_changed_internals_are_a_sentence_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(self: object, pid: int) -> None:
        """One parameter less."""

    monkeypatch.setattr(process.Subprocess, "finish", finish)
    with pytest.raises(Unsuitable, match=r"its Subprocess\.finish is not what Portico builds on\.$"):
        self_test()
    monkeypatch.undo()
    monkeypatch.delattr(events, "SupervisorStoppingEvent")
    with pytest.raises(Unsuitable, match=r"events\.SupervisorStoppingEvent"):
        self_test()
