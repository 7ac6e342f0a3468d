"""Our own events (plugin, keeper, workers): lines in one file that all of them append to, as JSON or for the eye.

    {"time":"2026-11-23T01:02:03.456Z","level":"info","event":"app.spawned","process":"plugin","by":7,"app":"shop"}
    2026-11-23T01:02:03.456Z [info] app.spawned process=plugin by=7 app='shop'

One line is one `write(2)` on a descriptor opened with O_APPEND, so lines of several processes never mix and
nothing takes a lock (structlog's own file loggers do, which must not happen across a fork or under gevent).
A log that cannot be written (a full disk) loses lines; it never stops the process that wants to log.
"""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from enum import Enum
from typing import Any

import structlog

from supervisor_conf import ancm_events

Event = MutableMapping[str, Any]


class _LineWriter:
    """The innermost logger of structlog: every level's method writes the rendered line."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def msg(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            os.write(self._fd, data)
        except OSError:
            # There is nowhere left to say that the log cannot be written.
            pass

    debug = info = warning = warn = error = critical = exception = failure = fatal = log = msg


class Form(Enum):
    """How events are written; the values are those of `event_log_format`."""

    JSON = "json"
    CONSOLE = "console"


def open_event_log(fd: int, *, process: str = "", form: Form = Form.JSON) -> Any:
    """A logger of its own on `fd`, whatever the global configuration of structlog is."""
    logger = structlog.wrap_logger(
        _LineWriter(fd),
        processors=_processors("", form),
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        context_class=dict,
    )
    return logger.bind(process=process) if process else logger.bind()


def configure(fd: int, *, process: str, form: Form = Form.JSON) -> None:
    """Let `structlog.get_logger()` of this process write to `fd`; `process` is in every line."""
    structlog.configure(
        processors=_processors(process, form),
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        context_class=dict,
        logger_factory=lambda *_: _LineWriter(fd),
        cache_logger_on_first_use=False,
    )


def _processors(process: str, form: Form) -> list[Any]:
    def name_process(_: Any, __: str, event: Event) -> Event:
        if process:
            event.setdefault("process", process)
        event.setdefault("by", os.getpid())
        return event

    def add_ancm_number(_: Any, __: str, event: Event) -> Event:
        known = ancm_events.number(event)
        if known is not None:
            event["ancm"] = known
        return event

    return [
        add_ancm_number,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        name_process,
        _as_json if form is Form.JSON else _for_the_eye,
    ]


_FIRST = ("time", "level", "event", "process")


def _as_json(_: Any, __: str, event: Event) -> str:
    """Known fields first, so that a line can be read; what JSON does not know is shown by its repr."""
    ordered = {name: event.pop(name) for name in _FIRST if name in event}
    ordered.update(event)
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), default=repr)


def _for_the_eye(_: Any, __: str, event: Event) -> str:
    """One line, whatever the values hold: strings of others are shown by their repr. A traceback follows, indented."""
    begin = (
        f"{event.pop('time')} [{event.pop('level')}] {event.pop('event')} process={event.pop('process', '-')}"
    )
    traceback = "".join(f"\n    {line}" for line in str(event.pop("exception", "")).splitlines())
    return " ".join([begin, *(f"{name}={value!r}" for name, value in event.items())]) + traceback
