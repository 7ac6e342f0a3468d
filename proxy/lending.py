"""Delegated credentials on their way to an app: lent for one request, by the keeper, who has the rights.

Only requests whose visitor has delegated a ticket, to an app that wants it, come here: they wait for the keeper's
answer before their head goes out.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from itertools import count

import gevent
from gevent.event import AsyncResult, Event

from proxy.failures import Cause, Failure, Side, Stage
from supervisor_conf.control.messages import (
    CREDENTIALS_LIMIT,
    CREDENTIALS_PIECE,
    CredentialsKept,
    DropCredentials,
    TakeCredentials,
)

LIMIT = 5.0
"""Seconds for the keeper's answer; a restart of it takes less than two."""


class Loans:
    """Of one worker, to all its apps."""

    def __init__(self, send: Callable[[object], bool]) -> None:
        """`send`: to the keeper; False if none is there."""
        self._send = send
        self._numbers = count(1)
        self._waiting: dict[int, AsyncResult[CredentialsKept | None]] = {}
        self._back = Event()

    def lend(self, app: str, generation: int, credentials: bytes) -> tuple[int, str]:
        """Give this credential cache to a generation: the number to `end` the loan with, and the cache's name
        (`FILE:…`). Waits. Raises Failure."""
        if len(credentials) > CREDENTIALS_LIMIT:
            raise _failed("the delegated ticket is too large")
        number = next(self._numbers)
        kept = False
        try:
            answer = self._asked(number, _pieces(number, app, generation, credentials))
            if answer.problem:
                raise _failed("the delegated ticket cannot be given to the app")
            kept = True
            return number, f"FILE:{answer.path}"
        finally:
            if not kept:
                self.end(number)  # the keeper may still be about to write it

    def end(self, number: int) -> None:
        """The request is over. A keeper that is away has none: whoever begins removes all, as does whoever sees a
        worker go."""
        self._send(DropCredentials(number))

    def heard(self, message: CredentialsKept) -> None:
        if waiting := self._waiting.pop(message.number, None):
            waiting.set(message)

    def keeper_is_away(self) -> None:
        """What it was asked it will not answer; the next one is asked anew."""
        self._back.clear()
        for waiting in self._waiting.values():
            waiting.set(None)
        self._waiting.clear()

    def keeper_is_back(self) -> None:
        self._back.set()

    def _asked(self, number: int, pieces: list[TakeCredentials]) -> CredentialsKept:
        try:
            with gevent.Timeout(LIMIT):
                while True:
                    answer: AsyncResult[CredentialsKept | None] = AsyncResult()
                    self._waiting[number] = answer
                    if not all(self._send(piece) for piece in pieces):
                        self._back.clear()
                    elif (kept := answer.get()) is not None:
                        return kept
                    self._back.wait()
        except gevent.Timeout:
            raise _failed(f"Portico's keeper did not answer within {LIMIT:g} s") from None
        finally:
            self._waiting.pop(number, None)


def _pieces(number: int, app: str, generation: int, credentials: bytes) -> list[TakeCredentials]:
    """One after the other, so that none of another loan comes between them."""
    starts = range(0, len(credentials), CREDENTIALS_PIECE)
    texts = [b64encode(credentials[start : start + CREDENTIALS_PIECE]).decode("ascii") for start in starts]
    last = len(texts) - 1
    return [TakeCredentials(number, app, generation, text, more=n < last) for n, text in enumerate(texts)]


def _failed(detail: str) -> Failure:
    return Failure(Cause.NO_CREDENTIALS, Stage.CONNECT, Side.FRONT, detail)
