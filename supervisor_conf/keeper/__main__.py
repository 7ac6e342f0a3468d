"""`python -P -m supervisor_conf.keeper RUN_DIRECTORY`: what supervisord runs as `portico-keeper`.

Descriptors: 3 is the plugin link; PORTICO_SETTINGS_FD and PORTICO_LOG_FD name the settings (JSON in a memfd)
and the event log.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path
from typing import Final

import structlog

from supervisor_conf import eventlog
from supervisor_conf.keeper.keeper import Keeper
from supervisor_conf.keeper.link import PluginLink
from supervisor_conf.settings import FrontSettings, from_json

PLUGIN_LINK: Final = 3


def main() -> int:
    if len(sys.argv) != 2:
        print(
            "usage: python -P -m supervisor_conf.keeper RUN_DIRECTORY (started by supervisord)",
            file=sys.stderr,
        )
        return 2
    settings = from_json(_whole(int(os.environ["PORTICO_SETTINGS_FD"])))
    event_log = int(os.environ["PORTICO_LOG_FD"])
    eventlog.configure(event_log, process="keeper")
    keeper = Keeper(
        settings,
        Path(sys.argv[1]),
        PluginLink(PLUGIN_LINK),
        structlog.get_logger(),
        group=workers_group(settings.front),
        event_log=event_log,
    )
    return keeper.run()


def workers_group(front: FrontSettings) -> int | None:
    """The group that may connect to the control socket: that of `[front] user`. None unless root.

    Raises KeyError when there is no such user; settings are checked before anything is started.
    """
    if os.geteuid() != 0:
        return None
    if not front.user:
        return _nobody()
    return pwd.getpwnam(front.user).pw_gid


def _nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_gid
    except KeyError:
        return grp.getgrnam("nogroup").gr_gid


def _whole(fd: int) -> str:
    """The text of a memfd, whoever has read it before."""
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8")


if __name__ == "__main__":
    sys.exit(main())
