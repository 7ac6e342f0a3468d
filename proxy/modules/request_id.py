"""`request_id`: one name for a request, that its visitor, the access log and the app all know.

Portico names every request and tells the app (`X-Request-ID`); here the visitor is told too, and may, where that is
trusted, have named it first. What an app says under that name is replaced: it would be another name for the same thing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.editable import Edit, Names
from proxy.headers import Fields, folded, is_sane_id, may_be_changed
from proxy.modules import BadOption, Context, Module, Visit

_X_REQUEST_ID = b"x-request-id"
# W3C Trace Context 3.2: version, trace-id, parent-id, flags; later versions may say more after that.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?"
)


class RequestId(Module):
    """See `supervisor_conf/module_table.py` for the options."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self._name = options["header"].encode("ascii")
        self._key = folded(self._name)
        self._is_ours = self._key == _X_REQUEST_ID  # the app is told under this name anyway
        if not (self._is_ours or may_be_changed(self._name)):
            raise BadOption(f"header: {options['header']} means something else to Portico")
        self._trust = options["trust"]
        self._traceparent = options["traceparent"]
        self._names = Names([self._name])
        self.every_answer = Edit(self._names, late=lambda visit: (self._name, visit.exchange.request_id))

    def request(self, visit: Visit) -> None:
        exchange = visit.exchange
        fields = exchange.request.fields
        named = (self._trust and self._said(fields)) or (self._traceparent and _trace_of(fields))
        if named:
            exchange.request_id = named
        if not self._is_ours:
            field = self._name, exchange.request_id
            visit.edit(Edit(self._names, (field,), b"%b: %b\r\n" % field))

    def _said(self, fields: Fields) -> bytes | None:
        """What the request names itself, if it does so once and in a way that is fit for a log."""
        said = [value for name, value in fields if name.lower() == self._key]
        return said[0] if len(said) == 1 and is_sane_id(said[0]) else None


def _trace_of(fields: Fields) -> bytes | None:
    """The trace-id of a valid traceparent."""
    said = [value for name, value in fields if name.lower() == b"traceparent"]
    found = _TRACEPARENT.fullmatch(said[0]) if len(said) == 1 else None
    return found[1] if found else None
