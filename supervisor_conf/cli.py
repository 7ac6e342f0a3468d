"""The command `portico`: reads the command line, says what is wrong in one line each, hands on.

Exit status: 0 done; 1 refused or failed; 2 usage or configuration. `portico ctl` has supervisorctl's own.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from supervisor_conf import run_directory
from supervisor_conf.settings import (
    InvalidSettings,
    Settings,
    find_run_directory,
    load_settings,
    settings_for_command,
)

DONE, REFUSED, USAGE = 0, 1, 2

DEFAULT_CONFIGS = ("portico.toml", "web.config")
DEMO_PORT = 8080

_SUPERVISORCTL = "from supervisor.supervisorctl import main; main()"


class UsageError(Exception):
    """The command line cannot be understood; the message is a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. argparse ends the process for usage errors and --help."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    words, command = _split_command(words)
    parser = _parser()
    options = parser.parse_args(words)
    if command is not None and options.word != "run":
        parser.error(f"-- COMMAND belongs to run, not to {options.word}")
    try:
        return _carry_out(options, command)
    except UsageError as problem:
        _complain(str(problem))
        return USAGE
    except InvalidSettings as problem:
        for error in problem.errors:
            print(error.sentence, file=sys.stderr)
        return USAGE


def _carry_out(options: argparse.Namespace, command: list[str] | None) -> int:
    match options.word:
        case "run" if command is not None:
            if options.config is not None:
                raise UsageError("run takes a CONFIG or -- COMMAND, not both")
            return _run_command(command, options.listen)
        case "run":
            return _run(load_settings(_config(options.config), os.environ, options.listen), options.listen)
        case "demo":
            return _demo(options.listen)
        case "check":
            return _check(load_settings(_config(options.config), os.environ))
        case "render":
            return _render(load_settings(_config(options.config), os.environ), options.include)
        case "ctl":
            return _ctl(_instance_directory(options), options.arguments)
        case _:
            json = ["--json"] if options.json else []
            return _ctl(_instance_directory(options), ["app", "status", *json])


# ------------------------------------------------------------------------------------------------------------
# The command line


def _split_command(words: list[str]) -> tuple[list[str], list[str] | None]:
    """What stands after `--` of `run` is a command, whatever it looks like."""
    if words[:1] != ["ctl"] and "--" in words:
        at = words.index("--")
        return words[:at], words[at + 1 :]
    return words, None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="portico",
        description="A front door for web apps: starts them on the first request and guards them with a token.",
        allow_abbrev=False,
    )
    words = parser.add_subparsers(dest="word", required=True, metavar="COMMAND")
    run = words.add_parser(
        "run",
        help="serve the apps of CONFIG, or one COMMAND, in the foreground",
        usage="portico run [CONFIG] [--listen URL]...\n       portico run [--listen URL]... -- COMMAND ARG...",
        allow_abbrev=False,
    )
    _add_config(run)
    _add_listen(run)
    demo = words.add_parser("demo", help="serve a small app that comes with Portico", allow_abbrev=False)
    _add_listen(demo)
    check = words.add_parser("check", help="say what is wrong with CONFIG, or with this machine for it")
    _add_config(check)
    render = words.add_parser("render", help="print the supervisord.conf that run would use")
    _add_config(render)
    render.add_argument("--include", action="store_true", help="only what an [include] of supervisord needs")
    ctl = words.add_parser("ctl", help="supervisorctl on the running instance", allow_abbrev=False)
    _add_instance(ctl)
    ctl.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    status = words.add_parser("status", help="how the apps are", allow_abbrev=False)
    _add_instance(status)
    status.add_argument("--json", action="store_true", help="for programs")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    text = "configuration file (portico.toml, else web.config, of this folder)"
    parser.add_argument("config", nargs="?", metavar="CONFIG", type=Path, help=text)


def _add_listen(parser: argparse.ArgumentParser) -> None:
    text = "address instead of [front] listen; more than once for several"
    parser.add_argument("--listen", action="append", default=[], metavar="URL", help=text)


