"""The operator's end of the control socket: plain blocking sockets, for supervisorctl's `app` words.

Workers speak the same protocol with sockets of their own; all they share with this is the codec.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from supervisor_conf.control.codec import Decoder, ProtocolError, encode
from supervisor_conf.control.messages import Done, Hello, Order, Progress, Refused

CONNECT_TIMEOUT: Final = 5.0
"""Seconds. The keeper accepts within milliseconds; a restart of it takes less than two."""

_READ_SIZE: Final = 64 * 1024


class ControlError(Exception):
    """An order could not be carried to the keeper. The text is a sentence for the person who gave it."""


class ControlClient:
    """One operator's connection.

        with ControlClient(run_directory / "control.sock") as client:
            done = client.order(Order("status"), show=print)

    Raises ControlError if nobody answers at `path`, if the keeper refuses this user, or if it goes away.
    """

    def __init__(self, path: str | os.PathLike[str], *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self._path = Path(path)
        self._connect_timeout = connect_timeout
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self._socket = self._connected()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def order(self, order: Order, show: Callable[[str], None]) -> Done:
        """Give `order` and wait for its end, however long it takes; each line on the way goes to `show`."""
        self._send(encode(Hello("operator")) + encode(order))
        for message in self._messages():
            match message:
                case Progress(text):
                    show(text)
                case Done():
                    return message
                case Refused(sentence):
                    raise ControlError(sentence)
        raise ControlError("The keeper went away before the order was carried out.")

    def _connected(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(self._connect_timeout)
        try:
            peer.connect(str(self._path))
        except OSError as error:
            peer.close()
            raise ControlError(_unreachable(self._path, error)) from error
        peer.settimeout(None)
        return peer

    def _send(self, data: bytes) -> None:
        assert self._socket is not None, "connect first: with ControlClient(path) as client"
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # a Refused may wait to be read; without one, the end of the stream says it

    def _messages(self) -> Iterator[object]:
        decoder = Decoder()
        while data := self._read():
            try:
                yield from decoder.feed(data)
            except ProtocolError as error:
                raise ControlError(f"The keeper's answer cannot be read: {error}") from error

    def _read(self) -> bytes:
        assert self._socket is not None
        try:
            return self._socket.recv(_READ_SIZE)
        except ConnectionResetError:
            return b""


def _unreachable(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"You may not use {path}: it belongs to root and to the user who started Portico."
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"Portico does not run here: nobody answers at {path}."
    return f"Cannot connect to {path}: {error.strerror or error}."
