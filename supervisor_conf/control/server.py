"""The keeper's end of the control socket: who may connect, what each may hear, and nobody can hold it up.

A peer is known by the credentials that the kernel gives with its connection (unix(7), SO_PEERCRED), never by
what it says. Whatever one peer does wrong ends that peer and nothing else.
"""

from __future__ import annotations

import os
import socket as plain_socket
import struct
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import gevent
from gevent import socket
from gevent.event import Event

from supervisor_conf.control.codec import FRAME_LIMIT, Decoder, ProtocolError, encode
from supervisor_conf.control.messages import WORKER_FRAME_LIMIT, AppRoutes, Hello, Refused

UNSENT_LIMIT: Final = 32 * 1024 * 1024
"""Bytes that a peer may leave unread before it is dropped: far above all routes of a hundred apps, and above the
largest pages of a few that are offline."""

CONFIRMATION_LIMIT: Final = 1.0
"""Seconds that a worker is held until the plugin has confirmed its pid."""

HELLO_LIMIT: Final = 5.0
"""Seconds that a peer may be connected without saying who it is."""

GOODBYE_LIMIT: Final = 1.0
"""Seconds in which a peer may read what it was told last."""

_READ_SIZE: Final = 64 * 1024
_BACKLOG: Final = 128
_PEER_CREDENTIALS: Final = struct.Struct("=iII")


class NotAdmitted(Exception):
    """The peer may not do this; the text is the sentence it is refused with."""


@dataclass(eq=False)
class Peer:
    """One connection. `send` never waits."""

    socket: socket.socket
    pid: int
    uid: int
    number: int
    role: str = ""
    name: str = ""
    using: tuple[tuple[str, int], ...] = ()
    routes_sent: dict[str, AppRoutes] = field(default_factory=dict)
    _unsent: bytearray = field(default_factory=bytearray)
    _written: int = 0  # bytes, since the beginning
    _descriptors: deque[tuple[int, int]] = field(default_factory=deque)
    """Each with the position in the stream of the message that it belongs to."""
    _something_to_write: Event = field(default_factory=Event)
    closing: bool = False

    def send(self, message: object, descriptor: int | None = None) -> None:
        """`descriptor` is sent along (SCM_RIGHTS) and closed here, whatever becomes of it."""
        if self.closing:
            if descriptor is not None:
                os.close(descriptor)
            return
        if descriptor is not None:
            self._descriptors.append((self._written + len(self._unsent), descriptor))
        self._unsent += encode(message, WORKER_FRAME_LIMIT if self.role == "worker" else FRAME_LIMIT)
        if len(self._unsent) > UNSENT_LIMIT:
            self._unsent.clear()
            self.close()
        self._something_to_write.set()

    def send_routes(self, routes: AppRoutes) -> None:
        """Nothing is said twice, unless the peer has asked since."""
        if self.role != "worker":
            raise AssertionError("routes carry tokens: they are for workers only")
        if self.routes_sent.get(routes.app) != routes:
            self.routes_sent[routes.app] = routes
            self.send(routes)

    def close(self) -> None:
        """What was said before is still written, as far as the peer reads it within GOODBYE_LIMIT."""
        self.closing = True
        self._something_to_write.set()

    def write(self) -> None:
        """The one writer of this connection: a greenlet of its own."""
        try:
            while True:
                if self._unsent:
                    with gevent.Timeout(GOODBYE_LIMIT if self.closing else None):
                        sent = self._send_some()
                    del self._unsent[:sent]
                    self._written += sent
                elif self.closing:
                    break
                else:
                    self._something_to_write.clear()
                    self._something_to_write.wait()
        except (OSError, gevent.Timeout):
            pass  # it is gone, or does not read: there is nobody to tell
        self.closing = True
        while self._descriptors:
            os.close(self._descriptors.popleft()[1])
        try:
            self.socket.shutdown(plain_socket.SHUT_RDWR)  # wakes the reader, which closes
        except OSError:
            pass  # it was closed by the peer

    def _send_some(self) -> int:
        """Bytes sent. A descriptor goes with the first byte of its message, so it is there before the last."""
        if not self._descriptors:
            return self.socket.send(bytes(self._unsent[:_READ_SIZE]))
        position, descriptor = self._descriptors[0]
        if position > self._written:
            return self.socket.send(bytes(self._unsent[: min(_READ_SIZE, position - self._written)]))
        rights = [(plain_socket.SOL_SOCKET, plain_socket.SCM_RIGHTS, struct.pack("=i", descriptor))]
        sent = self.socket.sendmsg([bytes(self._unsent[:1])], rights)
        self._descriptors.popleft()
        os.close(descriptor)
        return sent


