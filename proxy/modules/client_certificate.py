"""`client_certificate`: the user whom a verified client certificate names.

OpenSSL has verified it against the authorities of `[front.tls]`; here it is only read. PyCA's cryptography reads it:
Python's own decoder knows no user principal name (Microsoft's otherName).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from proxy.identity import Identity
from proxy.modules import BadOption, Context, Module, Refuse, Visit

SCHEME: Final = "ClientCertificate"
_UPN: Final = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING: Final = 0x0C


class ClientCertificate(Module):
    """Options: `user`, `fingerprints`, `issuers`, `groups_from_ou`, `required`."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self._names = NAMES[options["user"]]
        self._users = {fingerprint_of(text): user for text, user in options["fingerprints"].items()}
        self._issuers = frozenset(issuer(text) for text in options["issuers"])
        self._with_groups: bool = options["groups_from_ou"]
        self._required: bool = options["required"]
        self._key = f"client_certificate {context.app} {context.number}"

    def request(self, visit: Visit) -> Refuse | None:
        if visit.user is not None:
            return None
        # Never a trusted proxy's, which names no visitor: Trust.speaker.
        raw = visit.exchange.caller.certificate
        if not raw:
            return Refuse(403, "this wants a client certificate") if self._required else None
        identity = self._remembered(visit, raw)
        if identity is not None:
            visit.authenticate(identity)
        elif self._required:
            return Refuse(403, "the client certificate names nobody who is known here")
        return None

    def _remembered(self, visit: Visit, raw: bytes) -> Identity | None:
        """A certificate is of a connection: it is read once."""
        known = visit.connection
        if self._key not in known:
            known[self._key] = self._identity(raw)
        found: Identity | None = known[self._key]
        return found

    def _identity(self, raw: bytes) -> Identity | None:
        """None for a certificate that names nobody, or more than one."""
        try:
            certificate = x509.load_der_x509_certificate(raw)
            if self._issuers and certificate.issuer not in self._issuers:
                return None
            user = self._users.get(hashlib.sha256(raw).digest())
            if user is None:
                (user,) = set(self._names(certificate))
            groups = (
                _texts(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME) if self._with_groups else []
            )
            return Identity(user, SCHEME, tuple(dict.fromkeys(groups)))
        except ValueError:  # it cannot be read, or a name could not be said
            return None


def fingerprint_of(text: str) -> bytes:
    """SHA-256 of the DER, as `openssl x509 -fingerprint -sha256` prints it. Raises ValueError."""
    try:
        raw = bytes.fromhex(text.rpartition("=")[2].replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != hashlib.sha256().digest_size:
        raise BadOption(
            f"fingerprints: {text!r} is no SHA-256 fingerprint (openssl x509 -noout -fingerprint -sha256)"
        )
    return raw


def issuer(text: str) -> x509.Name:
    """Raises ValueError."""
    try:
        return x509.Name.from_rfc4514_string(text)
    except ValueError as problem:
        raise BadOption(f"issuers: {text!r} is no name like CN=Example CA,O=Example ({problem})") from problem


# ------------------------------------------------------------------------------------------------------------
# What a certificate says


def _texts(name: x509.Name, kind: ObjectIdentifier) -> list[str]:
    values = (attribute.value for attribute in name.get_attributes_for_oid(kind))
    return [value for value in values if isinstance(value, str)]


def _alternative(certificate: x509.Certificate, kind: Any) -> Iterable[Any]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    values: Iterable[Any] = found.value.get_values_for_type(kind)
    return values


def _principal_names(certificate: x509.Certificate) -> Iterable[str]:
    """Microsoft's user principal names: a UTF8String in an otherName."""
    for name in _alternative(certificate, x509.OtherName):
        if name.type_id == _UPN:
            yield _utf8_string(name.value)


def _utf8_string(der: bytes) -> str:
    """Raises ValueError."""
    if len(der) < 2 or der[0] != _UTF8_STRING or der[1] != len(der) - 2 or der[1] > 127:
        raise ValueError("no short UTF8String")
    return der[2:].decode("utf-8")


NAMES: Final[Mapping[str, Callable[[x509.Certificate], Iterable[str]]]] = {
    "CN": lambda certificate: _texts(certificate.subject, NameOID.COMMON_NAME),
    "subject": lambda certificate: [certificate.subject.rfc4514_string()],
    "email": lambda certificate: _alternative(certificate, x509.RFC822Name),
    "UPN": _principal_names,
    "URI": lambda certificate: _alternative(certificate, x509.UniformResourceIdentifier),
    "fingerprints": lambda certificate: [],  # the table alone
}
