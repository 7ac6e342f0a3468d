"""The client's end of TLS over a memory socket, with the interface of one: what is sent is encrypted, what came is
decrypted. The wire underneath stays the test's: it may be cut anywhere."""

from __future__ import annotations

import functools
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from proxy.tls import Tls
from supervisor_conf.certificates import Bundle, load
from supervisor_conf.tls_settings import CertificateFiles, TlsSettings
from tests.kit.certificates import Authority
from tests.kit.memory import MemorySocket

NAME = "a.example"
#: Taken off the wire at once, so that who does not read is felt at the other end.
TAKEN = 20_000


@dataclass(frozen=True, slots=True)
class Material:
    """An authority, what it has issued, and how a front uses that."""

    authority: Authority
    settings: TlsSettings
    bundle: Bundle


@functools.cache
def material(client_certificate: str = "off", minimum_version: str = "1.2") -> Material:
    folder = Path(tempfile.mkdtemp(prefix="portico-tests-"))
    authority = Authority(folder)
    pair, other = authority.issue(NAME), authority.issue("b.example", "*.b.example")
    files = tuple(CertificateFiles(one.certificate, one.key) for one in (pair, other))
    settings = TlsSettings(
        files, 1, minimum_version, client_certificate, authority.file, 0, 0, 0, False, False
    )
    bundle = load(settings)
    for path in folder.iterdir():
        if path != authority.file:
            path.unlink()
    return Material(authority, settings, bundle)


def server_side(**more: str) -> Tls:
    found = material(**more)
    return Tls(found.settings, found.bundle)


def client_context(version: ssl.TLSVersion | None = None, **more: str) -> ssl.SSLContext:
    context = material(**more).authority.context()
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsMemorySocket:
    """`raw`: the far end of a connection."""

    def __init__(
        self,
        raw: MemorySocket,
        context: ssl.SSLContext,
        name: str = NAME,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.raw = raw
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        self._plain = b""
        self._unsent = b""
        self._notified = False
        self._ending = False

    # The handshake

    def shake(self) -> bool:
        """One step of the handshake: whether it is done. Raises SSLError."""
        self._take()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.flush()
        return True

    # As a MemorySocket

    def fileno(self) -> int:
        return self.raw.fileno()

    @property
    def closed(self) -> bool:
        return self.raw.closed

    def can_read(self) -> bool:
        self._read()
        return bool(self._plain) or self._notified or self.raw.broken or self.raw.ended

    def can_write(self) -> bool:
        self.flush()
        return not self._unsent and self.raw.can_write()

    def recv(self, size: int) -> bytes:
        while len(self._plain) < size and self._read():
            pass
        taken, self._plain = self._plain[:size], self._plain[size:]
        if taken or self._notified:
            return taken
        if self.raw.can_read() and not self.raw._incoming.data and not self.raw.recv(1):
            raise ConnectionError("cut off without close_notify")
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        self.tls.write(data)
        self.flush()
        return len(data)

    def shutdown(self, how: int) -> None:
        """close_notify, and FIN as soon as there is room for both."""
        self.close_notify()
        self._ending = True
        self.flush()

    def close_notify(self) -> None:
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # the other side's is not here
        self.flush()

    def close(self) -> None:
        self.raw.close()

    def reset(self) -> None:
        self.raw.reset()

    def recv_all(self) -> bytes:
        return self.recv(1 << 30) if self.can_read() else b""

    def here(self) -> bytes:
        while self._read():
            pass
        taken, self._plain = self._plain, b""
        return taken

    @property
    def ended(self) -> bool:
        """Everything was read, and close_notify has come."""
        self._read()
        return self._notified and not self._plain and not self.raw.broken

    @property
    def broken(self) -> bool:
        return self.raw.broken

    # ----------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        self._unsent += self._out.read()
        while self._unsent and self.raw.can_write():
            self._unsent = self._unsent[self.raw.send(self._unsent) :]
        if self._ending and not self._unsent:
            self._ending = False
            self.raw.shutdown(1)

    def _take(self) -> bool:
        if not self.raw._incoming.data:
            return False
        self._in.write(self.raw.recv(TAKEN))
        return True

    def _read(self) -> bool:
        """Whether anything came off the wire."""
        self.flush()
        moved = self._take()
        try:
            while piece := self.tls.read(1 << 16):
                self._plain += piece
            self._notified = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._notified = True
        return moved
