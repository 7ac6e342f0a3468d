"""Media types of files, by their extension: the same on every machine, whatever its /etc/mime.types says."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Final

UNKNOWN: Final = "application/octet-stream"

# What Python 3.11's table lacks, or has otherwise than IANA's registry has it today (RFC 9239 for JavaScript).
_OURS: Final[Mapping[str, str]] = {
    ".7z": "application/x-7z-compressed",
    ".apng": "image/apng",
    ".atom": "application/atom+xml",
    ".br": UNKNOWN,
    ".bz2": "application/x-bzip2",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".rss": "application/rss+xml",
    ".toml": "application/toml",
    ".ttf": "font/ttf",
    ".weba": "audio/webm",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}

_TEXTUAL = frozenset({"application/xml", "application/toml", "application/yaml", "image/svg+xml"})


class MediaTypes:
    """`own`: extension with its dot, in lower case, to media type; before all others. `charset`: for text without one;
    "" says none."""

    def __init__(self, own: Mapping[str, str], charset: str) -> None:
        table = mimetypes.MimeTypes(()).types_map[True] | dict(_OURS)
        charset = f"; charset={charset}" if charset else ""
        self._types = {ending: _with(charset, kind) for ending, kind in table.items()} | dict(own)

    def of(self, name: str) -> str:
        """`name`: of the file, without its folder."""
        _, dot, extension = name.rpartition(".")
        return self._types.get(dot + extension.lower(), UNKNOWN) if dot else UNKNOWN


def _with(charset: str, kind: str) -> str:
    return kind + charset if kind.startswith("text/") or kind in _TEXTUAL else kind
