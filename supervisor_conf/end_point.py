"""What is read of a certificate itself: by what the server of a TLS connection is known to whoever binds something else
to it (RFC 5929 4, tls-server-end-point), and of what kind its key is."""

from __future__ import annotations

import hashlib
from typing import Final

# DER of the algorithms' identifiers (RFC 5280 4.1.1.2, RFC 4055 5, RFC 5758 3.2), and the hash of each. MD5 and SHA-1
# are SHA-256 here (RFC 5929 4.1). Of others (Ed25519, RSASSA-PSS) no hash is defined, and so no binding.
_RSA: Final = bytes.fromhex("2a864886f70d0101")
_ECDSA: Final = bytes.fromhex("2a8648ce3d0403")
_HASHES: Final = {
    _RSA + b"\x04": "sha256",
    _RSA + b"\x05": "sha256",
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    bytes.fromhex("2a8648ce3d0401"): "sha256",
    _ECDSA + b"\x01": "sha224",
    _ECDSA + b"\x02": "sha256",
    _ECDSA + b"\x03": "sha384",
    _ECDSA + b"\x04": "sha512",
}


def end_point(certificate: bytes) -> bytes:
    """The hash of a certificate (DER) by the algorithm of its signature; b"" where none is defined."""
    try:
        inside, _ = _content(certificate)
        _, after = _content(inside)  # what is signed
        algorithm, _ = _content(after)
        identifier, _ = _content(algorithm)
    except IndexError:
        return b""
    name = _HASHES.get(identifier)
    return hashlib.new(name, certificate).digest() if name else b""


def key_algorithm(certificate: bytes) -> bytes:
    """The identifier of its public key's algorithm (RFC 5280 4.1.2.7), of which OpenSSL keeps one pair each in a
    context; b"" for what is no certificate (DER)."""
    try:
        rest, _ = _content(_content(certificate)[0])  # what is signed
        if rest[:1] == b"\xa0":
            _, rest = _content(rest)  # the version, which may be left out
        for _ in range(5):  # serial number, signature, issuer, validity, subject
            _, rest = _content(rest)
        key, _ = _content(rest)
        identifier, _ = _content(_content(key)[0])
    except IndexError:
        return b""
    return identifier


def _content(data: bytes) -> tuple[bytes, bytes]:
    """Of the first value of `data` (X.690 8.1), and what follows it. Raises IndexError."""
    length, begin = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if begin + length > len(data):
        raise IndexError("cut off")
    return data[begin : begin + length], data[begin + length :]
