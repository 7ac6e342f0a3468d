"""What modules make of the head of an answer.

Modules that do the same to every answer say so once, as an `Edit`: what those make of an answer of the app is
remembered with it, since answers that begin alike are one `Response` (`head.QuickReader.response`). Whatever else
modules do is asked of them for each answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from proxy.editable import Edit, EditableHead
from proxy.failures import Cause, Failure, Side, Stage
from proxy.headers import Fields, without_nominations
from proxy.peer import Response

if TYPE_CHECKING:
    from proxy.modules.visit import Visit

Responder = tuple[str, Edit | Callable[..., Any]]
"""The name of a module, and what it does to every answer, or what is called for each."""


class ResponseHead(EditableHead):
    """The head of a final answer (of 101 too): the app's, a module's, or of an error page."""

    __slots__ = ("status",)

    def __init__(self, status: int, fields: Fields, lines: bytes = b"") -> None:
        super().__init__(fields, lines)
        self.status = status


class Responders:
    """In the order of the answers: the last module first."""

    __slots__ = ("_edits", "_late", "_others")

    def __init__(self, responders: Sequence[Responder]) -> None:
        first = next(
            (n for n, (_, does) in enumerate(responders) if not isinstance(does, Edit)), len(responders)
        )
        self._edits = [does for _, does in responders[:first] if isinstance(does, Edit)]
        self._others = list(responders[first:])
        self._late = [does.late for _, does in responders if isinstance(does, Edit) and does.late]

    @classmethod
    def of(cls, responders: Sequence[Responder]) -> Responders | None:
        return cls(responders) if responders else None

    def fields(self, visit: Visit, status: int, fields: Fields) -> Fields:
        """Of an answer that is not the app's. Raises Failure."""
        head = ResponseHead(status, without_nominations(fields))
        for edit in self._edits:
            head.apply(edit)
        self._ask_others(visit, head)
        return [*head.fields, *(late(visit) for late in self._late)]

    def response(self, visit: Visit, response: Response) -> Response:
        """Of the app's answer. Raises Failure."""
        if self._late:
            visit.exchange.late = b"".join([b"%b: %b\r\n" % late(visit) for late in self._late])
        if self._edits:
            response = self._edited(response)
        if not self._others:
            return response
        head = _head_of(response)
        self._ask_others(visit, head)
        return _with(response, head)

    def _edited(self, response: Response) -> Response:
        known = response.edited
        if known is not None and known[0] is self:
            return known[1]
        head = _head_of(response)
        for edit in self._edits:
            head.apply(edit)
        edited = _with(response, head)
        response.edited = self, edited
        return edited

    def _ask_others(self, visit: Visit, head: ResponseHead) -> None:
        name = ""
        try:
            for name, does in self._others:  # noqa: B007  read where it is handled
                if isinstance(does, Edit):
                    head.apply(does)
                else:
                    does(visit, head)
        except Failure:
            raise
        except BaseException as error:
            raise broken(name) from error


def _head_of(response: Response) -> ResponseHead:
    fields, lines = response.fields, response.lines
    return ResponseHead(response.status, fields if lines else without_nominations(fields), lines)


def _with(response: Response, head: ResponseHead) -> Response:
    """One of its own: the app's may be remembered, and must never be changed."""
    return Response(
        response.status,
        response.reason,
        response.version,
        head.fields,
        response.framing,
        response.length,
        response.keep_alive,
        response.judge,
        head.lines,
    )


def broken(name: str) -> Failure:
    """Whatever goes wrong in a module is a Failure, so that no request gets past it. Called where it is handled."""
    structlog.get_logger().exception("module.failed", module=name)
    return Failure(Cause.MODULE_FAILED, Stage.MODULES, Side.FRONT, f"the module {name} failed")
