"""The keeper's end of the plugin link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import gevent
from gevent import socket
from gevent.event import Event

from supervisor_conf.control.codec import Decoder, encode
from supervisor_conf.control.messages import PLUGIN_LINK_FRAME_LIMIT

_READ_SIZE: Final = 256 * 1024
_LAST_WORDS: Final = 2.0
"""Seconds in which the plugin, which never waits, takes what is said to it last."""


class PluginLink:
    """`messages` ends when supervisord is gone: then the last will is due."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._unsent = bytearray()
        self._something_to_write = Event()
        self._all_written = Event()
        self._writer = gevent.spawn(self._write)

    def send(self, message: object) -> None:
        """Never waits. Order is kept."""
        self._unsent += encode(message, PLUGIN_LINK_FRAME_LIMIT)
        self._all_written.clear()
        self._something_to_write.set()

    def messages(self) -> Iterator[Any]:
        """Raises ProtocolError if the plugin speaks another version."""
        decoder = Decoder(PLUGIN_LINK_FRAME_LIMIT)
        while data := self._read():
            yield from decoder.feed(data)

    def flush(self) -> None:
        self._all_written.wait(_LAST_WORDS)

    def _read(self) -> bytes:
        try:
            return self._socket.recv(_READ_SIZE)
        except ConnectionResetError:
            return b""

    def _write(self) -> None:
        try:
            while True:
                while self._unsent:
                    sent = self._socket.send(bytes(self._unsent))
                    del self._unsent[:sent]
                self._all_written.set()
                self._something_to_write.wait()
                self._something_to_write.clear()
        except OSError:
            pass  # the reader sees the end as well, and acts on it
