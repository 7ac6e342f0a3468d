"""Log files that were moved away: the keeper opens them anew, and hands them to the workers.

The workers have given their rights away and could not open them; descriptors travel over the control socket.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from supervisor_conf import logfiles
from supervisor_conf.control.messages import NewAccessLog, NewEventLog
from supervisor_conf.control.server import Peer


class Logs:
    def __init__(self, access_log: str, run_directory: Path, event_log: int) -> None:
        """`access_log`: the setting; `event_log`: the descriptor that this process writes its events to."""
        self._access_log = access_log
        self._path = run_directory / logfiles.EVENT_LOG
        self._event_log = event_log

    def change(self, access_log: str) -> None:
        """The setting is another one: workers that have the old file are on their way out."""
        self._access_log = access_log

    def reopen(self, workers: Iterable[Peer]) -> str:
        """The problem in a sentence, or "". What cannot be opened anew goes on as it was."""
        problems = []
        try:
            logfiles.reopen(self._event_log, self._path)
            for worker in workers:
                worker.send(NewEventLog(), os.dup(self._event_log))
        except OSError as error:
            problems.append(f"{self._path} cannot be opened: {error.strerror}.")
        if self._access_log not in ("", logfiles.STANDARD_OUTPUT):
            try:
                for worker in workers:
                    worker.send(NewAccessLog(), logfiles.open_for_appending(self._access_log))
            except OSError as error:
                problems.append(f"{self._access_log} cannot be opened: {error.strerror}.")
        return " ".join(problems)
