"""The link to the keeper: a socketpair of its own for each keeper, inside supervisord's poller.

Never XML-RPC, which every supervisorctl may call, and never so that supervisord's one thread waits: a turn reads
and writes a bounded number of bytes, and what the keeper does not take is held up to a limit.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Final

from supervisor.medusa import asyncore_25 as asyncore

from supervisor_conf.control import messages
from supervisor_conf.control.codec import Decoder, ProtocolError, encode
from supervisor_conf.plugin.descriptors import lift

TURN: Final = 64 * 1024
"""Bytes read, and bytes written, in one turn of supervisord's loop."""
UNSENT: Final = 8 * 1024 * 1024
"""So much the keeper may leave unread before it counts as broken."""


class Link:
    """supervisord's end. `broken` is called, once, with a sentence when the peer cannot be talked to any more;
    the end of the stream is no such case: the keeper has ended, and supervisord will reap it."""

    def __init__(
        self,
        end: socket.socket,
        receive: Callable[[Any], None],
        broken: Callable[[str], None],
        poller: Any,
    ) -> None:
        self._socket = socket.socket(fileno=lift(end.fileno()))
        self._socket.setblocking(False)
        self._fd = self._socket.fileno()
        self._receive = receive
        self._broken = broken
        self._poller = poller
        self._decoder = Decoder(messages.PLUGIN_LINK_FRAME_LIMIT)
        self._unsent = bytearray()
        self._ended = False
        self.closed = False
        asyncore.socket_map[self._fd] = self

    def send(self, message: object) -> None:
        if self.closed:
            return
        self._unsent += encode(message, messages.PLUGIN_LINK_FRAME_LIMIT)
        if len(self._unsent) > UNSENT:
            self._break("The keeper does not read what it is told.")
            return
        # Most of the time the socket takes it at once; the poller is for the rest.
        self.handle_write_event()

    def drain(self) -> None:
        """What an ended keeper said last."""
        while not self.closed and not self._ended and self._read_some():
            pass

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        asyncore.socket_map.pop(self._fd, None)
        for unregister in (self._poller.unregister_readable, self._poller.unregister_writable):
            try:
                unregister(self._fd)
            except KeyError:
                # It was not waited for.
                pass
        self._socket.close()

    # ----------------------------------------------------------------------------------------------------------
    # What supervisord's poller calls

    def readable(self) -> bool:
        return not self.closed and not self._ended

    def writable(self) -> bool:
        return not self.closed and bool(self._unsent)

    def handle_read_event(self) -> None:
        self._read_some()

    def handle_write_event(self) -> None:
        if self.closed or not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent[:TURN])
        except BlockingIOError:
            return
        except OSError:
            # EPIPE: nobody is there to read it. The next keeper gets Memory.
            self._unsent.clear()
            self._ended = True
            return
        del self._unsent[:sent]

    def handle_error(self) -> None:
        self._break("An order of the keeper could not be carried out.")

    # ----------------------------------------------------------------------------------------------------------

    def _read_some(self) -> bool:
        try:
            data = self._socket.recv(TURN)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._ended = True
            return False
        try:
            orders = self._decoder.feed(data)
        except ProtocolError as error:
            self._break(str(error))
            return False
        for order in orders:
            self._receive(order)
        return True

    def _break(self, sentence: str) -> None:
        if not self.closed:
            self._ended = True
            self._unsent.clear()
            self._broken(sentence)


def pair() -> tuple[socket.socket, int]:
    """supervisord's end (not in the poller yet), and the descriptor for the keeper."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = theirs.detach()
    os.set_inheritable(fd, False)
    return ours, fd
