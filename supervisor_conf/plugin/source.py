"""Where the settings come from, so that they can be read again: the file, and the environment of `portico run`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from supervisor_conf.check import Severity, check_machine
from supervisor_conf.settings import InvalidSettings, Settings, load_settings
from supervisor_conf.webconfig import is_web_config

Signature = tuple[int, int, int, int]


class Unusable(Exception):
    """The file cannot be taken over; the message is the sentences, one a line."""


@dataclass(frozen=True, slots=True)
class Source:
    """`listen`: addresses of the command line, which take the place of the file's."""

    file: Path
    environ: Mapping[str, str] = field(repr=False)
    listen: tuple[str, ...] = ()

    @property
    def is_web_config(self) -> bool:
        return is_web_config(self.file)

    def read(self) -> tuple[Settings, tuple[str, ...]]:
        """The settings as the file has them now, and the warnings. Raises Unusable, as `portico run` would refuse."""
        try:
            settings = load_settings(self.file, self.environ, self.listen)
            findings = check_machine(settings, self.environ, addresses=False)
        except InvalidSettings as problem:
            raise Unusable(str(problem)) from problem
        except OSError as problem:
            raise Unusable(f"{self.file}: {problem.strerror}") from problem
        refusals = [str(one) for one in findings if one.severity is not Severity.WARNING]
        if refusals:
            raise Unusable("\n".join(refusals))
        return settings, tuple(str(one) for one in findings)

    def signature(self) -> Signature | None:
        """What of the file can be seen without reading it; None: it is not there. Links are followed."""
        try:
            status = os.stat(self.file)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
