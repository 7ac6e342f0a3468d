"""The hashes of an htpasswd file: which are taken, and whether a password belongs to one.

bcrypt is PyCA's library; SHA-crypt is libcrypt of the system (libxcrypt, what login uses). Both let other threads run
while they work. A hash that is quick to guess is refused with a sentence: whoever copies the file has the passwords.
"""

from __future__ import annotations

import ctypes
import hmac
import re
from collections.abc import Callable
from functools import cache
from typing import Final

ADVICE: Final = "set the password anew with htpasswd -B (bcrypt)"
LONGEST_BCRYPT: Final = 72
"""bcrypt looks at no more bytes of a password; htpasswd cuts off there, and so do we."""

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-9]|20)\$[./A-Za-z0-9]{53}")
_SHA = re.compile(r"\$(?:6\$(?:rounds=[1-9][0-9]{3,6}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{86}|"
                  r"5\$(?:rounds=[1-9][0-9]{3,6}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{43})")  # fmt: skip

_REFUSED: Final = (
    (re.compile(r"\$(?:apr1|1)\$"), f"an MD5 hash, which is guessed too quickly: {ADVICE}"),
    (re.compile(r"\{SHA\}"), f"a SHA-1 hash without salt, which is guessed too quickly: {ADVICE}"),
    (re.compile(r"[./0-9A-Za-z]{13}$"), f"a DES hash or a password in plain text: {ADVICE}"),
    (re.compile(r"\$(?:y|gy|7|argon2[a-z]*|2[aby]|5|6)\$"), f"a hash Portico cannot check: {ADVICE}"),
)
_PLAIN = f"a password in plain text, or half a hash: {ADVICE}"

_CRYPT_DATA: Final = 132 * 1024
"""At least `struct crypt_data`: 128 KiB in glibc, 32 in libxcrypt, nothing in musl."""


class Unsupported(ValueError):
    """The message says what was read instead of a hash, never the text itself."""


def check_supported(stored: str) -> None:
    """Raises Unsupported; OSError with a sentence where what computes it is missing."""
    if _BCRYPT.fullmatch(stored):
        _bcrypt()
        return
    if _SHA.fullmatch(stored):
        _libcrypt()
        return
    raise Unsupported(next((sentence for shape, sentence in _REFUSED if shape.match(stored)), _PLAIN))


def belongs(password: bytes, stored: str) -> bool:
    """Whether `stored` was made of this password. Slow by intent; compares in constant time."""
    if b"\0" in password:
        return False
    raw = stored.encode("ascii")
    if stored.startswith("$2"):
        return _bcrypt()(password[:LONGEST_BCRYPT], raw)
    made: bytes | None = _libcrypt()(password, raw, ctypes.create_string_buffer(_CRYPT_DATA))
    return made is not None and hmac.compare_digest(made, raw)


@cache
def _bcrypt() -> Callable[[bytes, bytes], bool]:
    try:
        from bcrypt import checkpw
    except ImportError as problem:
        raise OSError(f"{problem}; pip install 'portico[basic]'") from problem
    check: Callable[[bytes, bytes], bool] = checkpw
    return check


@cache
def _libcrypt() -> Callable[..., bytes | None]:
    for name in ("libcrypt.so.1", "libcrypt.so.2", None):  # None: musl has it in libc
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype, function.argtypes = (
            ctypes.c_char_p,
            (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p),
        )
        return function
    raise OSError(
        "SHA-crypt needs libcrypt (Debian: libcrypt1), which this system does not have; bcrypt needs nothing"
    )
