"""«What are you doing?», asked of every worker for `app requests`; who does not answer in time is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import gevent

from supervisor_conf.control.messages import AskRequests, RequestLine, Requests
from supervisor_conf.control.server import Peer

ANSWER_LIMIT: Final = 1.0
"""Seconds. A worker answers from its memory; one that does not within this is stuck, and that is worth knowing."""

_COLUMNS: Final = ("AGE", "PHASE", "APP", "PID", "CLIENT", "REQUEST", "ID")


@dataclass(frozen=True, slots=True)
class Answer:
    """Oldest first. `silent`: names of the workers that did not answer."""

    requests: tuple[RequestLine, ...]
    silent: tuple[str, ...]


@dataclass(slots=True)
class _Question:
    done: Callable[[Answer], None]
    waiting: dict[int, str]  # number of the peer -> its name
    heard: list[RequestLine] = field(default_factory=list)
    alarm: gevent.Greenlet[..., Any] | None = None


class Questions:
    def __init__(self) -> None:
        self._asked = 0
        self._open: dict[int, _Question] = {}

    def ask(self, workers: Iterable[Peer], app: str, done: Callable[[Answer], None]) -> None:
        """`app`: "" for all. `done` is called once."""
        self._asked += 1
        number = self._asked
        question = _Question(done, {})
        self._open[number] = question
        for worker in workers:
            question.waiting[worker.number] = worker.name
            worker.send(AskRequests(number, app))
        question.alarm = gevent.spawn_later(ANSWER_LIMIT, self._end, number)
        self._end_if_answered(number)

    def answered(self, worker: Peer, message: Requests) -> None:
        question = self._open.get(message.question)
        if question is None or worker.number not in question.waiting:
            return  # too late
        question.heard += message.requests
        if not message.more:
            del question.waiting[worker.number]
        self._end_if_answered(message.question)

    def gone(self, worker: Peer) -> None:
        """Its requests went with it."""
        for number, question in list(self._open.items()):
            question.waiting.pop(worker.number, None)
            self._end_if_answered(number)

    def _end_if_answered(self, number: int) -> None:
        if number in self._open and not self._open[number].waiting:
            self._end(number)

    def _end(self, number: int) -> None:
        question = self._open.pop(number, None)
        if question is None:
            return
        if question.alarm is not None and question.alarm is not gevent.getcurrent():
            question.alarm.kill(block=False)
        heard = sorted(question.heard, key=lambda line: -line.age)
        question.done(Answer(tuple(heard), tuple(sorted(question.waiting.values()))))


def as_json(answer: Answer) -> str:
    told = {"requests": [asdict(line) for line in answer.requests], "silent": list(answer.silent)}
    return json.dumps(told, ensure_ascii=False, indent=2)


def as_table(answer: Answer) -> str:
    rows = [_COLUMNS, *(_cells(line) for line in answer.requests)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if not answer.requests:
        lines = ["no requests"]
    return "\n".join([*lines, *(f"{name} did not answer within a second" for name in answer.silent)])


def _cells(line: RequestLine) -> tuple[str, ...]:
    return (
        f"{line.age:.1f} s",
        line.phase,
        line.app or "-",
        str(line.pid) if line.pid else "-",
        line.client,
        f"{line.method} {line.target}",
        line.id,
    )
