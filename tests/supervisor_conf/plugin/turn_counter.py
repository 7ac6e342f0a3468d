"""Counts the turns of supervisord's loop while it goes down, none longer than `longest` seconds."""

from pathlib import Path
from typing import Any


class Namespace:
    pass


def make(supervisord: Any, file: str = "", longest: str = "1") -> Namespace:
    stock = supervisord.options.poller.poll
    turns = 0

    def poll(timeout: float) -> Any:
        nonlocal turns
        if supervisord.options.mood < 1:
            turns += 1
            Path(file).write_text(str(turns))
        return stock(min(timeout, float(longest)))

    supervisord.options.poller.poll = poll
    return Namespace()
