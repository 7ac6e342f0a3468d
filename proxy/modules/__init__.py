"""Modules look at a request before its app does: the interface, for Portico's own and for everybody's.

A module is a class. It is made once in every worker, with the options of its table in the configuration, while the
worker still has the rights it was started with; its methods are called in the greenlet of the visitor's connection.
What blocks (a file on a slow disk, a password hash) goes through `Context.in_thread`, and nothing else waits for it.

    class Closed(Module):
        \"\"\"Answers 403 outside office hours.\"\"\"

        def __init__(self, options, context):
            self.opens, self.closes = options["opens"], options["closes"]

        def request(self, visit):
            if not self.opens <= datetime.now().hour < self.closes:
                return Refuse(403, "closed")
            return None

`request` runs in written order until one module answers; `response` runs in the opposite order over every answer,
whoever made it. A module that raises anything has failed: the visitor gets 500, and the request goes nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from proxy.editable import Edit as Edit
from proxy.identity import Identity as Identity
from proxy.modules.answers import Answer as Answer
from proxy.modules.answers import FilePart as FilePart
from proxy.modules.answers import Refuse as Refuse
from proxy.modules.visit import Visit as Visit
from proxy.responders import ResponseHead as ResponseHead

Result = TypeVar("Result")


class BadOption(ValueError):
    """An option that would be wrong on any machine; the message is a sentence."""


class Context(Protocol):
    """What a module is given of the worker it lives in."""

    @property
    def app(self) -> str:
        """The app whose module this is; "" for `[[front.modules]]`."""
        ...

    @property
    def number(self) -> int:
        """Its place among the modules of the front, or of its app, from 0: with `app` the same in every worker."""
        ...

    @property
    def workers(self) -> int:
        """How many workers share the visitors."""
        ...

    @property
    def run_directory(self) -> Path: ...

    @property
    def uid(self) -> int:
        """Of the user who serves visitors: what is made now for later must be this user's."""
        ...

    @property
    def forwards_credentials(self) -> bool:
        """Whether the app (of the front's modules: any app) takes what was delegated: `Identity.credentials`."""
        ...

    @property
    def log(self) -> Any:
        """A structlog logger that names the module. Never a secret, never once for each request."""
        ...

    def now(self) -> float:
        """Monotonic, seconds."""
        ...

    def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call what blocks in a thread, while other visitors are served."""
        ...


class Module:
    """The base of all modules. A method that is not overridden costs nothing."""

    every_answer: Edit | None = None
    """What is done to the head of every answer, in place of `response`: thought through once, and done once to answers
    that begin alike."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        """Raises ValueError or OSError, with a sentence, when it cannot work with these options; BadOption where no
        machine could."""

    def request(self, visit: Visit) -> Answer | Refuse | None:
        """None: the next module, and at last the app. Anything else is the answer."""

    def response(self, visit: Visit, head: ResponseHead) -> None:
        """Look at the head of the final answer, or change it. Also called for visits that `request` has not seen,
        because a module before this one answered."""

    def finished(self, visit: Visit) -> None:
        """The exchange is over, whatever its end."""

    def doubts(self) -> Iterable[str]:
        """Asked once by the worker when it has become the user who serves visitors, and by `portico check` with that
        user's rights: sentences on what will not work, each with its cure. They are warnings."""
        return ()

    def close(self) -> None:
        """The worker ends."""
