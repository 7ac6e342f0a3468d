"""A worker: everything put together, run, drained.

gevent is used explicitly and nothing is monkey-patched: no library that blocks is called here, and patching would
put its sockets, slower, where we want the plain ones.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import sys
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import structlog
from gevent.event import Event

from proxy.access import AccessLog
from proxy.backend import Backend
from proxy.balance import Balance, shared_balance
from proxy.connection import DRAIN_PATIENCE, Connection
from proxy.door import Door, capacity, raise_descriptor_limit
from proxy.exchange import Exchange
from proxy.failures import Cause, Failure, Side, Stage, reason_word
from proxy.forwarded import plain_address
from proxy.handlers import Handlers
from proxy.handshakes import Handshakes
from proxy.head import QuickReader
from proxy.headers import Caller
from proxy.keeper_link import KeeperLink
from proxy.listener import Listener, adopt
from proxy.pipeline import BadModule, Pipeline
from proxy.preambles import Preambles
from proxy.privileges import become
from proxy.splice import Pipes
from proxy.streams import Deadlines, Stream
from proxy.strict import Limits
from proxy.tls import Tls, forgive_names
from proxy.to_https import Redirect
from proxy.trust import Trust
from supervisor_conf.accounts import workers_account
from supervisor_conf.certificates import Bundle
from supervisor_conf.control.messages import (
    AskRequests,
    NewAccessLog,
    NewCertificates,
    NewEventLog,
    RequestLine,
    Requests,
)
from supervisor_conf.eventlog import Form, configure
from supervisor_conf.logfiles import take_over
from supervisor_conf.settings import Listen, Settings, from_json

REPORT_EVERY = 1.0
UNAUTHORIZED = 401
"""No failure, but the first half of every conversation in which a visitor says who he is."""
#: Objects made and kept until cycles are looked for; Python's 700 is a few requests, and what a request makes is no
#: cycle.
COLLECT_AFTER = 20_000
LINES_A_FRAME = 50
#: In the run directory: what the workers tell each other.
BALANCE = "front.balance"


class Worker:
    """One process of the front."""

    def __init__(
        self,
        settings: Settings,
        run_directory: Path,
        name: str,
        access: AccessLog | None = None,
        event_log: int | None = None,
        bundle: Bundle | None = None,
        balance: Balance | None = None,
    ) -> None:
        """`event_log`: the descriptor that structlog writes to, where it may be replaced. `bundle`: the certificates
        of [front.tls]."""
        self.settings = settings
        self._access = access
        self._balance = balance
        self._event_log = event_log
        self.draining = False
        self.owner = os.getuid()  # before the worker becomes another user
        self.limits = Limits(max_head=settings.front.max_header_bytes)
        self.trust = Trust(settings.front)
        self.quick = QuickReader(self.limits) if settings.front.quick_lane else None
        # Of its own only where there may be such a peer: two memories are twice as large.
        self.quick_trusted = (
            QuickReader(self.limits, trusted=True) if self.quick is not None and self.trust else self.quick
        )
        self.pipes = Pipes() if settings.front.quick_lane else None
        self.handlers = Handlers(settings.apps)
        self.deadlines = Deadlines()
        self._handshakes = self._handshakes_with(bundle)
        self._door = self._new_door()
        self._preambles = Preambles(
            self.deadlines.loop, self.deadlines.now, self.trust.includes, self._look_whether_empty
        )
        self.pipeline = Pipeline.of(settings, self.deadlines.now)
        self._keeper = KeeperLink(
            os.path.relpath(run_directory / "control.sock"),
            name,
            self._heard,
            lambda: self.backend.keeper_is_back(),
            lambda seconds: self.backend.keeper_is_away(seconds),
            self._take_file,
            lambda: self.backend.using(),
        )
        self.backend = Backend(settings.apps, self._keeper.send, self.deadlines)
        self.redirect: Redirect | None = None
        self._listeners: list[Listener] = []
        self._connections: set[Connection] = set()
        self._told_to_stop = Event()
        self._all_closed = Event()
        self._id_prefix = secrets.token_hex(6).encode("ascii")
        self._ids = count(1)

    # ----------------------------------------------------------------------------------------------------------
    # Life

    def run(self, sockets: list[socket.socket]) -> None:
        """Serve until told to stop, then drain. Returns when nothing is left, or `drain_limit` has passed."""
        gevent.signal_handler(signal.SIGTERM, self._told_to_stop.set)
        gevent.signal_handler(
            signal.SIGINT, lambda: None
        )  # Ctrl-C reaches the whole group: supervisord decides
        self._keeper.start()
        reports = gevent.spawn(self._report_for_ever)
        self.redirect = Redirect.of(
            self.settings.front, zip(self.settings.front.listen, sockets, strict=True)
        )
        self._tell_balance()
        is_ahead = self._balance.is_ahead if self._balance is not None else None
        self._listeners = [
            Listener(sock, partial(self._accepted, listen), is_ahead)
            for sock, listen in zip(sockets, self.settings.front.listen, strict=True)
        ]
        structlog.get_logger().info("front.started", sockets=len(sockets))
        self._told_to_stop.wait()
        self._drain()
        reports.kill()
        if self._access is not None:
            self._access.flush()
        self._keeper.stop()
        if self.pipeline is not None:
            self.pipeline.close()

    def tell_doubts(self) -> None:
        """Of the modules, once we are whom they will work for."""
        for module, sentence in self.pipeline.doubts() if self.pipeline is not None else ():
            structlog.get_logger().warning("front.module-doubt", module=module, problem=sentence)

    def _drain(self) -> None:
        self.draining = True
        if self._balance is not None:
            self._balance.leave()
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.drain()
        if self._handshakes is not None:
            self._handshakes.hurry(DRAIN_PATIENCE)
        self._preambles.hurry(DRAIN_PATIENCE)
        structlog.get_logger().info("front.draining", connections=len(self._connections))
        if self._held and not self._all_closed.wait(self.settings.front.drain_limit):
            structlog.get_logger().warning("front.drain_limit", connections=len(self._connections))
            for connection in list(self._connections):
                connection.close()
        structlog.get_logger().info("front.ended")

    # ----------------------------------------------------------------------------------------------------------
    # Connections

    def _accepted(self, listen: Listen, sock: socket.socket, address: Any) -> None:
        scheme = "https" if listen.scheme == "https" else "http"
        if sock.family == socket.AF_UNIX:
            peer = Caller("", 0, scheme)
        else:
            peer = Caller(plain_address(address[0]), address[1], scheme)
        greeted = self._encrypt if scheme == "https" else self._greeted
        if not self._door.has_room(self._held, self._connections):
            self._door.turn_away(sock, peer, "max_connections", plain=scheme == "http")
        elif listen.proxy_protocol:
            self._preambles.begin(sock, peer, self.settings.front.header_timeout, greeted)
        else:
            greeted(sock, peer)
        self._tell_balance()

    def _encrypt(self, sock: socket.socket, caller: Caller) -> None:
        assert self._handshakes is not None, "an https:// address has [front.tls]"
        if not self._door.admits(caller):
            self._door.turn_away(sock, caller, "max_connections_per_client", plain=False)
            return
        self._handshakes.begin(sock, caller, self.settings.front.header_timeout)

    def _greeted(self, sock: socket.socket, caller: Caller) -> None:
        if not self._door.admits(caller):
            self._door.turn_away(sock, caller, "max_connections_per_client", plain=True)
            return
        self._connected(Stream(sock, self.deadlines), caller)

    def _connected(self, stream: Stream, caller: Caller) -> None:
        """It may be encrypted; from here on it is HTTP."""
        self._hold(Connection(stream, caller, self))

    def _new_door(self) -> Door:
        front = self.settings.front
        return Door(
            front.max_connections or capacity(),
            front.max_connections_per_client,
            self._brings_many,
            self.deadlines.now,
        )

    def _hold(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._door.came_in(connection.caller)

    def _tell_balance(self) -> None:
        if self._balance is not None and not self.draining:
            self._balance.tell(self._held)

    def closed(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._door.went(connection.caller)
        self._tell_balance()
        self._look_whether_empty()

    @property
    def _held(self) -> int:
        """Connections of clients, at whatever stage."""
        handshakes = len(self._handshakes.under_way) if self._handshakes is not None else 0
        return len(self._connections) + len(self._preambles.under_way) + handshakes

    def _look_whether_empty(self) -> None:
        if self.draining and not self._held:
            self._all_closed.set()

    def _brings_many(self, caller: Caller) -> bool:
        """Not one client's connections: a trusted proxy's, a Unix socket's, or those of whom a proxy does not name."""
        return not caller.address or caller.nameless or self.trust.includes(caller)

    # ----------------------------------------------------------------------------------------------------------
    # TLS

    def _handshakes_with(self, bundle: Bundle | None) -> Handshakes | None:
        tls = self.settings.front.tls
        if tls is None or bundle is None:
            return None
        return Handshakes(
            Tls(tls, bundle), self.deadlines, self._connected, self._not_encrypted, self._look_whether_empty
        )

    @staticmethod
    def _renew(tls: Tls, descriptor: int) -> None:
        """New handshakes have the new certificate; connections that are there go on with what they have."""
        try:
            renewed = tls.renew(Bundle.from_bytes(_read_all(descriptor).encode("ascii")))
        except (OSError, ValueError) as problem:  # ssl.SSLError is an OSError
            structlog.get_logger().error("tls.renewal-failed", problem=str(problem))
        else:
            if renewed:  # the keeper also tells what a new worker has been given already
                structlog.get_logger().info("tls.renewed")

    def _not_encrypted(self, stream: Stream, caller: Caller) -> None:
        """Plain HTTP came to an https:// address."""
        connection = Connection(stream, caller, self)
        self._hold(connection)
        connection.refuse(Failure(Cause.PLAIN_HTTP, Stage.HEAD, Side.CLIENT))

    # ----------------------------------------------------------------------------------------------------------
    # Requests

    def request_id(self) -> bytes:
        """Unique among all workers and restarts: 48 random bits a process, and a count."""
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    def finished(self, exchange: Exchange) -> None:
        """An exchange is over, whatever its end."""
        if self.pipeline is not None:
            self.pipeline.finished(exchange)
        if self._access is not None:
            self._access.write(exchange)
        if exchange.reason and exchange.status != UNAUTHORIZED:
            desk = getattr(exchange, "desk", None)
            if desk is not None:
                desk.failures += 1
            structlog.get_logger().info(
                "request.failed",
                id=exchange.request_id.decode("ascii"),
                app=desk.settings.name if desk is not None else "",
                status=exchange.status,
                reason=exchange.reason,
                phase=exchange.phase,
            )

    def refused(self, caller: Caller, failure: Failure, request_id: bytes) -> None:
        """A head was refused before it was a request."""
        if self._access is not None:
            self._access.write_refused(caller, failure.status, request_id, reason_word(failure))
        structlog.get_logger().info("request.refused", status=failure.status, reason=reason_word(failure))

    # ----------------------------------------------------------------------------------------------------------
    # The keeper

    def _heard(self, message: object) -> None:
        if isinstance(message, AskRequests):
            self._tell_requests(message)
        else:
            self.backend.handle(message)

    def _take_file(self, message: object, descriptor: int) -> None:
        """What logrotate had moved away goes on in a new file; certificates were renewed."""
        if isinstance(message, NewAccessLog) and self._access is not None:
            self._access.reopen(descriptor)
        elif isinstance(message, NewEventLog) and self._event_log is not None:
            take_over(self._event_log, descriptor)
        elif isinstance(message, NewCertificates) and self._handshakes is not None:
            self._renew(self._handshakes.tls, descriptor)
        else:
            os.close(descriptor)

    def _report_for_ever(self) -> None:
        while True:
            gevent.sleep(REPORT_EVERY)
            if self._access is not None:
                self._access.flush()
            if self._handshakes is not None:
                self._handshakes.failures.tell_rest(self.deadlines.now())
            self._tell_balance()
            for desk in self.backend.desks.values():
                if (counters := desk.counters()) is not None:
                    self._keeper.send(counters)

    def _tell_requests(self, asked: AskRequests) -> None:
        """In frames that hold them whatever JSON makes of each."""
        lines = self._request_lines(asked.app)
        for first in range(0, max(len(lines), 1), LINES_A_FRAME):
            piece = lines[first : first + LINES_A_FRAME]
            self._keeper.send(Requests(asked.question, piece, more=first + LINES_A_FRAME < len(lines)))

    def _request_lines(self, app: str) -> tuple[RequestLine, ...]:
        exchanges = [
            connection.exchange for connection in self._connections if connection.exchange is not None
        ]
        return tuple(line for exchange in exchanges if (line := exchange.line()).app == app or not app)


