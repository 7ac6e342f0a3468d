"""The word `app` of supervisorctl: carries orders to the keeper's control socket, shows what comes back.

Loaded by `[ctlplugin:portico] supervisor.ctl_factory = supervisor_conf.ctl:make`. Where the keeper is: `control`
names its socket, else `run_directory` the folder of it, else it is beside the socket of `serverurl`.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from supervisor.supervisorctl import ControllerPluginBase

from supervisor_conf.control.client import ControlClient, ControlError
from supervisor_conf.control.messages import Done, Order
from supervisor_conf.logtail import LogTail

CONTROL_SOCKET: Final = "control.sock"

LOOK: Final = 0.1
"""Seconds between two looks at a log that is followed."""

_UNIX: Final = "unix://"

_HELP: Final = """\
app status [NAME] [--json]   what runs: pid, port, guarded or not, since when
app start NAME               start it and wait until it is ready; lifts `app stop`
app stop NAME                let its requests finish, then stop it; visitors get 503
app offline NAME [MESSAGE]   visitors get 503 with the message at once; the app is drained and stopped
app online NAME              the end of that
app why NAME [--json]        why it is down, its last failed start or crash, and its last good start since
app recycle NAME             replace its processes one at a time, each new one first
app recycle portico-front    the same with the workers
app reset NAME               forget that it failed too often: it may start at once
app requests [NAME] [--json] what is in flight or waits: age, phase, app, pid, client, target without query
app log NAME [-f]            the end of its output; -f: and what follows, from one start to the next
app reload                   read the configuration again and apply what changed; so does SIGHUP
app reopen                   open the log files anew, after logrotate has moved them; so does SIGUSR2"""


_ASKS_FOR_HELP: Final = ("help", "--help", "-h")


class AppWords(ControllerPluginBase):
    """`app …`. Exit status: 0 done, 1 refused or failed, 2 usage."""

    name = "portico"

    def __init__(self, controller: Any, control: str = "", run_directory: str = "") -> None:
        super().__init__(controller)  # type: ignore[no-untyped-call]
        self._control = control
        self._run_directory = run_directory

    def do_app(self, line: str) -> None:
        self.ctl.exitstatus = self._carry_out(line)

    def help_app(self) -> None:
        self.ctl.output(_HELP)

    def _carry_out(self, line: str) -> int:
        try:
            typed = shlex.split(line)
        except ValueError as error:
            return _complain(f"Cannot read {line!r}: {error}.", 2)
        words = [word for word in typed if word != "--json"]
        if not words:
            return _complain(_HELP, 2)
        if words[0] in _ASKS_FOR_HELP:
            self.help_app()
            return 0
        if words[0] == "log":
            return self._log(words)
        order = Order(words[0], tuple(words[1:]), json="--json" in typed)
        done = self._give(order, self._show_progress)
        if done.status:
            return _complain(done.text, done.status)
        if done.text:
            self.ctl.output(done.text)
        return 0

    def _log(self, words: list[str]) -> int:
        follow = "-f" in words
        done = self._give(
            Order("log", tuple(word for word in words[1:] if word != "-f")), self._show_progress
        )
        if done.status:
            return _complain(done.text, done.status)
        tail = LogTail(done.text)
        try:
            _write(tail.last())
            while follow:
                _write(tail.more())
                time.sleep(LOOK)
        except KeyboardInterrupt:
            pass  # Ctrl-C is how one ends it
        except BrokenPipeError:
            # Of `app log -f | head`: nobody reads any more, the interpreter's own flush included.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            tail.close()
        return 0

    def _give(self, order: Order, show: Callable[[str], None]) -> Done:
        try:
            with ControlClient(self._socket()) as client:
                return client.order(order, show)
        except ControlError as error:
            return Done(1, str(error))

    def _show_progress(self, text: str) -> None:
        self.ctl.output(text)
        # A start may take minutes: its first line is to be seen before its last, also in a pipe.
        sys.stdout.flush()

    def _socket(self) -> Path:
        if self._control:
            return Path(self._control)
        if self._run_directory:
            return Path(self._run_directory) / CONTROL_SOCKET
        url = str(self.ctl.options.serverurl or "")
        if not url.startswith(_UNIX):
            raise ControlError(
                f"Where the keeper is cannot be told from {url or 'an empty serverurl'}: "
                "set `control = /path/control.sock` in [ctlplugin:portico]."
            )
        return Path(url.removeprefix(_UNIX)).parent / CONTROL_SOCKET


def _write(data: bytes) -> None:
    if data:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


def _complain(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status


def make(controller: Any, **config: str) -> AppWords:
    """supervisor's factory of ctl plugins; `config` is the rest of its section."""
    return AppWords(controller, **config)
