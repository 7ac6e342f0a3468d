"""Contexts by name, renewal, subjects and alternative names, and failures that are counted."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import replace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from proxy.handshakes import TOLD_EVERY, Failures, Handshakes, reason_of
from proxy.headers import Caller
from proxy.streams import TimedOut
from proxy.tls import Tls, context_for, names_of, subject_of
from proxy.tls_stream import Truncated
from supervisor_conf.certificates import Bundle, Certificate, load, own_certificate
from supervisor_conf.tls_settings import CertificateFiles
from tests.kit.certificates import Authority
from tests.kit.memory_front import memory_front
from tests.kit.memory_tls import TlsMemorySocket, client_context, material, server_side


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.example", "a"), ("A.Example.", "a"), ("www.a.example", "*"), ("x.www.a.example", ""), ("", ""),
        ("example", ""), ("*.a.example", "*"),
    ],
)  # fmt: skip
def test_a_context_is_found_by_name_or_by_the_wildcard_of_its_parent(name: str, found: str) -> None:
    exact, wild = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by_name = {"a.example": exact, "*.a.example": wild}
    assert context_for(by_name, name) is {"a": exact, "*": wild, "": None}[found]


def test_what_is_off_and_what_is_left_to_openssl() -> None:
    context = server_side().context
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert server_side(minimum_version="1.3").context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.get_ciphers() == ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).get_ciphers()
    assert context.verify_mode is ssl.CERT_NONE
    assert server_side(client_certificate="optional").context.verify_mode is ssl.CERT_OPTIONAL
    assert server_side(client_certificate="required").context.verify_mode is ssl.CERT_REQUIRED


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """By the names of their files."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    pairs = {
        "ec": authority.issue("a.example", "*.b.example", file="ec"),
        "ec2": authority.issue("a.example", "b.example", file="ec2"),
        "rsa": authority.issue("a.example", file="rsa", rsa=True),
        "bare": authority.issue("192.0.2.1", file="bare"),
        "bare2": authority.issue("192.0.2.2", file="bare2"),
    }
    files = tuple(CertificateFiles(pair.certificate, pair.key) for pair in pairs.values())
    bundle = load(replace(material().settings, certificates=files, client_ca=None))
    return dict(zip(pairs, bundle.certificates, strict=True))


@pytest.mark.parametrize(
    ("listed", "name", "key", "shown"),
    [
        ("ec ec2", "a.example", "ECDSA", "ec"),
        ("ec2 ec", "a.example", "ECDSA", "ec2"),
        ("ec ec2", "b.example", "ECDSA", "ec2"),
        ("ec ec2", None, "ECDSA", "ec"),
        ("ec rsa", "a.example", "RSA", "rsa"),
        ("ec rsa", "a.example", "ECDSA", "ec"),
        ("ec rsa", "x.b.example", "ECDSA", "ec"),
        ("rsa ec ec2", None, "ECDSA", "ec"),
        ("bare bare2", None, "ECDSA", "bare"),
        ("bare ec", "nobody.example", "ECDSA", "bare"),
    ],
)
def test_the_first_certificate_of_each_kind_that_has_the_name_is_shown(
    issued: dict[str, Certificate], listed: str, name: str | None, key: str, shown: str
) -> None:
    bundle = Bundle(tuple(issued[one] for one in listed.split()))
    tls = Tls(replace(material().settings, client_ca=None), bundle)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # whose ciphers name the kind of key
    client.set_ciphers(f"ECDHE+a{key}")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up, server_hostname=name)
    there = tls.context.wrap_bio(up, down, server_side=True)
    for end in (here, there, here, there, here):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert here.getpeercert(binary_form=True) == own_certificate(issued[shown].pem.encode("ascii"))


def test_renewal_takes_what_is_new_and_keeps_what_was_when_it_cannot() -> None:
    tls, bundle = server_side(), material().bundle
    before = tls.context
    assert not tls.renew(Bundle.from_bytes(bundle.to_bytes()))
    assert tls.context is before
    other = Bundle(bundle.certificates[1:], bundle.client_ca)
    assert tls.renew(other)
    assert tls.context is not before
    broken = Bundle((replace(bundle.certificates[0], pem="nothing"),))
    now = tls.context
    with pytest.raises((ssl.SSLError, ValueError)):
        tls.renew(broken)
    assert tls.context is now
    assert tls.renew(bundle)


def test_a_connection_keeps_its_session_over_a_renewal() -> None:
    with memory_front(tls=True) as front:
        front.publish(1)
        visitor = front.visit_encrypted()
        assert front._handshakes is not None
        bundle = material().bundle
        front._handshakes.tls.renew(Bundle(bundle.certificates[::-1], bundle.client_ca))
        visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        front.settle()
        assert b"GET / HTTP/1.1\r\n" in front.apps[0].recv_all()
        unknown = TlsMemorySocket(front.visit(), client_context(), "b.example")
        while not unknown.shake():
            front.settle()
        assert ("DNS", "b.example") in (unknown.tls.getpeercert() or {})["subjectAltName"]


