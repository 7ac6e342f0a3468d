"""An app whose every byte the test decides: a listening socket, and one script for each connection, in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

END_OF_HEAD = b"\r\n\r\n"


class AppSide:
    """The app's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        self.socket = sock
        self._rest = b""

    def head(self) -> bytes:
        """The next request head, with its empty line; b"" when the front has closed."""
        return self._until(END_OF_HEAD)

    def exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            data = self.socket.recv(65536)
            if not data:
                break
            self._rest += data
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def until(self, mark: bytes) -> bytes:
        return self._until(mark)

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def is_ended(self) -> bool:
        """Wait for the front to close; False if it says something instead."""
        try:
            return not self._rest and not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return b""
            if not data:
                return b""
            self._rest += data
        end = self._rest.index(mark) + len(mark)
        taken, self._rest = self._rest[:end], self._rest[end:]
        return taken


Script = Callable[[AppSide], None]


class RawApp:
    """`connections` counts what was accepted; a script that fails makes `close` fail."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.problems: list[BaseException] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._play, args=(script, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, script: Script, sock: socket.socket) -> None:
        try:
            script(AppSide(sock))
        except BaseException as problem:  # noqa: BLE001  raised again by `join`
            self.problems.append(problem)
        finally:
            sock.close()

    def stop_listening(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(20)

    def join(self) -> None:
        """Wait for every script to end; raises what one of them raised."""
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive(), "a script of the app does not end"
        if self.problems:
            raise self.problems[0]

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self.stop_listening()
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its script has closed it
        self.join()


@contextmanager
def raw_app(*scripts: Script) -> Iterator[RawApp]:
    """The first connection plays the first script, and so on; the last script plays for all that follow."""
    app = RawApp(*scripts)
    try:
        yield app
    finally:
        app.close()


def answer(status: bytes = b"200 OK", body: bytes = b"", *fields: bytes) -> bytes:
    """A plain response."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + END_OF_HEAD + body


def answering(response: bytes) -> Script:
    """A script that answers every request without a body with this."""

    def script(app: AppSide) -> None:
        while app.head():
            app.say(response)

    return script
