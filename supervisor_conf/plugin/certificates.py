"""The certificates that new workers are given: those on disk, or the last good ones while these cannot be used."""

from __future__ import annotations

import errno
from typing import Any

from supervisor_conf.certificates import Bundle, Unusable, load
from supervisor_conf.plugin.descriptors import memory_file
from supervisor_conf.settings import TlsSettings


class HeldCertificates:
    """The plugin outlives every worker and every keeper: what it holds is what all of them come back to."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._settings: TlsSettings | None = None
        self._bundle: Bundle | None = None

    def refresh(self, tls: TlsSettings | None) -> bool:
        """Read them again; whether they are others than before. Raises Unusable, and then nothing has changed."""
        bundle = load(tls) if tls is not None else None
        changed = self._bundle is not None and bundle != self._bundle
        self._settings, self._bundle = tls, bundle
        return changed

    def descriptor(self, tls: TlsSettings) -> int:
        """A memory file for a new worker. Raises OSError, with a sentence, where there is nothing to give."""
        try:
            self.refresh(tls)
        except Unusable as problem:
            if self._settings != tls:
                raise OSError(errno.EINVAL, problem.sentence) from problem
            self._log.error("tls.old-certificates-stay", problem=problem.sentence)
        assert self._bundle is not None
        return memory_file("portico-tls", self._bundle.to_bytes())
