"""`headers`: fields that are set, added or removed, on the way to the app and on the way to the visitor.

Everything is checked and written out once; a request pays for looking up what is to be dropped, and for one copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.editable import Edit
from proxy.modules import BadOption, Context, Module, Visit


class Headers(Module):
    """`request`, `response`: tables with `set`, `add` and `remove`."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self._request = _edit("request", options["request"])
        self.every_answer = _edit("response", options["response"]) or None

    def request(self, visit: Visit) -> None:
        if self._request:
            visit.edit(self._request)


def _edit(side: str, rules: Mapping[str, Any]) -> Edit:
    """Raises BadOption for rules about fields that are nobody's to change."""
    try:
        return Edit.of(rules.get("set", ()), rules.get("add", ()), rules.get("remove", ()))
    except ValueError as problem:
        raise BadOption(f"{side}: {problem}") from None