class Roster(Protocol):
    """Who the peers are, and what is done about what they say."""

    def is_worker(self, pid: int, uid: int) -> bool: ...
    def may_order(self, uid: int) -> bool: ...
    def welcome(self, peer: Peer) -> None: ...
    def heard(self, peer: Peer, message: Any) -> None: ...
    def gone(self, peer: Peer) -> None: ...


class ControlServer:
    """`path` is replaced when listening begins, and removed at the end if it is still this server's.

    `group` is who may connect besides the owner: the workers' group as root, None for an ordinary user.
    """

    def __init__(self, path: Path, roster: Roster, log: Any, *, group: int | None = None) -> None:
        self._path = path
        self._roster = roster
        self._log = log
        self._group = group
        self._listener: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._confirmed = Event()
        self._count = 0
        self._acceptor: gevent.Greenlet[..., Any] | None = None

    def start(self) -> None:
        """Raises OSError if the socket cannot be made."""
        self._listener = self._bound()
        self._acceptor = gevent.spawn(self._accept)

    def close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.kill()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        try:
            if self._identity == _identity(self._path):
                self._path.unlink()
        except FileNotFoundError:
            pass  # somebody has tidied up already

    def worker_confirmed(self) -> None:
        """The plugin has named another worker: those who are held may be it."""
        self._confirmed.set()
        self._confirmed = Event()

    def _bound(self) -> socket.socket:
        """Under a name of its own first: at `path` there is never a socket with other rights than it shall have."""
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        listener = socket.socket(plain_socket.AF_UNIX, plain_socket.SOCK_STREAM)
        old_mask = os.umask(0o177)
        try:
            listener.bind(str(temporary))
        finally:
            os.umask(old_mask)
        if self._group is not None:
            os.chown(temporary, -1, self._group)
            os.chmod(temporary, 0o660)
        listener.listen(_BACKLOG)
        self._identity = _identity(temporary)
        os.rename(temporary, self._path)
        return listener

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                self._log.error("control.accept-failed", error=str(error))
                gevent.sleep(0.1)  # EMFILE and its like pass
                continue
            self._count += 1
            credentials = connection.getsockopt(
                plain_socket.SOL_SOCKET, plain_socket.SO_PEERCRED, _PEER_CREDENTIALS.size
            )
            pid, uid, _ = _PEER_CREDENTIALS.unpack(credentials)
            gevent.spawn(self._serve, Peer(connection, pid, uid, self._count))

    # ---------------------------------------------------------------------------------------------------
    # One peer

    def _serve(self, peer: Peer) -> None:
        writer = gevent.spawn(peer.write)
        try:
            self._listen_to(peer)
        except NotAdmitted as refusal:
            self._log.warning("control.refused", pid=peer.pid, uid=peer.uid, why=str(refusal))
            peer.send(Refused(str(refusal)))
        except ProtocolError as error:
            self._log.warning("control.garbage", pid=peer.pid, uid=peer.uid, why=str(error))
            peer.send(Refused(str(error)))
        except OSError as error:
            if not peer.closing:
                self._log.info("control.lost", pid=peer.pid, error=str(error))
        finally:
            if peer.role:
                self._roster.gone(peer)
            peer.close()
            writer.join()
            peer.socket.close()

    def _listen_to(self, peer: Peer) -> None:
        decoder = Decoder()
        silent = gevent.Timeout.start_new(HELLO_LIMIT, NotAdmitted("Say Hello first."))
        try:
            while data := peer.socket.recv(_READ_SIZE):
                for message in decoder.feed(data):
                    if peer.role:
                        self._roster.heard(peer, message)
                    else:
                        silent.cancel()
                        self._admit(peer, message)
        finally:
            silent.close()

    def _admit(self, peer: Peer, message: object) -> None:
        if not isinstance(message, Hello):
            raise NotAdmitted("Say Hello first.")
        if message.role == "worker":
            self._wait_for_confirmation(peer.pid, peer.uid)
        elif message.role != "operator":
            raise NotAdmitted(f"There is no role {message.role!r}: a peer is a worker or an operator.")
        elif not self._roster.may_order(peer.uid):
            raise NotAdmitted("Orders are taken from root and from the user who started Portico only.")
        peer.role, peer.name, peer.using = message.role, message.name, message.using
        self._roster.welcome(peer)

    def _wait_for_confirmation(self, pid: int, uid: int) -> None:
        with gevent.Timeout(
            CONFIRMATION_LIMIT, NotAdmitted(f"Process {pid} is not a worker of this Portico.")
        ):
            while not self._roster.is_worker(pid, uid):
                self._confirmed.wait()


def _identity(path: Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
