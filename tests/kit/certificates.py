"""Certificates for tests: an authority of their own, and what it issues, as the files that users have."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Pair:
    """A chain and a key in PEM."""

    certificate: Path
    key: Path

    @property
    def toml(self) -> str:
        """Two lines of [front.tls]."""
        return f'certificate = "{self.certificate}"\nkey = "{self.key}"\n'

    @property
    def der(self) -> bytes:
        """The certificate itself, without the rest of its chain."""
        first, end, _ = self.certificate.read_text().partition("-----END CERTIFICATE-----")
        return ssl.PEM_cert_to_DER_cert(first + end)


class Authority:
    """Issues into `folder`; `file` is its own certificate, for clients that shall trust it."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.file = folder / f"{name}.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self, *names: str, file: str = "", days: int = 30, common_name: str | None = None, rsa: bool = False
    ) -> Pair:
        """For host names, addresses or mail addresses; `days` may be negative: it has expired."""
        kind = trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA
        ends = datetime.now(UTC) + timedelta(days=days)
        begins = min(datetime.now(UTC), ends) - timedelta(days=1)
        issued = self.ca.issue_cert(
            *names, common_name=common_name, not_before=begins, not_after=ends, key_type=kind
        )
        return self.write(issued, file or (names[0] if names else str(common_name)).replace("*", "any"))

    def write(self, issued: trustme.LeafCert, file: str) -> Pair:
        pair = Pair(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        pair.key.write_bytes(issued.private_key_pem.bytes())
        os.chmod(pair.key, 0o600)
        return pair

    def context(self, **more: ssl.TLSVersion) -> ssl.SSLContext:
        """A client that trusts this authority alone; `minimum_version`, `maximum_version`."""
        context = ssl.create_default_context(cafile=str(self.file))
        for name, value in more.items():
            setattr(context, name, value)
        return context
