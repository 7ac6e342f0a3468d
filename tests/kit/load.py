"""Visitors who keep asking while something is done to the machinery, and what became of each request."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import h11

from tests.kit.client import Response, Visitor
from tests.kit.until import wait_until


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: what it got, or how it failed, and when (monotonic seconds)."""

    began: float
    ended: float
    status: int  # 0: no response
    body: bytes
    error: str  # class of the connection's error, "" when there was a response

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Load:
    """`clients` threads that send GET `target` until the block ends.

    with Load(url, "/", clients=8) as load: …  then look at `load.outcomes`.
    `keep_alive=False`: a connection a request.
    """

    def __init__(
        self,
        url: str,
        target: str,
        *,
        clients: int = 8,
        keep_alive: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url, self.target, self.keep_alive = url, target, keep_alive
        self.tls = tls
        self.outcomes: list[Outcome] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads), "a visitor never got an answer"

    def _visit(self) -> None:
        visitor: Visitor | None = None
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                visitor = visitor or Visitor(self.url, tls=self.tls)
                answer = visitor.get(self.target)
            except (OSError, h11.RemoteProtocolError) as error:
                self._note(began, error=type(error).__name__)
                if visitor is not None:
                    visitor.close()
                visitor = None
                continue
            self._note(began, answer)
            if not self.keep_alive or not visitor.reusable:
                visitor.close()
                visitor = None
        if visitor is not None:
            visitor.close()

    def _note(self, began: float, answer: Response | None = None, error: str = "") -> None:
        status, body = (answer.status, answer.body) if answer else (0, b"")
        self.outcomes.append(Outcome(began, time.monotonic(), status, body, error))

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more requests than now were answered with 200."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal, f"{count} more answers")

    @property
    def tally(self) -> Counter[str]:
        """How many requests ended in each way: {"200": 812, "502": 3, "ConnectionResetError": 1}."""
        return Counter(outcome.error or str(outcome.status) for outcome in list(self.outcomes))

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status != 200]

    @property
    def answered(self) -> int:
        return sum(outcome.status == 200 for outcome in list(self.outcomes))


def all_at_once(jobs: Sequence[Callable[[], Response]]) -> list[Response | Exception]:
    """Run the jobs in a thread each, released by one barrier; what each returned or raised, in order."""
    barrier = threading.Barrier(len(jobs))
    results: list[Response | Exception | None] = [None] * len(jobs)

    def work(number: int, job: Callable[[], Response]) -> None:
        barrier.wait()
        try:
            results[number] = job()
        except (OSError, h11.RemoteProtocolError) as error:
            results[number] = error

    threads = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    missing = [number for number, result in enumerate(results) if result is None]
    assert not missing, f"no answer at all for requests {missing}"
    return [result for result in results if result is not None]
