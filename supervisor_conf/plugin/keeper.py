"""The keeper as supervisord's child: a fresh link and the whole memory at every start.

It alone has no PDEATHSIG: it is the last will. When supervisord is killed, its link ends, and it kills what is
left of every generation before it goes itself.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from supervisor_conf.plugin import link
from supervisor_conf.plugin.context import Context
from supervisor_conf.plugin.descriptors import memory_file
from supervisor_conf.plugin.spawn import ManagedProcess
from supervisor_conf.settings import to_json

STOP_WAIT = 5.0
"""Seconds that an empty-handed keeper may take to go."""


class ManagedKeeper(ManagedProcess):
    dies_with_supervisord = False
    restarts = True

    def __init__(
        self,
        context: Context,
        process: Any,
        receive: Callable[[Any], None],
        first_message: Callable[[], object],
    ) -> None:
        super().__init__(context, process)
        self.link: link.Link | None = None
        self._receive = context.guard.wrap(receive)
        self._first_message = first_message
        self._end: socket.socket | None = None
        always_there(process.config)
        process.config.stopwaitsecs = STOP_WAIT
        self._environment = dict(process.config.environment or {})

    @property
    def listens(self) -> bool:
        """There is a keeper to talk to."""
        return self.alive and self.link is not None and not self.link.closed

    def send(self, message: object) -> None:
        if self.link is not None:
            self.link.send(message)

    def prepare(self) -> tuple[int, ...]:
        settings = memory_file("portico-settings", to_json(self.context.all_settings).encode())
        self._end, theirs = link.pair()
        self.process.config.environment = {
            **self._environment,
            "PORTICO_SETTINGS_FD": "4",
            "PORTICO_LOG_FD": "5",
        }
        return theirs, settings, os.dup(self.context.log_fd)

    def started(self, pid: int) -> None:
        assert self._end is not None
        with self._end as end:
            self.link = link.Link(end, self._receive, self._kill, self.context.options.poller)
        self._end = None
        self.context.log.info("keeper.spawned", pid=pid)
        self.link.send(self._first_message())

    def not_started(self, sentence: str) -> None:
        if self._end is not None:
            self._end.close()
            self._end = None
        self.context.log.error("keeper.not-spawned", why=sentence)

    def ended(self, pid: int, status: int) -> None:
        if self.link is not None:
            self.link.drain()
            self.link.close()
            self.link = None
        self.context.log.warning(
            "keeper.exited", pid=pid, status=status, last_output=self.output.text()[-2000:]
        )

    def _kill(self, sentence: str) -> None:
        """Killed, never just hung up on: the end of the link would make it carry out the last will."""
        self.context.log.error("keeper.broken", problem=sentence)
        if self.process.pid:
            os.kill(self.process.pid, signal.SIGKILL)


def always_there(config: Any) -> None:
    """Started with supervisord; started again by `restarts.py`, never by supervisord, and never given up."""
    config.autostart = True
    config.autorestart = False
    config.startsecs = config.startretries = 0
    config.stopsignal = signal.SIGTERM