def main(arguments: list[str]) -> int:
    """`python -P -m proxy RUN_DIRECTORY`, with the descriptors of docs/architecture.md."""
    run_directory = Path(arguments[1])
    # Sockets are reached from here: the folders above may be closed to the user that we become.
    os.chdir(run_directory)
    sockets = adopt(os.environ)  # type: ignore[arg-type]
    event_log = int(os.environ["PORTICO_LOG_FD"])
    settings = from_json(_read_all(int(os.environ["PORTICO_SETTINGS_FD"])))
    configure(event_log, process=f"front-{os.getpid()}", form=Form(settings.front.event_log_format))
    name = os.environ.get("SUPERVISOR_PROCESS_NAME", str(os.getpid()))
    access = AccessLog(int(descriptor)) if (descriptor := os.environ.get("PORTICO_ACCESS_FD")) else None
    bundle = _bundle(os.environ.pop("PORTICO_TLS_FD", ""))
    forgive_names()
    raise_descriptor_limit()
    if settings.front.max_connections > capacity():
        structlog.get_logger().warning(
            "front.few-descriptors", max_connections=settings.front.max_connections, suffice_for=capacity()
        )
    try:
        balance = _balance(name, settings)
        worker = Worker(settings, run_directory, f"portico-front:{name}", access, event_log, bundle, balance)
    except BadModule as problem:
        structlog.get_logger().error("front.bad-module", problem=str(problem))
        sys.stderr.write(f"portico: {problem}\n")
        return 1
    if os.getuid() == 0:
        # Only now: gevent imports more when its hub is made, and may sit where only root reads
        become(workers_account(settings.front.user))
    worker.tell_doubts()
    gc.collect()
    gc.freeze()  # what is here stays for good
    gc.set_threshold(COLLECT_AFTER)
    worker.run(sockets)
    return 0


def _balance(name: str, settings: Settings) -> Balance | None:
    """In the run directory; None for a worker that has no number, or no others."""
    if not name.isdigit():
        return None
    return shared_balance(BALANCE, int(name), settings.front.workers, monotonic)


def _bundle(descriptor: str) -> Bundle | None:
    """The certificates and their keys; afterwards they are in this process alone."""
    return Bundle.from_bytes(_read_all(int(descriptor)).encode("ascii")) if descriptor else None


def _read_all(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8") as file:
        file.seek(0)
        return file.read()
