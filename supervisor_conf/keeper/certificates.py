"""Certificates that are renewed while Portico runs: noticed here, tried, and handed to the workers.

A look a second at each file, links followed, and no inotify: what an ACME client or Kubernetes replaces is often a link
in a folder that the settings do not name. The workers have no rights to read a key; a memory file travels to them over
the control socket. What cannot be used is refused with a sentence, and the old certificates stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import Any, Final

import gevent

from supervisor_conf.certificates import Bundle, Unusable, load
from supervisor_conf.control.messages import CertificatesRenewed, NewCertificates, Say
from supervisor_conf.control.server import Peer
from supervisor_conf.settings import TlsSettings

LOOK_EVERY: Final = 1.0
PATIENCE: Final = 5.0
"""Seconds in which what replaces the files may be half done (a certificate before its key) without a word."""

Signature = tuple[tuple[int, int, int, int], ...]


class Certificates:
    """`workers`: who is connected now."""

    def __init__(
        self,
        tls: TlsSettings | None,
        workers: Callable[[], Iterable[Peer]],
        tell_plugin: Callable[[object], None],
        log: Any,
    ) -> None:
        self._tls = tls
        self._workers = workers
        self._tell_plugin = tell_plugin
        self._log = log
        self._bundle: Bundle | None = None  # None: not known to be good
        self._taken: Signature = ()  # of the files that were read, or refused, last
        self._seen: Signature = ()
        self._since = 0.0
        self._begin()

    def watch_for_ever(self) -> None:
        while True:
            gevent.sleep(LOOK_EVERY)
            self.look(monotonic())

    def change(self, tls: TlsSettings | None) -> None:
        """Other settings, or the same read again (`app reload`): workers that need others are being replaced."""
        if tls != self._tls:
            self._tls = tls
            self._begin()
        else:
            self._taken = ()
            self.look(monotonic())

    def welcome(self, worker: Peer) -> None:
        """It may have been started before the last renewal, or have missed it."""
        if self._bundle is not None:
            _hand(worker, self._bundle)

    def look(self, now: float) -> None:
        """Take over what has changed; say what cannot be used once it has been so for a while."""
        if self._tls is None:
            return
        signature = _signature(self._tls)
        if signature == self._taken:
            return
        if signature != self._seen:
            self._seen, self._since = signature, now
        try:
            bundle = load(self._tls)
        except Unusable as problem:
            if now - self._since >= PATIENCE:
                self._taken = signature
                self._refuse(problem)
            return
        self._taken = signature
        if bundle != self._bundle:
            self._renew(bundle)

    def _begin(self) -> None:
        """What is on disk now is what the workers have been given, unless it cannot be used."""
        self._bundle = None
        self._taken = ()
        if self._tls is None:
            return
        signature = _signature(self._tls)
        try:
            self._bundle = load(self._tls)
        except Unusable as problem:
            self._log.warning("tls.unusable", problem=problem.sentence)
        else:
            self._taken = signature

    def _renew(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._tell_plugin(CertificatesRenewed())
        for worker in self._workers():
            _hand(worker, bundle)
        names = sorted({name for one in bundle.certificates for name in one.names})
        self._log.info("tls.renewed", names=names, ends=min(one.ends for one in bundle.certificates))

    def _refuse(self, problem: Unusable) -> None:
        self._log.error("tls.renewal-refused", problem=problem.sentence)
        self._tell_plugin(Say(f"The renewed certificate is not taken, the old one stays: {problem.sentence}"))


def _hand(worker: Peer, bundle: Bundle) -> None:
    descriptor = os.memfd_create("portico-tls", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(bundle.to_bytes())
    worker.send(NewCertificates(), descriptor)


def _signature(tls: TlsSettings) -> Signature:
    paths = [path for files in tls.certificates for path in (files.certificate, files.key)]
    return tuple(_seen(path) for path in (*paths, *([tls.client_ca] if tls.client_ca else [])))


def _seen(path: Path) -> tuple[int, int, int, int]:
    """What can be seen of a file without reading it; a missing one is different from any."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, 0, 0, 0
    return status.st_dev, status.st_ino, status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)
