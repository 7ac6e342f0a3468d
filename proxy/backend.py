"""What this worker knows of the apps: routes, leases on them, idle connections, and who waits for a start.

Steady state asks nobody: a lease on a known route is a look into a list. Only an app without a route is asked
for, once, however many requests wait (`Need`); the keeper answers by pushing AppRoutes or GiveUp.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import gevent
import gevent.socket
from gevent.event import AsyncResult

from proxy.failures import Cause, Failure, Side, Stage
from proxy.lending import Loans
from proxy.loopback import is_loopback, unpace
from proxy.peer import Response
from proxy.streams import Deadlines, Stream, TimedOut
from supervisor_conf.control.messages import (
    AppRoutes,
    Bad,
    Counters,
    CredentialsKept,
    Drained,
    GiveUp,
    Need,
    Refusal,
    Route,
    Served,
)
from supervisor_conf.settings import AppSettings

#: Idle connections kept for one generation, as nginx's upstream `keepalive` is usually set.
MAX_IDLE = 64
#: An idle connection older than this is not used again: below the keep-alive time of the servers we know
#: (uvicorn and Node 5 s, gunicorn 2 s, Kestrel 130 s). The app closing first is noticed anyway (`when_gone`).
MAX_IDLE_AGE = 60.0
CONNECT_TIMEOUT = 10.0
#: How long requests wait for a keeper that is away before they are told so.
KEEPER_PATIENCE = 5.0

#: Seconds for which a connection has to stand, when one has been reset, and how many may fall one after the other:
#: servers of several processes share a listener until the last of them has been killed.
STILL_THERE = 0.1
LAST_CONNECTIONS = 5

#: Between two tries at a Unix socket whose backlog is full.
UNIX_BACKLOG_PAUSE = 0.01

_MOVED = Refusal(
    503, "moved", "The app is moving to another path: the configuration has changed.", retry_after=1
)
"""For who waits in a worker that is about to be replaced."""

Address = str | tuple[str, int]
Send = Callable[[object], bool]
Connect = Callable[[Route, Deadlines], Stream]


class ConnectRefused(Exception):
    """Nobody listens there (any more): no byte of the request can have been seen."""


def connect(route: Route, deadlines: Deadlines) -> Stream:
    """A connection to where a generation answers. Raises ConnectRefused, OSError."""
    # From the working directory, as the worker stands in the run directory (see `worker.main`).
    address: Address = os.path.relpath(route.socket) if route.socket else (route.host, route.port)
    family = socket.AF_UNIX if route.socket else socket.AF_INET6 if ":" in route.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_UNIX:
            _connect_unix(sock, address)
        else:
            if is_loopback(route.host):
                unpace(sock)
            _connect_tcp(sock, address)
    except (ConnectionRefusedError, FileNotFoundError, PermissionError) as error:
        # Of a Unix socket that the app has closed to us since; the keeper looks, and opens it.
        sock.close()
        raise ConnectRefused(str(error)) from None
    except BaseException:
        sock.close()
        raise
    return Stream(sock, deadlines)


def _connect_tcp(sock: socket.socket, address: Address) -> None:
    try:
        sock.connect(address)
        return
    except BlockingIOError:
        pass
    try:
        gevent.socket.wait_write(sock.fileno(), timeout=CONNECT_TIMEOUT)
    except TimeoutError:
        raise ConnectRefused("no answer to the connection") from None
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise ConnectRefused(f"errno {error}")


def _connect_unix(sock: socket.socket, address: Address) -> None:
    """A full backlog of a Unix socket is EAGAIN, and nothing tells when there is room (connect(2))."""
    for _ in range(int(CONNECT_TIMEOUT / UNIX_BACKLOG_PAUSE)):
        try:
            sock.connect(address)
            return
        except BlockingIOError:
            gevent.sleep(UNIX_BACKLOG_PAUSE)
    raise ConnectRefused("the backlog of the app's socket stays full")


class Generation:
    """One generation of an app: its route, the requests in flight on it, its idle connections."""

    __slots__ = (
        "_answered_at",
        "_connect",
        "_deadlines",
        "_idle",
        "answered",
        "in_flight",
        "last_answer",
        "route",
        "silent",
        "token",
        "turn",
        "withdrawn",
        "word",
    )

    def __init__(self, route: Route, deadlines: Deadlines, connect: Connect = connect, app: str = "") -> None:
        self.route = route
        self.word = b"%b#%d" % (app.encode(), route.generation)  # in the access log
        self.token = route.token.encode("ascii")
        self._connect = connect
        self.in_flight = 0
        self.answered = 0  # requests, since the last `served`
        # How it began: the next one mostly begins so too.
        self.last_answer: tuple[bytes, Response | None] = b"", None
        self._answered_at = 0.0
        self.silent = 0  # requests that ran into request_timeout, since one was answered or the last `served`
        self.withdrawn = False
        self.turn = 0  # grows with every choice among several: of those as busy, the one chosen longest ago
        self._idle: dict[Stream, float] = {}  # since when; the one used last is the last
        self._deadlines = deadlines

    def __repr__(self) -> str:
        return f"<Generation {self.route!r} in_flight={self.in_flight} idle={len(self._idle)}>"

    def idle(self) -> Stream | None:
        """The idle connection used last (the others may age), or None."""
        oldest = self._deadlines.now() - MAX_IDLE_AGE
        while self._idle:
            stream, since = self._idle.popitem()
            # A byte that came before the request is no answer to it (RFC 9112 9.2 leaves only closing).
            if since > oldest and stream.is_still_quiet():
                return stream
            stream.close()
        return None

    def connect(self) -> Stream:
        """A new connection. Raises ConnectRefused, OSError."""
        stream = self._connect(self.route, self._deadlines)
        stream.when_gone = stream.when_readable = partial(self._disturbed, stream)
        return stream

    def is_gone(self) -> bool:
        """Nobody listens there any more. Asked by connections on which nothing is said: a process that is just
        ending still takes them, and they end with it."""
        for _ in range(LAST_CONNECTIONS):
            try:
                probe = self._connect(self.route, self._deadlines)
            except ConnectRefused:
                return True
            except OSError:
                return False
            try:
                probe.recv(STILL_THERE)
            except TimedOut:
                return False
            except OSError:
                pass
            finally:
                probe.close()
        return False

    def give_back(self, stream: Stream) -> None:
        """Keep a connection on which a whole exchange has ended."""
        if self.withdrawn or not stream.quiet:
            stream.close()
            return
        self._idle[stream] = self._deadlines.now()
        if len(self._idle) > MAX_IDLE:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.close()

    def _disturbed(self, stream: Stream) -> None:
        """Nothing may come on an idle connection: the app closing it, or talking out of turn, ends it. On one in use
        it is what was waited for."""
        if self._idle.pop(stream, None) is not None:
            stream.close()

    def close_idle(self) -> None:
        while self._idle:
            self._idle.popitem()[0].close()

    def has_answered(self) -> None:
        self.answered += 1
        self.silent = 0
        self._answered_at = self._deadlines.now()

    def served(self) -> Served:
        """What was done since the last call."""
        told = Served(
            self.route.generation, self.answered, self.silent, self.in_flight, round(self._answered_at, 3)
        )
        self.answered = self.silent = 0
        return told


class AppDesk:
    """One app as this worker sees it."""

    __slots__ = (
        "_busy",
        "_connect",
        "_deadlines",
        "_draining",
        "_generations",
        "_refused_at",
        "_send",
        "_serial",
        "_turn",
        "_waiting",
        "failures",
        "loans",
        "queue_share",
        "refusal",
        "requests",
        "retry_after",
        "settings",
        "timeout",
    )

    def __init__(
        self,
        settings: AppSettings,
        send: Send,
        deadlines: Deadlines,
        connect: Connect = connect,
        loans: Loans | None = None,
    ) -> None:
        self.settings = settings
        self.timeout = settings.request_timeout or None
        self._connect = connect
        self.refusal: Refusal | None = None
        self.queue_share = settings.queue_limit
        self.retry_after = 0
        self.requests = 0
        self.failures = 0
        self._send = send
        self.loans = loans or Loans(send)
        self._deadlines = deadlines
        self._generations: list[Generation] = []
        self._draining: list[Generation] = []
        self._waiting: deque[AsyncResult[Generation]] = deque()
        self._busy = False
        self._serial = 0
        self._refused_at = 0.0
        self._turn = 0

    # ----------------------------------------------------------------------------------------------------------
    # For requests

    def lease(self, waiter: Callable[[AsyncResult[Generation]], None]) -> Generation:
        """A generation to use, with one more request in flight on it; `release` it. Waits for a start.

        `waiter` is told the object that waits, so that a client that goes away can end the wait. Raises Failure.
        """
        if len(self._generations) == 1 and self.refusal is None:
            generation = self._generations[0]
        else:
            generation = self._choose_or_wait(waiter)
        generation.in_flight += 1
        self.requests += 1
        return generation

    def _choose_or_wait(self, waiter: Callable[[AsyncResult[Generation]], None]) -> Generation:
        while True:
            if self.refusal is not None:
                raise _refused(self._refusal_of_now())
            if self._generations:
                generation = self._least_busy()
            else:
                generation = self._wait(waiter)
                if self._generations:  # all who waited are woken at once, and each makes one of them busier
                    generation = self._least_busy()
            if not generation.withdrawn:  # it may have gone while who waited for it was being woken
                self._turn = generation.turn = self._turn + 1
                return generation

    def _refusal_of_now(self) -> Refusal:
        assert self.refusal is not None
        if not self.refusal.counts_down:
            return self.refusal
        passed = int(self._deadlines.now() - self._refused_at)
        return replace(self.refusal, retry_after=max(self.refusal.retry_after - passed, 1))

    def release(self, generation: Generation) -> None:
        generation.in_flight -= 1
        if generation.withdrawn and generation.in_flight == 0:
            self._drained(generation)

    def bad(self, generation: Generation, why: str) -> None:
        """This generation refused a connection: nobody is sent there again before the keeper has looked."""
        if generation in self._generations:
            self._generations.remove(generation)
            self._withdraw(generation)
            self._send(Bad(self.settings.name, generation.route.generation, why))

    def was_silent(self, generation: Generation) -> None:
        """A request ran into request_timeout. Told at once: an answer that follows would make it look like none."""
        generation.silent += 1
        if (counters := self.counters()) is not None:
            self._send(counters)

    def _least_busy(self) -> Generation:
        if len(self._generations) == 1:
            return self._generations[0]
        well = [generation for generation in self._generations if generation.route.healthy]
        return min(well or self._generations, key=lambda generation: (generation.in_flight, generation.turn))

    def _wait(self, waiter: Callable[[AsyncResult[Generation]], None]) -> Generation:
        if len(self._waiting) >= self.queue_share:
            raise Failure(
                Cause.QUEUE_FULL,
                Stage.QUEUE,
                Side.FRONT,
                f"{len(self._waiting)} requests wait already",
                retry_after=self.retry_after,
            )
        result: AsyncResult[Generation] = AsyncResult()
        if not self._waiting:
            self._ask()
        self._waiting.append(result)
        waiter(result)
        try:
            generation = result.get(timeout=self.settings.queue_timeout or None)
            assert generation is not None
            return generation
        except gevent.Timeout:
            raise Failure(
                Cause.QUEUE_TIMEOUT,
                Stage.QUEUE,
                Side.FRONT,
                "queue_timeout has passed",
                retry_after=self.retry_after,
            ) from None
        finally:
            if result in self._waiting:
                self._waiting.remove(result)

    def _ask(self) -> None:
        self._send(Need(self.settings.name))

    # ----------------------------------------------------------------------------------------------------------
    # For the keeper's messages

    def update(self, message: AppRoutes) -> None:
        """Forget what was known, believe this; waiting requests go on, or are refused."""
        self._serial = message.serial
        known = {generation.route.generation: generation for generation in self._generations}
        self._generations = []
        for route in self._usable(message.routes):
            generation = known.pop(route.generation, None) or self._begin(route)
            generation.route, generation.token = route, route.token.encode("ascii")
            self._generations.append(generation)
        for gone in known.values():
            self._withdraw(gone)
        self.retry_after = message.retry_after
        self.refusal = message.refusal
        self._refused_at = self._deadlines.now()
        self.queue_share = message.queue_share or self.settings.queue_limit
        if message.refusal is not None:
            self.give_up(message.refusal)
        elif self._generations:
            while self._waiting:
                self._waiting.popleft().set(self._least_busy())
        elif message.path != self.settings.path:
            self.give_up(_MOVED)

    def _usable(self, routes: tuple[Route, ...]) -> list[Route]:
        """While an app moves to another path, workers and processes of both paths are about: a request whose path
        is understood by one belongs to that one, and this worker uses the others never."""
        for route in routes:
            if route.path != self.settings.path:
                self._send(Drained(self.settings.name, route.generation, self._serial))
        return [route for route in routes if route.path == self.settings.path]

    def _begin(self, route: Route) -> Generation:
        """One that was withdrawn and still has requests in flight is the same one, and drained only once."""
        again = next((one for one in self._draining if one.route.generation == route.generation), None)
        if again is None:
            return Generation(route, self._deadlines, self._connect, self.settings.name)
        self._draining.remove(again)
        again.withdrawn = False
        return again

    @property
    def using(self) -> tuple[int, ...]:
        """The generations to whom there is a route or a request in flight."""
        return tuple(one.route.generation for one in (*self._generations, *self._draining))

    def give_up(self, refusal: Refusal) -> None:
        """Everybody who waits is answered with this."""
        while self._waiting:
            self._waiting.popleft().set_exception(_refused(refusal))

    def keeper_is_back(self) -> None:
        """A new keeper knows nothing of what the last one was asked, and counts its AppRoutes anew."""
        self._serial = 0
        if self._waiting:
            self._ask()

    def keeper_is_away(self, seconds: float) -> None:
        if seconds > KEEPER_PATIENCE:
            self.give_up(
                Refusal(503, "keeper-away", "Portico's keeper does not answer at the moment.", retry_after=2)
            )

    def counters(self) -> Counters | None:
        """What happened since the last call; None if that is nothing and nothing goes on."""
        served = tuple(generation.served() for generation in (*self._generations, *self._draining))
        in_flight = sum(one.in_flight for one in served)
        if not (self.requests or self.failures or in_flight or self._waiting or self._busy):
            return None
        self._busy = bool(in_flight or self._waiting)
        counters = Counters(
            self.settings.name,
            self.requests,
            self.failures,
            in_flight,
            len(self._waiting),
            served,
        )
        self.requests = self.failures = 0
        return counters

    def _withdraw(self, generation: Generation) -> None:
        generation.withdrawn = True
        generation.close_idle()
        if generation.in_flight:
            self._draining.append(generation)
        else:
            self._drained(generation)

    def _drained(self, generation: Generation) -> None:
        if generation in self._draining:
            self._draining.remove(generation)
        self._send(Drained(self.settings.name, generation.route.generation, self._serial))


class Backend:
    """All apps of this worker."""

    def __init__(
        self, apps: Iterable[AppSettings], send: Send, deadlines: Deadlines, connect: Connect = connect
    ) -> None:
        self.loans = Loans(send)
        self.desks = {app.name: AppDesk(app, send, deadlines, connect, self.loans) for app in apps}
        self._send = send

    def handle(self, message: object) -> None:
        """A message of the keeper's that concerns an app."""
        if isinstance(message, AppRoutes):
            if desk := self.desks.get(message.app):
                desk.update(message)
            else:
                self._decline(message)
        elif isinstance(message, GiveUp) and (desk := self.desks.get(message.app)):
            desk.give_up(message.refusal)
        elif isinstance(message, CredentialsKept):
            self.loans.heard(message)

    def keeper_is_back(self) -> None:
        self.loans.keeper_is_back()
        for desk in self.desks.values():
            desk.keeper_is_back()

    def keeper_is_away(self, seconds: float) -> None:
        self.loans.keeper_is_away()
        for desk in self.desks.values():
            desk.keeper_is_away(seconds)

    def _decline(self, message: AppRoutes) -> None:
        """An app of a configuration that this worker was not given: the keeper need not wait for it."""
        for route in message.routes:
            self._send(Drained(message.app, route.generation, message.serial))

    def using(self) -> tuple[tuple[str, int], ...]:
        """Of every app the generations to whom there is a route or a request in flight."""
        return tuple((name, number) for name, desk in self.desks.items() for number in desk.using)


def _refused(refusal: Refusal) -> Failure:
    return Failure(Cause.REFUSED, Stage.START, Side.FRONT, refusal.why, refusal=refusal)
