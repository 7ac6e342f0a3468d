"""One `portico run`: from settings to supervisord in this very process, and the order left behind at its end."""

from __future__ import annotations

import errno
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from backend_shim import autoload
from supervisor_conf import check, nonces, run_directory
from supervisor_conf.conffile import minimum_descriptors, render_supervisorctl_conf, render_supervisord_conf
from supervisor_conf.keeper import processes
from supervisor_conf.last_will import LastWill
from supervisor_conf.plugin import sockets
from supervisor_conf.plugin.descriptors import raise_limit
from supervisor_conf.plugin.source import Source
from supervisor_conf.settings import InvalidSettings, Settings

# Workers of an instance that was killed die with it, but not in the same instant: their address is free soon
_PATIENCE_AFTER_A_CRASH = 2.0
_LOOK_AGAIN = 0.05


class CannotRun(Exception):
    """Portico cannot run here; `sentences` say why, one a line."""

    def __init__(self, *sentences: str):
        self.sentences = sentences
        super().__init__("\n".join(sentences))


def run(settings: Settings, environ: Mapping[str, str], listen: Sequence[str] = ()) -> int:
    """Become supervisord; returns the exit status when it has ended. Raises CannotRun or InvalidSettings before
    anything has started.

    `listen`: the addresses of the command line, for when the file is read again.
    """
    warnings = _look_at_machine(settings, environ)
    directory = settings.front.run_directory
    try:
        lock = run_directory.prepare(directory)
    except run_directory.UnusableRunDirectory as problem:
        raise CannotRun(str(problem)) from problem
    try:
        left = processes.sweep_run(nonces.ending(directory))
        if left:
            warnings.append(
                f"warning: {left} processes of an earlier run were still there, and have been killed"
            )
        _raise_descriptor_limit(settings)
        shim = _install_shim(directory)
        _bind(settings, patience=_PATIENCE_AFTER_A_CRASH if lock.after_a_crash else 0)
        run_directory.write(directory / run_directory.SUPERVISORD_CONF, render_supervisord_conf(settings))
        run_directory.write(directory / run_directory.SUPERVISORCTL_CONF, render_supervisorctl_conf(settings))
        for warning in warnings:
            print(warning, file=sys.stderr, flush=True)
        return _become_supervisord(settings, directory, shim, _source(settings, environ, listen))
    finally:
        sockets.close_all()
        run_directory.remove_sockets(directory)
        lock.release()


def run_in_temporary_directory(
    settings: Settings, environ: Mapping[str, str], listen: Sequence[str] = ()
) -> int:
    """The same; nothing of the run directory stays."""
    try:
        return run(settings, environ, listen)
    finally:
        shutil.rmtree(settings.front.run_directory, ignore_errors=True)


def _look_at_machine(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """The warnings; raises CannotRun, InvalidSettings. Addresses are not tried here: they are bound for good a moment
    later."""
    findings = check.check_machine(settings, environ, addresses=False)
    if mistakes := [one.error for one in findings if one.severity is check.Severity.MISTAKE]:
        raise InvalidSettings(mistakes)
    if refused := [str(one) for one in findings if one.severity is check.Severity.REFUSAL]:
        raise CannotRun(*refused)
    return [str(one) for one in findings]


def _raise_descriptor_limit(settings: Settings) -> None:
    """Before anything is put high up: supervisord would raise the limit later, above what must not be closed."""
    raise_limit(minimum_descriptors(settings) + check.DESCRIPTORS_ABOVE)


def _bind(settings: Settings, patience: float) -> None:
    """`patience`: seconds for an address that is in use."""
    end = time.monotonic() + patience
    while True:
        try:
            sockets.bind_all(settings.front.listen)
            return
        except sockets.AddressUnavailable as problem:
            cause = problem.__cause__
            in_use = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
            if not in_use or time.monotonic() >= end:
                raise CannotRun(problem.sentence.rstrip(".")) from problem
        time.sleep(_LOOK_AGAIN)


def _install_shim(directory: Path) -> Path:
    """A copy that every app's user can read, whatever folder Portico is installed in."""
    try:
        return autoload.install(directory / run_directory.SHIM)
    except OSError as problem:
        sentence = f"the run directory {directory} cannot be written: {problem.strerror}"
        raise CannotRun(sentence) from problem


def _source(settings: Settings, environ: Mapping[str, str], listen: Sequence[str]) -> Source | None:
    """Where the settings come from; None for those of a command line."""
    return None if settings.file is None else Source(settings.file, dict(environ), tuple(listen))


def _become_supervisord(settings: Settings, directory: Path, shim: Path, source: Source | None) -> int:
    from supervisor import supervisord

    from supervisor_conf.plugin import guard, rpc

    try:
        rpc.prepare(settings, terminal=sys.stdout.fileno(), shim=shim, source=source)
    except guard.Unsuitable as problem:
        raise CannotRun(str(problem)) from problem
    sys.stdout.flush()
    arguments = ["-n", "-c", str(directory / run_directory.SUPERVISORD_CONF)]
    try:
        will = LastWill(directory)
    except OSError as problem:
        raise CannotRun(f"the process that cleans up after Portico cannot be started: {problem}") from problem
    try:
        supervisord.main(arguments)
    except SystemExit as end:
        # its `usage` writes the reason to stderr and exits with 2, which here would mean a wrong configuration
        return 1 if end.code else 0
    finally:
        will.revoke()
    return 0
