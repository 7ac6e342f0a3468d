"""The module `client_certificate`: whom a certificate names, that TLS has verified."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from backend_shim.identity import KEY_LABEL, Visitor, visitor_of
from backend_shim.pairing import Pairing
from proxy.headers import Caller
from proxy.modules.client_certificate import ClientCertificate, fingerprint_of
from proxy.pipeline import Chain, Pipeline
from tests.kit.memory_front import TOKEN, memory_front

KEY = ec.generate_private_key(ec.SECP256R1())
UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
ISSUER = "CN=Staff CA,O=Example"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def utf8_string(text: str) -> bytes:
    return bytes([0x0C, len(text.encode())]) + text.encode()


def certificate(
    *names: x509.GeneralName, subject: str = "CN=ann", issuer: str = ISSUER, units: tuple[str, ...] = ()
) -> bytes:
    """DER."""
    attributes = list(x509.Name.from_rfc4514_string(subject)) if subject else []
    attributes += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject_name=x509.Name(attributes),
        issuer_name=x509.Name.from_rfc4514_string(issuer),
        public_key=KEY.public_key(),
        serial_number=1,
        not_valid_before=now,
        not_valid_after=now + timedelta(days=1),
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def options(**changes: Any) -> dict[str, Any]:
    defaults = {"user": "CN", "fingerprints": {}, "issuers": [], "groups_from_ou": False, "required": True}
    return {**defaults, **changes}


@dataclasses.dataclass(frozen=True)
class Place:
    """What the module reads of its context."""

    app: str = ""
    number: int = 0


def visit(
    der: bytes, *, trusted: bool = False, requests: int = 1, **changes: Any
) -> list[Visitor | int | None]:
    """For each request on one connection: who the app is told of, or the status of the refusal."""
    module = ClientCertificate(options(**changes), Place())  # type: ignore[arg-type]
    found: list[Visitor | int | None] = []
    with memory_front(front={"trusted_proxies": ("192.0.2.0/24",) if trusted else ()}) as front:
        front.pipeline = Pipeline(Chain([("client_certificate", module)]), {"shop": Chain([])})
        front.publish(1)
        ours, visitor = front.loop.pair(1 << 20)
        front._greeted(ours, Caller("192.0.2.7", 40000, "https", certificate=der))  # type: ignore[arg-type]
        for _ in range(requests):
            answer = front.ask(visitor, GET)
            if answer:
                found.append(int(answer.split(b" ")[1]))
                continue
            found.append(told(front.apps[-1].recv_all()))
            front.apps[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            front.settle()
            visitor.recv_all()
    return found


def user(der: bytes, **changes: Any) -> str | int:
    """The name the app is told of, "" for nobody, or the status of the refusal."""
    (found,) = visit(der, **changes)
    if isinstance(found, Visitor):
        assert found.scheme == "ClientCertificate"
        return found.user
    return found or ""


def told(head: bytes) -> Visitor | None:
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    said = [fields[b"MS-ASPNETCORE-IDENTITY"]] if b"MS-ASPNETCORE-IDENTITY" in fields else []
    return visitor_of(said, Pairing(TOKEN, "/", None).key(KEY_LABEL), [fields[b"X-Request-ID"]])


EMAIL, URI = x509.RFC822Name("ann@example.org"), x509.UniformResourceIdentifier("spiffe://example/ann")
PRINCIPAL = x509.OtherName(UPN, utf8_string("ann@EXAMPLE.ORG"))
ALL = certificate(EMAIL, URI, PRINCIPAL, x509.DNSName("ann.example"), subject="CN=ann,O=Example")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("CN", "ann"),
        ("subject", "CN=ann,O=Example"),
        ("email", "ann@example.org"),
        ("UPN", "ann@EXAMPLE.ORG"),
        ("URI", "spiffe://example/ann"),
    ],
)
def test_where_the_name_stands(place: str, name: str) -> None:
    assert user(ALL, user=place) == name


NOBODY = {
    "no CN": (certificate(EMAIL, subject="O=Example"), "CN"),
    "two CNs": (certificate(subject="CN=ann,CN=eve"), "CN"),
    "a CN that no field could carry": (certificate(subject="CN=ann\x07"), "CN"),
    "no alternative names": (certificate(), "email"),
    "another kind of alternative name": (certificate(URI), "email"),
    "two mail addresses": (certificate(EMAIL, x509.RFC822Name("eve@example.org")), "email"),
    "an otherName of another kind": (
        certificate(x509.OtherName(x509.ObjectIdentifier("1.2.3"), utf8_string("ann"))),
        "UPN",
    ),
    "an otherName that is no text": (certificate(x509.OtherName(UPN, b"\x02\x01\x05")), "UPN"),
    "an otherName of another length": (certificate(x509.OtherName(UPN, b"\x04\x03ann")), "UPN"),
    "one that is not in the table": (ALL, "fingerprints"),
    "no certificate at all": (b"\x30\x03\x02\x01\x05", "CN"),
}


@pytest.mark.parametrize("case", NOBODY)
def test_what_names_nobody_is_refused_or_anonymous(case: str) -> None:
    der, place = NOBODY[case]
    assert user(der, user=place) == 403
    assert user(der, user=place, required=False) == ""


def test_without_a_certificate() -> None:
    assert user(b"") == 403
    assert user(b"", required=False) == ""


def test_the_certificate_of_a_trusted_proxy_is_not_its_visitors() -> None:
    assert user(ALL, trusted=True) == 403
    assert user(ALL, trusted=True, required=False) == ""


@pytest.mark.parametrize("quick_lane", [True, False])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"X-Forwarded-For: 203.0.113.9\r\n",
        b"X-Forwarded-For: unknown\r\n",
        b"Forwarded: for=_hidden\r\n",
    ],
)
def test_the_app_is_never_told_the_certificate_of_a_trusted_proxy(said: bytes, quick_lane: bool) -> None:
    """Nor where it does not tell for whom it speaks."""
    request = GET.replace(b"\r\n\r\n", b"\r\n" + said + b"\r\n")
    seen = {}
    for trusted in ("192.0.2.0/24", "198.51.100.0/24"):
        with memory_front(front={"trusted_proxies": (trusted,)}, quick_lane=quick_lane) as front:
            front.publish(1)
            ours, visitor = front.loop.pair(1 << 20)
            front._greeted(ours, Caller("192.0.2.7", 40000, "https", certificate=ALL))  # type: ignore[arg-type]
            front.ask(visitor, request)
            seen[trusted] = b"MS-ASPNETCORE-CLIENTCERT" in front.apps[-1].recv_all()
    assert seen == {"192.0.2.0/24": False, "198.51.100.0/24": True}


def test_single_certificates_by_fingerprint() -> None:
    digest = hashlib.sha256(ALL).digest()
    for text in (digest.hex(), digest.hex(":").upper(), f"sha256 Fingerprint={digest.hex(':').upper()}"):
        assert user(ALL, fingerprints={text: "robot"}) == "robot"
        assert user(ALL, user="fingerprints", fingerprints={text: "robot"}) == "robot"
    other = hashlib.sha256(b"another").hexdigest()
    assert user(ALL, fingerprints={other: "robot"}) == "ann"


def test_only_of_these_issuers() -> None:
    elsewhere = certificate(issuer="CN=Web CA,O=Example")
    assert user(certificate(), issuers=[ISSUER]) == "ann"
    assert user(elsewhere, issuers=[ISSUER]) == 403
    assert user(elsewhere, issuers=[ISSUER, "CN=Web CA,O=Example"]) == "ann"
    digest = hashlib.sha256(elsewhere).hexdigest()
    assert user(elsewhere, issuers=[ISSUER], fingerprints={digest: "robot"}) == 403


def test_units_are_groups() -> None:
    der = certificate(units=("staff", "shop", "staff"))
    (found,) = visit(der, groups_from_ou=True)
    assert isinstance(found, Visitor)
    assert found.groups == ("staff", "shop")
    (found,) = visit(der)
    assert isinstance(found, Visitor)
    assert found.groups == ()


def test_a_certificate_is_of_its_connection() -> None:
    found = visit(ALL, requests=3)
    assert [one.user for one in found if isinstance(one, Visitor)] == ["ann"] * 3


@pytest.mark.parametrize("text", ["", "abc", "AB:CD", "x" * 64, "00" * 31, "00" * 33])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError, match="is no SHA-256 fingerprint"):
        fingerprint_of(text)


def test_what_is_no_issuer() -> None:
    with pytest.raises(ValueError, match="issuers: 'Staff CA' is no name like CN=Example CA,O=Example"):
        ClientCertificate(options(issuers=["Staff CA"]), Place())  # type: ignore[arg-type]
