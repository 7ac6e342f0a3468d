"""The reports that outlive a keeper: of the last failure, and of the last start that went well since."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from supervisor_conf.control.codec import Decoder, ProtocolError, encode
from supervisor_conf.control.messages import AskOutput, Keep, Output, Report
from supervisor_conf.keeper.told import Told
from supervisor_conf.law import journey
from supervisor_conf.law.rows import Row


class LastStart:
    """The story of the last start of one app that became ready, until something of that app fails."""

    def __init__(self, app: str, tell_plugin: Callable[[object], None]) -> None:
        self.report: Report | None = None
        self._app = app
        self._tell_plugin = tell_plugin

    def resume(self, kept: Mapping[str, str]) -> None:
        """What the last keeper had kept."""
        self.report = read_report(kept.get(self._key, ""))

    def went_well(self, row: Row, now: float) -> None:
        """`now`: monotonic. When the first output came is asked of the plugin, which reads the app's pipe."""
        told = journey.went_well(row.journey, now, generation=row.generation, pid=row.pid)
        self._keep(replace(told, at=time.time()))
        self._tell_plugin(AskOutput(row.generation, self._app, row.slot))

    def output(self, message: Output) -> None:
        """The plugin's answer."""
        if self.report is not None:
            self._keep(Told(message.generation, message.first_after).complete(self.report))

    def forget(self) -> None:
        if self.report is not None:
            self.report = None
            self._tell_plugin(Keep(self._key, ""))

    @property
    def _key(self) -> str:
        return f"start {self._app}"

    def _keep(self, report: Report) -> None:
        if report != self.report:
            self.report = report
            self._tell_plugin(Keep(self._key, report_text(report)))


def report_key(app: str) -> str:
    """Under which the plugin keeps the last report of a failure for the next keeper."""
    return f"report {app}"


def report_text(report: Report) -> str:
    return encode(report)[4:].decode("utf-8", "replace")


def read_report(text: str) -> Report | None:
    """What `report_text` wrote; None if another version did."""
    data = text.encode("utf-8")
    try:
        (report,) = Decoder().feed(len(data).to_bytes(4, "big") + data)
    except (ProtocolError, ValueError):
        return None
    return report if isinstance(report, Report) else None
