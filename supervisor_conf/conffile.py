"""Settings -> the files supervisord and supervisorctl read. Pure; nothing a user wrote but paths gets into them.

supervisord's rules behind the escapes (`supervisor.options`): a value is expanded by `%` once, `stdout_logfile` twice;
` ;` and ` #` begin comments and cannot be escaped (`run_directory.obstacle` refuses such folders); `command` is split
like shell words.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import supervisor_conf
from supervisor_conf import run_directory as files
from supervisor_conf.settings import AppSettings, Settings

KEEPER = "portico-keeper"
FRONT = "portico-front"

# supervisord starts groups by rising and stops them by falling priority
_PRIORITY_KEEPER, _PRIORITY_APPS, _PRIORITY_FRONT = 10, 20, 30

# A process that must always be there is never given up; the plugin sets the delays between its starts
_NEVER_GIVEN_UP = 1_000_000
# The worker ends its drain by itself; supervisord kills it only if it did not
_STOP_MARGIN = 5
_KEEPER_STOP = 5

# Descriptors in supervisord: three pipes and two logs for each process, twice while it is recycled; the rest of
# supervisord and the connections of supervisorctl
_DESCRIPTORS_A_PROCESS = 6
_DESCRIPTORS_APART = 200

_LOG_BYTES = 1024 * 1024
_LOGS_KEPT = 3

Section = tuple[str, Mapping[str, object]]


def render_supervisord_conf(settings: Settings, python: str = sys.executable, include: bool = False) -> str:
    """supervisord.conf for these settings; `python` runs our own processes.

    `include`: only the sections that the `[include]` of somebody's supervisord.conf needs.
    """
    return _text(_included(settings, python) if include else _whole(settings, python))


def render_supervisorctl_conf(settings: Settings) -> str:
    """supervisorctl.conf: the address of the instance, and the word `app`."""
    run = settings.front.run_directory
    plugin = {"supervisor.ctl_factory": "supervisor_conf.ctl:make", "run_directory": _path(run)}
    return _text([_supervisorctl(run), ("ctlplugin:portico", plugin)])


def minimum_descriptors(settings: Settings) -> int:
    """`minfds`: what supervisord makes sure of, and what each fork closes one by one (so no more than needed)."""
    processes = sum(app.processes for app in settings.apps) + settings.front.workers + 1
    return _DESCRIPTORS_APART + 2 * _DESCRIPTORS_A_PROCESS * processes


def _whole(settings: Settings, python: str) -> list[Section]:
    run = settings.front.run_directory
    return [
        ("supervisord", _supervisord(settings)),
        ("unix_http_server", {"file": _path(run / files.SUPERVISOR_SOCKET), "chmod": "0700"}),
        _supervisorctl(run),
        ("rpcinterface:supervisor", _rpc("supervisor.rpcinterface:make_main_rpcinterface")),
        ("rpcinterface:portico", _rpc("supervisor_conf.plugin.rpc:make")),
        *_programs(settings, python),
    ]


def _included(settings: Settings, python: str) -> list[Section]:
    plugin = _rpc("supervisor_conf.plugin.rpc:make")
    if settings.file is not None:
        plugin["config"] = _path(settings.file)
    return [("rpcinterface:portico", plugin), *map(_among_others, _programs(settings, python))]


def _among_others(section: Section) -> Section:
    """supervisord wants a log's folder before the plugin can make it: these go where all its programs' logs go."""
    name, keys = section
    if name in (f"program:{KEEPER}", f"program:{FRONT}"):
        keys = {key: value for key, value in keys.items() if not key.startswith("stdout_logfile_")}
        keys["stdout_logfile"] = "AUTO"
    return name, keys


def _supervisord(settings: Settings) -> dict[str, object]:
    run = settings.front.run_directory
    return {
        "nodaemon": "true",
        "silent": "true",  # the terminal is for what `portico run` says
        "identifier": "portico",
        "logfile": _path(run / files.SUPERVISORD_LOG),
        "logfile_maxbytes": _LOG_BYTES,
        "logfile_backups": _LOGS_KEPT,
        "pidfile": _path(run / files.SUPERVISORD_PID),
        "childlogdir": _path(run),
        "minfds": minimum_descriptors(settings),
    }


def _supervisorctl(run: Path) -> Section:
    return "supervisorctl", {
        "serverurl": f"unix://{_path(run / files.SUPERVISOR_SOCKET)}",
        "prompt": "portico",
    }


def _rpc(factory: str) -> dict[str, object]:
    return {"supervisor.rpcinterface_factory": factory}


def _programs(settings: Settings, python: str) -> list[Section]:
    return [
        _keeper(settings, python),
        _front(settings, python),
        *(_app(app, python) for app in settings.apps),
    ]


def _keeper(settings: Settings, python: str) -> Section:
    run = settings.front.run_directory
    command = (python, "-P", "-m", "supervisor_conf.keeper", str(run))
    return f"program:{KEEPER}", {
        "command": _command(command),
        "priority": _PRIORITY_KEEPER,
        **_always_there(_KEEPER_STOP),
        **_own_log(run / f"{KEEPER}.log"),
    }


def _front(settings: Settings, python: str) -> Section:
    run = settings.front.run_directory
    command = (python, "-P", "-m", "proxy", str(run))
    return f"program:{FRONT}", {
        "command": _command(command),
        "process_name": "%(process_num)d",
        "numprocs": settings.front.workers,
        "priority": _PRIORITY_FRONT,
        **_always_there(math.ceil(settings.front.drain_limit) + _STOP_MARGIN),
        **_own_log(run / f"{FRONT}-", "%(process_num)d.log"),
    }


def _app(app: AppSettings, python: str) -> Section:
    launcher = Path(supervisor_conf.__file__).with_name("launch_main.py")
    numbered = {"process_name": "%(process_num)d", "numprocs": app.processes} if app.processes > 1 else {}
    return f"program:{app.name}", {
        "command": _command((python, "-I", "-S", str(launcher), app.name)),
        **numbered,
        "priority": _PRIORITY_APPS,
        # one owner for restarts, the keeper: supervisord neither starts nor restarts nor retries
        "autostart": "false",
        "autorestart": "false",
        "startsecs": 0,
        "startretries": 0,
        "stopwaitsecs": math.ceil(app.shutdown_time_limit),
        "stopasgroup": "true",
        "killasgroup": "true",
        "serverurl": "",
        # the plugin opens a file of its own for each start
        "redirect_stderr": "true",
        "stdout_logfile": "NONE",
    }


def _always_there(stop_wait: int) -> dict[str, object]:
    return {
        "autostart": "true",
        "autorestart": "true",
        "startsecs": 1,
        "startretries": _NEVER_GIVEN_UP,
        "stopwaitsecs": stop_wait,
        "serverurl": "",
    }


def _own_log(path: Path, numbered: str = "") -> dict[str, object]:
    """Tracebacks and the like of our own processes; their events go to portico.log."""
    return {
        "redirect_stderr": "true",
        "stdout_logfile": _path(path).replace("%", "%%") + numbered,
        "stdout_logfile_maxbytes": _LOG_BYTES,
        "stdout_logfile_backups": 1,
    }


def _command(words: Iterable[str]) -> str:
    return shlex.join(words).replace("%", "%%")


def _path(path: Path) -> str:
    return str(path).replace("%", "%%")


def _text(sections: Iterable[Section]) -> str:
    blocks = ["; Made by Portico at every start: changes are lost."]
    for name, values in sections:
        blocks.append(
            "\n".join([f"[{name}]", *(f"{key} = {value}".rstrip() for key, value in values.items())])
        )
    return "\n\n".join(blocks) + "\n"