def _add_instance(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", type=Path, metavar="FILE", help="configuration file of the instance")
    which.add_argument("--run-directory", type=Path, metavar="FOLDER", help="run directory of the instance")


def _config(given: Path | None) -> Path:
    if given is not None:
        return given
    found = _default_config()
    if found is not None:
        return found
    raise UsageError(f"no portico.toml in {Path.cwd()}; name a file, or run one app: portico run -- COMMAND")


def _default_config() -> Path | None:
    """The first of DEFAULT_CONFIGS in this folder. IIS finds a Web.config as well: so do we."""
    names = [
        *DEFAULT_CONFIGS,
        *(name for name in sorted(os.listdir()) if name.lower() == DEFAULT_CONFIGS[-1]),
    ]
    return next((Path(name) for name in names if Path(name).exists()), None)


def _complain(sentence: str) -> None:
    print(f"portico: {sentence}", file=sys.stderr)


# ------------------------------------------------------------------------------------------------------------
# run, demo


def _run(settings: Settings, listen: Sequence[str] = (), *, temporary: bool = False) -> int:
    from supervisor_conf import instance

    _end_on_sigterm()
    run = instance.run_in_temporary_directory if temporary else instance.run
    try:
        return run(settings, os.environ, listen)
    except instance.CannotRun as problem:
        for sentence in problem.sentences:
            _complain(sentence)
        return REFUSED
    except KeyboardInterrupt:
        return DONE  # before supervisord was there to hear it: nothing has been started


def _end_on_sigterm() -> None:
    """Until supervisord takes the signal over, it means: nothing has been started, clean up and go."""

    def end(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def _run_command(command: Sequence[str], listen: Sequence[str]) -> int:
    settings = settings_for_command(command, Path.cwd(), os.environ, listen, run_directory=_NOT_YET)
    return _run_temporarily(settings)


# Settings are read before a folder is made, so that a wrong command line leaves nothing behind
_NOT_YET = Path("/nonexistent")


def _run_temporarily(settings: Settings, announce: Sequence[str] = ()) -> int:
    directory = Path(tempfile.mkdtemp(prefix="portico-"))
    front = dataclasses.replace(settings.front, run_directory=directory)
    for line in announce:
        print(line.replace("{directory}", str(directory)), flush=True)
    return _run(dataclasses.replace(settings, front=front), temporary=True)


def _demo(listen: Sequence[str]) -> int:
    addresses = listen or [f"http://127.0.0.1:{_free_port(DEMO_PORT)}"]
    command = [sys.executable, "-P", "-m", "supervisor_conf.demo"]
    folder = Path(__file__).parent
    settings = settings_for_command(
        command, folder, os.environ, addresses, run_directory=_NOT_YET, name="demo"
    )
    # Without its scheme: whoever looks for a URL on the terminal finds the one that says the front accepts
    address = settings.front.listen[0].url.removeprefix("http://")
    return _run_temporarily(
        settings,
        (
            "One small app, not running yet: the first request starts it. Once the address below is served,",
            "open it in a browser, or try in another terminal:",
            f"  curl {address}",
            "  kill -9 PID     the pid that the answer shows; then curl again: another process answers",
            "  portico status --run-directory {directory}",
            "Ctrl-C ends it.",
        ),
    )


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    return wanted


# ------------------------------------------------------------------------------------------------------------
# check, render


def _check(settings: Settings) -> int:
    from supervisor_conf.check import Severity, check_machine

    pid = run_directory.running_pid(settings.front.run_directory)
    findings = check_machine(settings, os.environ, addresses=pid is None)
    for finding in findings:
        print(finding, file=sys.stderr)
    severities = {finding.severity for finding in findings}
    if Severity.MISTAKE in severities:
        return USAGE
    if Severity.REFUSAL in severities:
        return REFUSED
    running = f" (running, pid {pid})" if pid else ""
    print(f"{settings.file}: in order{running}")
    return DONE


def _render(settings: Settings, include: bool) -> int:
    from supervisor_conf.conffile import render_supervisord_conf

    for warning in settings.warnings:
        print(f"warning: {warning.error.sentence}", file=sys.stderr)
    sys.stdout.write(render_supervisord_conf(settings, include=include))
    return DONE


# ------------------------------------------------------------------------------------------------------------
# ctl, status


def _ctl(directory: Path, arguments: Sequence[str]) -> int:
    """Become supervisorctl on the instance of this run directory."""
    conf = directory / run_directory.SUPERVISORCTL_CONF
    if run_directory.running_pid(directory) is None or not conf.exists():
        _complain(f"no Portico runs in {directory}; `portico run` starts one")
        return REFUSED
    program = [sys.executable, "-P", "-c", _SUPERVISORCTL, "-c", str(conf), *arguments]
    os.execv(sys.executable, program)


def _instance_directory(options: argparse.Namespace) -> Path:
    if options.run_directory is not None:
        return Path(options.run_directory).absolute()
    config: Path | None = options.config
    if config is None:
        config = _default_config()
    if config is None:
        raise UsageError(f"no portico.toml in {Path.cwd()}; name the instance by --config or --run-directory")
    try:
        return find_run_directory(config, os.environ)
    except InvalidSettings:
        usual = Path(config).absolute().parent / "run"
        if not config.exists() or run_directory.running_pid(usual) is None:
            raise
        return usual  # a file that is being edited does not hide what runs
