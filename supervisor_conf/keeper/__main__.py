"""`python -P -m supervisor_conf.keeper RUN_DIRECTORY`: what supervisord runs as `portico-keeper`.

Descriptors: 3 is the plugin link; PORTICO_SETTINGS_FD and PORTICO_LOG_FD name the settings (JSON in a memfd)
and the event log.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import structlog

from supervisor_conf import accounts, eventlog
from supervisor_conf.keeper.keeper import Keeper
from supervisor_conf.keeper.link import PluginLink
from supervisor_conf.settings import from_json

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
    form = eventlog.Form(settings.front.event_log_format)
    eventlog.configure(event_log, process="keeper", form=form)
    keeper = Keeper(
        settings,
        Path(sys.argv[1]),
        PluginLink(PLUGIN_LINK),
        structlog.get_logger(),
        group=accounts.workers_group(settings.front.user),
        workers_user=accounts.workers_user(settings.front.user),
        event_log=event_log,
    )
    return keeper.run()


def _whole(fd: int) -> str:
    """The text of a memfd, whoever has read it before."""
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8")


if __name__ == "__main__":
    sys.exit(main())
