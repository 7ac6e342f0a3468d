"""Heads that modules may change, within limits: what frames a message, belongs to one hop, or is the front's own word
stays as it is.

A head is copied when it is first changed, since the quick reader hands the same fields to every request that brings
the same header block; and no change costs a request its place in the quick lane.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from proxy.headers import Fields, folded, may_be_changed
from proxy.strict import TCHAR

_NAME = re.compile(rb"[" + TCHAR + rb"]++")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff]++(?:[ \t]++[\x21-\x7e\x80-\xff]++)*)?")


# What `folded` does to names, for a whole block of lines: the ends of lines and names stay.
_FOLD_LINES = bytes(c if c in b"\r\n:" else folded(bytes((c,)))[0] for c in range(256))


class Names:
    """Names of fields that are looked for in many heads: no field of these names, in any spelling that a CGI-like
    gateway could take for them (`X_A` for `X-A`)."""

    __slots__ = ("_keys", "_marks")

    def __init__(self, names: Iterable[bytes]) -> None:
        self._keys = frozenset(map(folded, names))
        self._marks = [b"\n%b:" % key for key in self._keys]

    def __contains__(self, name: bytes) -> bool:
        return folded(name) in self._keys

    def are_in(self, lines: bytes) -> bool:
        """Whether any of `lines` (each with its end) is of a field so named."""
        block = b"\n" + lines.translate(_FOLD_LINES)
        for mark in self._marks:  # noqa: SIM110  every request passes here, and a generator is not for nothing
            if mark in block:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Edit:
    """Changes that are made to many heads, thought through once. `added` comes after what is `dropped`, `lines` is how
    it is written. `late`: one field more, of the visit at hand, for answers alone; it comes after all others."""

    dropped: Names | None = None
    added: tuple[tuple[bytes, bytes], ...] = ()
    lines: bytes = b""
    late: Callable[[Any], tuple[bytes, bytes]] | None = None

    @classmethod
    def of(
        cls,
        sets: Iterable[tuple[str, str]] = (),
        adds: Iterable[tuple[str, str]] = (),
        removes: Iterable[str] = (),
    ) -> Edit:
        """Raises ValueError for what may not be said or removed."""
        replaced = [checked_field(*field) for field in sets]
        added = (*replaced, *(checked_field(*field) for field in adds))
        names = [name for name, _ in replaced] + [checked_field(name, "")[0] for name in removes]
        return cls(
            Names(names) if names else None, added, b"".join([b"%b: %b\r\n" % field for field in added])
        )

    def __bool__(self) -> bool:
        return bool(self.dropped or self.added or self.late)


class EditableHead:
    """`fields`: names as received. `lines`: the fields that cross as they are written, or b"" where nobody has them
    (the quick reader's; see `peer.Request`)."""

    __slots__ = ("_shared", "fields", "lines")

    def __init__(self, fields: Fields, lines: bytes) -> None:
        self.fields = fields
        self.lines = lines
        self._shared = True

    def get(self, name: str) -> str | None:
        """All values of a field, joined as RFC 9110 5.3 joins them; None if there is no such field."""
        values = self.get_all(name)
        return ", ".join(values) if values else None

    def get_all(self, name: str) -> list[str]:
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self.fields if key.lower() == wanted]

    def add(self, name: str, value: str) -> None:
        """One more field, beside what is there. Raises ValueError for what may not be said."""
        self.apply(Edit.of(adds=[(name, value)]))

    def set(self, name: str, value: str) -> None:
        """This value and no other. Raises ValueError for what may not be said."""
        self.apply(Edit.of(sets=[(name, value)]))

    def remove(self, name: str) -> None:
        """Raises ValueError for what is not a module's to remove."""
        self.apply(Edit.of(removes=[name]))

    def apply(self, edit: Edit) -> None:
        """What was checked before."""
        if edit.dropped is not None:
            self.drop(edit.dropped)
        if edit.added:
            self._own()
            self.fields += edit.added
            if self.lines:
                self.lines += edit.lines

    def drop(self, names: Names) -> None:
        """Whoever calls knows that nobody needs these fields."""
        if self.lines and not names.are_in(self.lines):
            return
        kept = [pair for pair in self.fields if pair[0] not in names]
        if len(kept) == len(self.fields):
            return
        self.fields = kept
        self._shared = False
        if self.lines:
            lines = self.lines.split(b"\r\n")[:-1]
            self.lines = b"".join([line + b"\r\n" for line in lines if line.partition(b":")[0] not in names])

    def _own(self) -> None:
        if self._shared:
            self.fields = list(self.fields)
            self._shared = False


def checked_field(name: str, value: str) -> tuple[bytes, bytes]:
    """A field as it is written. Raises ValueError for one that is not valid (RFC 9110 5.1, 5.5), or not a module's."""
    field = name.encode("latin-1"), value.encode("latin-1")  # UnicodeEncodeError is a ValueError
    if not _NAME.fullmatch(field[0]):
        raise ValueError(f"{name!r} is no name of a field (RFC 9110 5.1)")
    if not _VALUE.fullmatch(field[1]):
        raise ValueError(f"the value for {name} has control characters, or blanks at its ends (RFC 9110 5.5)")
    if not may_be_changed(field[0]):
        raise ValueError(
            f"{name} frames the message, belongs to one hop or is Portico's own: it cannot be changed"
        )
    return field
