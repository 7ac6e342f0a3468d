"""One secret taken out of a stream of bytes, wherever the stream is cut.

Microsoft's shim writes the pairing token that it expects into the app's log whenever it refuses a request, Portico's
own guard question included (IISMiddleware, .NET 10); other apps print their whole environment.
"""

from __future__ import annotations

from typing import Final

MASK: Final = b"[pairing token]"
_CHANCE: Final = 8
"""So many bytes of a secret at the end of a stream are no chance any more."""


class Redaction:
    """Bytes that may be the beginning of the secret wait for those that tell."""

    def __init__(self, secret: bytes) -> None:
        """`secret` empty: everything passes."""
        self._secret = secret
        self._held = b""

    def passed(self, data: bytes) -> bytes:
        """What of the stream may go on now."""
        data = (self._held + data).replace(self._secret, MASK) if self._secret else data
        cut = len(data) - self._begun(data)
        self._held = data[cut:]
        return data[:cut]

    def rest(self) -> bytes:
        """What would still come if the stream ended here."""
        return self._held if len(self._held) < _CHANCE else MASK

    def end(self) -> bytes:
        rest, self._held = self.rest(), b""
        return rest

    def _begun(self, data: bytes) -> int:
        """How many bytes at the end of `data` are the beginning of the secret."""
        lengths = range(min(len(self._secret) - 1, len(data)), 0, -1)
        return next((length for length in lengths if data.endswith(self._secret[:length])), 0)
