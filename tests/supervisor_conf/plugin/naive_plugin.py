"""A plugin that edits the environment of a program in place, as one would at first."""

from typing import Any


class Namespace:
    pass


def make(supervisord: Any) -> Namespace:
    for group in supervisord.process_groups.values():
        for process in group.processes.values():
            process.config.environment = {**process.config.environment, "PORT": "1"}
    return Namespace()
