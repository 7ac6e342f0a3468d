"""`[front.tls]` as a value, and how it is read. What the keys mean and allow stands in `setting_table.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supervisor_conf.setting_errors import display
from supervisor_conf.setting_kinds import DAY, Place
from supervisor_conf.setting_reader import Reader
from supervisor_conf.setting_table import CERTIFICATE, TLS

PATH: Final = ("front", "tls")
PRELOAD_AGE: Final = 365 * DAY
"""https://hstspreload.org: at least a year, and subdomains."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A chain in PEM and its private key; one path where one file holds both."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """`[front.tls]`. The first certificate answers for names that none of them has."""

    certificates: tuple[CertificateFiles, ...]
    listed: int  # how many of them, the last ones, are [[front.tls.certificates]]
    minimum_version: str  # "1.2" | "1.3"
    client_certificate: str  # "off" | "optional" | "required"
    client_ca: Path | None
    redirect: int  # status for plain HTTP; 0: none
    redirect_port: int  # 0: that of the first https:// address
    hsts: float  # seconds; 0: no Strict-Transport-Security
    hsts_subdomains: bool
    hsts_preload: bool


def read_tls(reader: Reader, data: object, base: Path) -> TlsSettings | None:
    """None if there is something wrong, which `reader` has then been told."""
    before = len(reader.errors)
    table = reader.table(PATH, data)
    values = reader.keys(PATH, {key: table[key] for key in table if key != "certificates"}, TLS, Place(base))
    listed = _listed(reader, table.get("certificates", []), base)
    own = _own(reader, values.pop("certificate", None), values.pop("key", None), bool(listed), before)
    _rules(reader, values)
    if len(reader.errors) > before:
        return None
    return TlsSettings(certificates=(*own, *listed), listed=len(listed), **values)


def _own(
    reader: Reader, certificate: Path | None, key: Path | None, others: bool, before: int
) -> tuple[CertificateFiles, ...]:
    if certificate is not None:
        return (CertificateFiles(certificate, key or certificate),)
    if key is not None:
        expected = "the certificate of that key beside it"
        reader.refuse((*PATH, "key"), display(str(key)), expected, 'certificate = "shop.pem"')
    elif not others and len(reader.errors) == before:
        reader.refuse(
            (*PATH, "certificate"), "nothing", "the path of a certificate in PEM", 'certificate = "shop.pem"'
        )
    return ()


def _listed(reader: Reader, data: object, base: Path) -> tuple[CertificateFiles, ...]:
    path = (*PATH, "certificates")
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        example = '[[front.tls.certificates]] with certificate = "other.pem"'
        reader.refuse(path, display(data), "tables", example)
        return ()
    found = []
    for number, table in enumerate(data):
        values = reader.keys((*path, str(number)), table, CERTIFICATE, Place(base))
        if "certificate" in values and "key" in values:
            found.append(CertificateFiles(values["certificate"], values["key"] or values["certificate"]))
    return tuple(found)


def _rules(reader: Reader, values: Mapping[str, Any]) -> None:
    asks = values.get("client_certificate", "off")
    if asks != "off" and values.get("client_ca", "") is None:
        expected = f'the authorities whose certificates count, since client_certificate = "{asks}"'
        reader.refuse((*PATH, "client_ca"), "nothing", expected, 'client_ca = "clients-ca.pem"')
    age = values.get("hsts", 0)
    if values.get("hsts_subdomains") and not age:
        expected = "hsts with an age beside it"
        reader.refuse((*PATH, "hsts_subdomains"), "true", expected, 'hsts = "365d"')
    if values.get("hsts_preload") and not (age >= PRELOAD_AGE and values.get("hsts_subdomains")):
        expected = "hsts of at least a year, and hsts_subdomains, which the lists of browsers want"
        reader.refuse((*PATH, "hsts_preload"), "true", expected, 'hsts = "730d"')


# ------------------------------------------------------------------------------------------------------------
# Between our processes


def tls_from(data: Mapping[str, Any] | None) -> TlsSettings | None:
    """From what `dataclasses.asdict` and JSON have made of it."""
    if data is None:
        return None
    certificates = (
        CertificateFiles(Path(one["certificate"]), Path(one["key"])) for one in data["certificates"]
    )
    client_ca = None if data["client_ca"] is None else Path(data["client_ca"])
    return TlsSettings(**{**data, "certificates": tuple(certificates), "client_ca": client_ca})
