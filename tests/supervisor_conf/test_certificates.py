"""Certificates are tried before they are used; what is wrong with one is told by the name of its key."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor_conf.certificates import Bundle, Unusable, doubts, is_named, load
from supervisor_conf.check import check_machine
from supervisor_conf.settings import load_settings
from supervisor_conf.tls_settings import CertificateFiles, TlsSettings
from tests.kit.certificates import Authority, Pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("a.example", "*.A.example", "192.0.2.1")


def tls(*pairs: Pair, listed: int = 0, **more: object) -> TlsSettings:
    files = tuple(CertificateFiles(pair.certificate, pair.key) for pair in pairs)
    plain = TlsSettings(files, listed, "1.2", "off", None, 0, 0, 0, False, False)
    return replace(plain, **more)  # type: ignore[arg-type]


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def refused(settings: TlsSettings) -> Unusable:
    with pytest.raises(Unusable) as caught:
        load(settings)
    return caught.value


def test_a_pair_is_read_with_its_names_and_its_days(pair: Pair) -> None:
    (found,) = load(tls(pair)).certificates
    assert found.names == ("a.example", "*.a.example")
    assert found.begins < time.time() < found.ends
    assert found.pem.count("BEGIN CERTIFICATE") == 1
    assert found.pem.count("PRIVATE KEY-----\n") == 2


def test_one_file_may_hold_certificate_and_key(pair: Pair, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    assert load(tls(Pair(both, both))).certificates[0].names == load(tls(pair)).certificates[0].names


def test_what_people_write_beside_a_key_is_no_part_of_it(pair: Pair, tmp_path: Path) -> None:
    noted = tmp_path / "noted.key"
    noted.write_bytes("# Schlüssel des Ladens\n".encode() + pair.key.read_bytes() + b"# till May\n")
    (found,) = load(tls(Pair(pair.certificate, noted))).certificates
    assert found == load(tls(pair)).certificates[0]


def test_a_certificate_that_nobody_is_shown_is_doubted(authority: Authority, pair: Pair) -> None:
    again = authority.issue("a.example", file="again")
    rsa = authority.issue("a.example", file="rsa", rsa=True)
    bundle = load(tls(pair, again, rsa))
    (doubt,) = doubts(tls(pair, again, rsa, listed=2), bundle, time.time())
    assert (doubt.place, "nobody is shown it" in doubt.expected) == (
        ("certificates", "0", "certificate"),
        True,
    )


def test_a_bundle_is_read_back_exactly_and_hides_its_keys(authority: Authority, pair: Pair) -> None:
    other = authority.issue("b.example", rsa=True)
    bundle = load(tls(pair, other, client_certificate="optional", client_ca=authority.file))
    assert Bundle.from_bytes(bundle.to_bytes()) == bundle
    assert "BEGIN CERTIFICATE" in bundle.client_ca
    assert "PRIVATE" not in repr(bundle)


def test_an_expired_certificate_can_be_used_and_is_doubted(authority: Authority) -> None:
    expired = authority.issue("old.example", days=-3)
    (doubt,) = doubts(tls(expired), load(tls(expired)), time.time())
    assert doubt.place == ("certificate",)
    assert "not expired" in doubt.expected


def test_a_key_that_everybody_can_read_is_doubted(authority: Authority) -> None:
    pair = authority.issue("open.example")
    os.chmod(pair.key, 0o644)
    (doubt,) = doubts(tls(pair, listed=1), load(tls(pair)), time.time())
    assert doubt.place == ("certificates", "0", "key")
    assert doubt.example == f"chmod 600 {pair.key}"


def test_a_certificate_for_later_or_without_names_is_doubted(pair: Pair) -> None:
    bundle = load(tls(pair))
    (early,) = doubts(tls(pair), bundle, bundle.certificates[0].begins - 1)
    assert "valid" in early.expected
    nameless = Bundle((replace(bundle.certificates[0], names=()),))
    (doubt,) = doubts(tls(pair), nameless, time.time())
    assert "names" in doubt.expected


def _missing(pair: Pair, folder: Path) -> Pair:
    return Pair(folder / "none.pem", pair.key)


def _folder(pair: Pair, folder: Path) -> Pair:
    return Pair(pair.certificate, folder)


def _no_certificate(pair: Pair, _: Path) -> Pair:
    return Pair(pair.key, pair.key)


def _fifo(pair: Pair, folder: Path) -> Pair:
    os.mkfifo(folder / "fifo")
    return Pair(pair.certificate, folder / "fifo")


def _no_key(pair: Pair, _: Path) -> Pair:
    return Pair(pair.certificate, pair.certificate)


def _der(pair: Pair, folder: Path) -> Pair:
    openssl("x509", "-in", pair.certificate, "-outform", "der", "-out", folder / "a.der")
    return Pair(folder / "a.der", pair.key)


def _other_key(pair: Pair, folder: Path) -> Pair:
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-out", folder / "other.key")
    return Pair(pair.certificate, folder / "other.key")


def _key_of_other_type(pair: Pair, folder: Path) -> Pair:
    openssl("genrsa", "-out", folder / "rsa.key", 2048)
    return Pair(pair.certificate, folder / "rsa.key")


def _encrypted(pair: Pair, folder: Path) -> Pair:
    openssl("pkey", "-in", pair.key, "-aes128", "-passout", "pass:x", "-out", folder / "locked.key")
    return Pair(pair.certificate, folder / "locked.key")


def _damaged(pair: Pair, folder: Path) -> Pair:
    lines = pair.certificate.read_text().splitlines()
    (folder / "damaged.pem").write_text("\n".join([*lines[:3], lines[-1]]))
    return Pair(folder / "damaged.pem", pair.key)


def _self_signed(pair: Pair, key: str, *more: str) -> Pair:
    files = ("-keyout", pair.key, "-out", pair.certificate)
    openssl("req", "-x509", "-newkey", key, "-nodes", "-subj", "/CN=a", *files, *more)
    return pair


def _weak(_: Pair, folder: Path) -> Pair:
    return _self_signed(Pair(folder / "weak.pem", folder / "weak.key"), "rsa:1024")


def _for_clients(_: Pair, folder: Path) -> Pair:
    pair = Pair(folder / "client.pem", folder / "client.key")
    return _self_signed(pair, "rsa:2048", "-addext", "extendedKeyUsage=clientAuth")


def _huge(pair: Pair, folder: Path) -> Pair:
    (folder / "huge.pem").write_bytes(bytes(2 << 20))
    return Pair(folder / "huge.pem", pair.key)


@pytest.mark.parametrize(
    ("spoil", "key", "phrase"),
    [
        (_missing, "certificate", "a file that can be read: No such file"),
        (_folder, "key", "a file that can be read: Is a directory"),
        (_fifo, "key", "a regular file"),
        (_no_certificate, "certificate", "a certificate in PEM"),
        (_no_key, "certificate", "BEGIN PRIVATE KEY-----, beside the certificate or in a file of its own"),
        (_der, "certificate", "a certificate in PEM"),
        (_other_key, "key", "the private key of the first certificate in"),
        (_key_of_other_type, "key", "the private key of the first certificate in"),
        (_encrypted, "key", "a key without a passphrase"),
        (_damaged, "certificate", "a server's certificate and its key"),
        (_weak, "certificate", "not call too weak"),
        (_for_clients, "certificate", "unsuitable certificate purpose"),
        (_huge, "certificate", "at most 1048576 bytes"),
    ],
)
def test_what_cannot_be_used_is_told(
    pair: Pair, tmp_path: Path, spoil: Callable[[Pair, Path], Pair], key: str, phrase: str
) -> None:
    spoilt = spoil(pair, tmp_path)
    problem = refused(tls(pair, spoilt, listed=1))
    assert problem.place == ("certificates", "0", key)
    assert phrase in problem.sentence
    assert problem.sentence.startswith(f"front.tls.certificates.0.{key}: read ")


def test_authorities_that_are_none_are_told(pair: Pair, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    problem = refused(tls(pair, client_certificate="required", client_ca=empty))
    assert problem.place == ("client_ca",)
    assert "certificates of authorities" in problem.sentence


def test_authorities_that_nobody_asks_for_are_not_read(pair: Pair, tmp_path: Path) -> None:
    assert load(tls(pair, client_ca=tmp_path / "none.pem")).client_ca == ""


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("a.example", True), ("www.a.example", True), ("x.www.a.example", False), ("b.example", False),
        ("example", False), ("127.0.0.1", True), ("::1", True),
    ],
)  # fmt: skip
def test_a_name_is_a_certificates_own_or_one_label_below_a_wildcard(
    pair: Pair, host: str, named: bool
) -> None:
    assert is_named(load(tls(pair)), host) == named


def test_the_check_tells_of_tables_without_addresses_and_of_names_without_certificates(
    pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "portico.toml"
    app = '[apps.shop]\ncommand = "true"\nhosts = ["a.example", "shop.example"]\n'
    file.write_text(f'[front]\nlisten = ["https://127.0.0.1:0"]\n[front.tls]\n{pair.toml}{app}')

    def found() -> list[str]:
        said = check_machine(load_settings(file, {}), dict(os.environ), addresses=False)
        return [str(one) for one in said if "tls" in str(one)]

    (warning,) = found()
    assert warning.startswith("warning: ")
    assert (
        'apps.shop.hosts: read "shop.example"; expected names that a certificate of [front.tls] has'
        in warning
    )
    file.write_text(f"[front]\n[front.tls]\n{pair.toml}{app}")
    (warning,) = found()
    assert "front.tls: read [front.tls]; expected an https:// address in listen" in warning
    os.rename(pair.key, tmp_path / "away")
    (refusal,) = (one for one in found() if not one.startswith("warning: "))
    os.rename(tmp_path / "away", pair.key)
    assert f'front.tls.key: read "{pair.key}"; expected a file that can be read: No such file' in refusal