def test_a_certificate_of_a_client_is_told_with_its_names() -> None:
    found = material(client_certificate="required")
    pair = found.authority.issue("ada@example.org", file="ada", common_name="Ada")
    context = found.authority.context()
    context.load_cert_chain(pair.certificate, pair.key)
    with memory_front(tls=True) as front:
        seen: list[Caller] = []
        tls = Tls(found.settings, found.bundle)
        handshakes = Handshakes(
            tls, front.deadlines, lambda _, caller: seen.append(caller), lambda *_: None, lambda: None
        )
        ours, far = front.loop.pair()
        handshakes.begin(ours, Caller("192.0.2.7", 1, "https"), 10)  # type: ignore[arg-type]
        client = TlsMemorySocket(far, context)
        while not client.shake():
            front.settle()
        front.settle()
        (caller,) = seen
        assert caller.certificate == pair.der
        assert caller.names == (("email", "ada@example.org"),)
        assert "CN=Ada" in caller.subject.split(",")
        assert handshakes.under_way == set()


def test_a_subject_is_written_as_rfc_4514_says() -> None:
    facts = {
        "subject": (
            (("countryName", "GB"),),
            (("organizationName", 'Lovelace, "Sons" + <Co>; #1\\'),),
            (("commonName", "#Ada "), ("userId", "ada")),
            (("emailAddress", "ada\n@example.org"),),
        )
    }
    assert subject_of(facts) == (
        'emailAddress=ada\\0a@example.org,CN=\\#Ada\\ +UID=ada,'
        'O=Lovelace\\, \\"Sons\\" \\+ \\<Co\\>\\; #1\\\\,C=GB'
    )  # fmt: skip
    assert subject_of({}) == ""


@given(st.text(min_size=1, max_size=20))
def test_no_value_of_a_subject_can_pretend_to_be_another(value: str) -> None:
    written = subject_of({"subject": ((("organizationName", "x"),), (("commonName", value),))})
    assert written.startswith("CN=")
    assert written.endswith(",O=x")
    inside = written.removeprefix("CN=").removesuffix(",O=x")
    plain = ""
    escaped = False
    for char in inside:
        plain += "" if escaped or char == "\\" else char
        escaped = char == "\\" and not escaped
    assert not set(plain) & set('+,;<>"')
    assert written.isprintable()


def test_alternative_names_are_pairs_of_strings() -> None:
    facts = {"subjectAltName": (("DNS", "a.example"), ("DirName", ((("commonName", "x"),),)), ("URI", "u:x"))}
    assert names_of(facts) == (("DNS", "a.example"), ("URI", "u:x"))
    assert names_of({}) == ()


def test_reasons_are_few_words() -> None:
    assert reason_of(TimedOut()) == "slow"
    assert reason_of(Truncated("x")) == reason_of(ConnectionResetError()) == "the client went away"
    assert reason_of(ssl.SSLError(1, "something that no list has")) == "unknown"


def test_failures_of_one_kind_are_told_once_a_minute_with_their_number() -> None:
    structlog.reset_defaults()
    failures = Failures()
    with capture_logs() as logs:
        for second in range(50):
            failures.count("slow", f"192.0.2.{second}", 1000.0 + second)
        failures.count("unknown", "192.0.2.1", 1000.0)
        failures.tell_rest(1000.0 + TOLD_EVERY - 1)
        assert [(log["reason"], log["times"]) for log in logs] == [("slow", 1), ("unknown", 1)]
        failures.tell_rest(1000.0 + TOLD_EVERY)
        failures.tell_rest(1000.0 + 2 * TOLD_EVERY)
        failures.count("slow", "192.0.2.9", 1000.0 + 2 * TOLD_EVERY)
    assert [(log["reason"], log["times"], log.get("client")) for log in logs[2:]] == [
        ("slow", 49, None),
        ("slow", 1, "192.0.2.9"),
    ]
    assert failures.total == 52


def test_a_certificate_of_a_trusted_proxy_is_not_that_of_whom_it_speaks_for() -> None:
    with memory_front(front={"trusted_proxies": ("192.0.2.0/24",)}) as front:
        proxy = Caller("192.0.2.7", 1, "https", certificate=b"0", subject="CN=proxy", names=(("DNS", "p"),))
        for fields in ([(b"X-Forwarded-For", b"198.51.100.1")], [(b"X-Forwarded-For", b"unknown")], []):
            caller = front.trust.speaker(proxy).of([(b"Host", b"a"), *fields])[0].caller
            assert (caller.certificate, caller.subject, caller.names) == (b"", "", ())
