"""`[front.tls]`: what is read, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor_conf.settings import InvalidSettings, Listen, Settings, TlsSettings, load_settings
from supervisor_conf.tls_settings import CertificateFiles

HTTPS = 'listen = ["https://[::1]:8443"]\n'


def settings(folder: Path, tls: str, front: str = HTTPS, listen: tuple[str, ...] = ()) -> Settings:
    file = folder / "portico.toml"
    file.write_text(f'[front]\n{front}{tls}\n[apps.shop]\ncommand = "x"\n')
    return load_settings(file, {}, listen)


def refused(folder: Path, tls: str, front: str = HTTPS, listen: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        settings(folder, tls, front, listen)
    return [error.sentence.removeprefix(f"{folder}/portico.toml") for error in caught.value.errors]


def test_the_defaults(tmp_path: Path) -> None:
    tls = settings(tmp_path, '[front.tls]\ncertificate = "a.pem"').front.tls
    files = (CertificateFiles(tmp_path / "a.pem", tmp_path / "a.pem"),)
    assert tls == TlsSettings(files, 0, "1.2", "off", None, 0, 0, 0, False, False)


def test_every_key(tmp_path: Path) -> None:
    text = (
        '[front.tls]\ncertificate = "a.pem"\nkey = "a.key"\nminimum_version = 1.3\n'
        'client_certificate = "optional"\nclient_ca = "ca.pem"\nredirect = 308\nredirect_port = 443\n'
        'hsts = "365d"\nhsts_subdomains = true\nhsts_preload = true\n'
        '[[front.tls.certificates]]\ncertificate = "b.pem"\n'
        '[[front.tls.certificates]]\ncertificate = "c.pem"\nkey = "c.key"\n'
    )
    tls = settings(tmp_path, text).front.tls
    assert tls is not None
    assert [files.key.name for files in tls.certificates] == ["a.key", "b.pem", "c.key"]
    assert (tls.listed, tls.minimum_version, tls.client_ca) == (2, "1.3", tmp_path / "ca.pem")
    assert (tls.redirect, tls.redirect_port, tls.hsts) == (308, 443, 31536000)


def test_a_list_alone_is_enough_and_its_first_answers_for_the_rest(tmp_path: Path) -> None:
    tls = settings(tmp_path, '[[front.tls.certificates]]\ncertificate = "b.pem"').front.tls
    assert tls is not None
    assert (tls.listed, tls.certificates[0].certificate.name) == (1, "b.pem")


def test_the_port_of_https(tmp_path: Path) -> None:
    found = settings(tmp_path, '[front.tls]\ncertificate = "a.pem"', 'listen = ["https://a.example"]\n')
    assert found.front.listen == (Listen("https", "a.example", 443),)
    assert found.front.listen[0].url == "https://a.example:443"


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [
        ('[front.tls]\nkey = "a.key"', ":4: front.tls.key: read "),
        ('[front.tls]\ncertificate = 5', ":4: front.tls.certificate: read 5; expected a path"),
        (
            '[front.tls]\ncertificate = "a.pem"\nminimum_version = "1.1"',
            ':5: front.tls.minimum_version: read "1.1"; expected 1.2 or 1.3',
        ),
        (
            '[front.tls]\ncertificate = "a.pem"\nclient_certificate = "required"',
            ":3: front.tls.client_ca: read nothing; expected the authorities",
        ),
        (
            '[front.tls]\ncertificate = "a.pem"\nclient_certificate = "yes"',
            ':5: front.tls.client_certificate: read "yes"; expected one of off, optional, required',
        ),
        ('[front.tls]\ncertificate = "a.pem"\nredirect = 303', ":5: front.tls.redirect: read 303; expected one of 301"),
        ('[front.tls]\ncertificate = "a.pem"\nhsts_subdomains = true', ":5: front.tls.hsts_subdomains: read true"),
        (
            '[front.tls]\ncertificate = "a.pem"\nhsts = "30d"\nhsts_subdomains = true\nhsts_preload = true',
            ":7: front.tls.hsts_preload: read true; expected hsts of at least a year",
        ),
        ('[front.tls]\ncertificates = ["a.pem"]', ":4: front.tls.certificates: read "),
        (
            '[[front.tls.certificates]]\ncertificate = "a.pem"\n[[front.tls.certificates]]\nkey = "b.key"',
            ":5: front.tls.certificates.1.certificate: read nothing; expected a path",
        ),
        (
            '[front.tls]\ncertificate = "a.pem"\ncyphers = "ALL"',
            ":5: front.tls.cyphers: read an unknown key",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(tmp_path: Path, tls: str, sentence: str) -> None:
    found = refused(tmp_path, tls)
    assert any(one.startswith(sentence) for one in found), found


@pytest.mark.parametrize("listen", ["https://127.0.0.1:8443/shop", "https://", "https:/a", "https://a:99999"])
def test_an_address_that_is_none(tmp_path: Path, listen: str) -> None:
    (sentence,) = refused(tmp_path, '[front.tls]\ncertificate = "a.pem"', f'listen = ["{listen}"]\n')
    assert "https://HOST:PORT" in sentence


def test_https_needs_the_table_wherever_it_is_asked_for(tmp_path: Path) -> None:
    (sentence,) = refused(tmp_path, "")
    assert sentence.startswith(':2: front.listen: read "https://[::1]:8443"; expected a table [front.tls]')
    (sentence,) = refused(tmp_path, "", "", ("https://127.0.0.1:8443",))
    assert "--listen" in sentence


def test_a_redirect_needs_somewhere_to_go(tmp_path: Path) -> None:
    text = '[front.tls]\ncertificate = "a.pem"\nredirect = 308'
    (sentence,) = refused(tmp_path, text, "")
    assert "front.tls.redirect: read 308; expected an https:// address" in sentence
    settings(tmp_path, f"{text}\nredirect_port = 443", "")


def test_no_app_has_the_port_of_an_https_address(tmp_path: Path) -> None:
    file = tmp_path / "portico.toml"
    file.write_text(
        f'[front]\n{HTTPS}[front.tls]\ncertificate = "a.pem"\n[apps.shop]\ncommand = "x"\nport = 8443\n'
    )
    with pytest.raises(InvalidSettings, match=r"8443, which \[front\] listen has already"):
        load_settings(file, {})
