"""tls-server-end-point: the hash that RFC 5929 says, of certificates and the kind of a key."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.end_point import end_point, key_algorithm

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
NOW = datetime.datetime(2026, 1, 1)  # noqa: DTZ001  cryptography wants it so


def certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    algorithm: hashes.HashAlgorithm | None,
) -> bytes:
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=1))
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [RSA, EC])
@pytest.mark.parametrize("algorithm", [hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_the_hash_is_that_of_the_signature(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, algorithm: hashes.HashAlgorithm
) -> None:
    der = certificate(key, algorithm)
    assert end_point(der) == hashlib.new(algorithm.name, der).digest()


def test_what_has_no_hash_is_no_end_point() -> None:
    assert end_point(certificate(ED, None)) == b""


@pytest.mark.parametrize(
    ("key", "oid"), [(RSA, "2a864886f70d010101"), (EC, "2a8648ce3d0201"), (ED, "2b6570")]
)
def test_the_kind_of_a_key_is_read(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, oid: str
) -> None:
    der = certificate(key, None if key is ED else hashes.SHA256())
    assert key_algorithm(der) == bytes.fromhex(oid)


DER = certificate(EC, hashes.SHA256())


@given(st.binary(max_size=60) | st.builds(lambda cut: DER[:cut], st.integers(0, len(DER) - 1)))
def test_what_is_no_certificate_is_no_end_point(data: bytes) -> None:
    assert end_point(data) == b""
    assert key_algorithm(data) == b""
