"""Certificates and private keys of `[front.tls]`: read, tried, and handed to the workers in memory.

Every pair is tried before it is used: a handshake between two ends in this process, in which OpenSSL itself finds out
whether the key fits, whether it may be used for a server, and for which names and how long. What has passed is a
`Bundle`, which travels as bytes in a memory file: neither key nor passphrase is ever in a file, an argument or a log.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from supervisor_conf.end_point import end_point, key_algorithm
from supervisor_conf.setting_errors import display
from supervisor_conf.tls_settings import CertificateFiles, TlsSettings

LARGEST_FILE: Final = 1024 * 1024
"""A chain is a few KiB; the CAs of a whole administration some hundred."""

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.*?-----END [A-Z0-9 ]+-----", re.DOTALL
)
_KEY: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_WHOLE_KEY: Final = re.compile(_KEY.pattern + rb".*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h): whether a certificate has expired is a warning, and said by itself."""
_ROUNDS: Final = 8
"""More flights than a handshake has."""


class Unusable(Exception):
    """A file of `[front.tls]` cannot be used: the parts of a sentence, as `SettingsError` has them.

    `place`: the keys below [front.tls], an index for one of several certificates.
    """

    def __init__(self, place: tuple[str, ...], read: str, expected: str, example: str = "") -> None:
        self.place = place
        self.read = read
        self.expected = expected
        self.example = example
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        return f"{'.'.join(('front', 'tls', *self.place))}: read {self.read}; expected {self.expected}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One pair that has been tried. `pem`: chain and key; `names`: DNS names, lower case, perhaps with `*.`.

    `begins`, `ends`: seconds since the epoch.
    """

    pem: str = field(repr=False)
    names: tuple[str, ...]
    begins: float
    ends: float


@dataclass(frozen=True, slots=True)
class Bundle:
    """All that a worker needs for its handshakes. The first certificate answers for names that none has."""

    certificates: tuple[Certificate, ...]
    client_ca: str = ""  # PEM

    def to_bytes(self) -> bytes:
        """For a memory file. It holds the private keys."""
        certificates = [[one.pem, list(one.names), one.begins, one.ends] for one in self.certificates]
        return json.dumps({"certificates": certificates, "client_ca": self.client_ca}).encode("ascii")

    @classmethod
    def from_bytes(cls, content: bytes) -> Bundle:
        """Of the same release; other content raises KeyError, TypeError or ValueError."""
        read = json.loads(content)
        certificates = (
            Certificate(pem, tuple(names), begins, ends) for pem, names, begins, ends in read["certificates"]
        )
        return cls(tuple(certificates), read["client_ca"])


@dataclass(frozen=True, slots=True)
class Shown:
    """Which certificates of a bundle stand side by side for whom, by their places in it: of each kind of key the first
    that has the name. `default`: for names that none has; those that have all names of the first one."""

    default: tuple[int, ...]
    by_name: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, bundle: Bundle) -> Shown:
        places: dict[str, list[int]] = {}
        for place, one in enumerate(bundle.certificates):
            for name in one.names:
                places.setdefault(name, []).append(place)
        kinds = [key_algorithm(own_certificate(one.pem.encode("ascii"))) for one in bundle.certificates]
        wanted = set(bundle.certificates[0].names)
        equals = [n for n, one in enumerate(bundle.certificates) if wanted and wanted.issubset(one.names)]
        return cls(
            _first_of_each(equals or [0], kinds),
            {name: _first_of_each(found, kinds) for name, found in places.items()},
        )

    def nobody_sees(self, place: int) -> bool:
        return not any(place in places for places in (self.default, *self.by_name.values()))


def _first_of_each(places: list[int], kinds: list[bytes]) -> tuple[int, ...]:
    first: dict[bytes, int] = {}
    for place in places:
        first.setdefault(kinds[place], place)
    return tuple(first.values())


def load(tls: TlsSettings) -> Bundle:
    """Read and try everything. Raises Unusable with the first problem."""
    found = [_load_pair(files, _place(tls, index)) for index, files in enumerate(tls.certificates)]
    return Bundle(tuple(found), _load_client_ca(tls))


def _place(tls: TlsSettings, index: int) -> tuple[str, ...]:
    """The keys of one of several, as the file has them: `certificate` stands outside of the list."""
    outside = len(tls.certificates) - tls.listed
    return () if index < outside else ("certificates", str(index - outside))


def _load_pair(files: CertificateFiles, place: tuple[str, ...]) -> Certificate:
    chain = _read(files.certificate, (*place, "certificate"))
    key = chain if files.key == files.certificate else _read(files.key, (*place, "key"))
    blocks = _CERTIFICATE.findall(chain)
    if not blocks:
        raise Unusable(
            (*place, "certificate"),
            display(str(files.certificate)),
            "a certificate in PEM, with a line -----BEGIN CERTIFICATE-----",
        )
    if not _KEY.search(key):
        expected = "a private key in PEM, with a line such as -----BEGIN PRIVATE KEY-----"
        if files.key == files.certificate:
            expected += ", beside the certificate or in a file of its own"
            raise Unusable((*place, "certificate"), display(str(files.key)), expected, 'key = "shop.key"')
        raise Unusable((*place, "key"), display(str(files.key)), expected)
    pem = b"\n".join((*blocks, _key_of(key))) + b"\n"
    return _tried(files, place, pem, blocks[0])


def _key_of(text: bytes) -> bytes:
    """Without what people write beside it; OpenSSL says what is wrong with one that does not end."""
    found = _WHOLE_KEY.search(text)
    return found[0] if found else _CERTIFICATE.sub(b"", text)


def _tried(files: CertificateFiles, place: tuple[str, ...], pem: bytes, own: bytes) -> Certificate:
    try:
        context = server_context(pem)
        seen = _trial(
            context, ssl.PEM_cert_to_DER_cert(own.decode("ascii", "replace").replace("TRUSTED ", ""))
        )
    except _Encrypted:
        expected = "a key without a passphrase, which nobody could type when a worker starts"
        plain = f"openssl pkey -in {files.key} -out {files.key}.plain"
        raise Unusable((*place, "key"), display(str(files.key)), expected, plain) from None
    except (ssl.SSLError, ValueError) as problem:
        raise _unusable_pair(files, place, problem) from None
    names = (value.lower() for kind, value in seen.get("subjectAltName", ()) if kind == "DNS")
    return Certificate(
        pem.decode("ascii", "replace"),
        tuple(dict.fromkeys(names)),
        ssl.cert_time_to_seconds(seen["notBefore"]),
        ssl.cert_time_to_seconds(seen["notAfter"]),
    )


def _unusable_pair(files: CertificateFiles, place: tuple[str, ...], problem: Exception) -> Unusable:
    """What OpenSSL's reasons mean (SSL_R_… of sslerr.h); any other is told as it is."""
    reason = getattr(problem, "reason", None) or ""
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        fitting = f"the private key of the first certificate in {files.certificate}"
        return Unusable((*place, "key"), display(str(files.key)), fitting)
    if reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        expected = f"a certificate that OpenSSL does not call too weak ({reason.lower().replace('_', ' ')})"
        return Unusable((*place, "certificate"), display(str(files.certificate)), expected)
    said = getattr(problem, "verify_message", "") or reason.lower().replace("_", " ") or "it is damaged"
    both = (
        f"{files.certificate} and {files.key}" if files.key != files.certificate else str(files.certificate)
    )
    return Unusable(
        (*place, "certificate"),
        display(str(files.certificate)),
        f"a server's certificate and its key ({both}: {said})",
    )


def _load_client_ca(tls: TlsSettings) -> str:
    if tls.client_ca is None or tls.client_certificate == "off":
        return ""
    place = ("client_ca",)
    blocks = _CERTIFICATE.findall(_read(tls.client_ca, place))
    text = b"\n".join(blocks).decode("ascii", "replace")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        expected = "certificates of authorities in PEM, with lines -----BEGIN CERTIFICATE-----"
        raise Unusable(place, display(str(tls.client_ca)), expected) from None
    return text


def _read(path: Path, place: tuple[str, ...]) -> bytes:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(LARGEST_FILE + 1) if regular else b""
    except OSError as problem:
        raise Unusable(place, display(str(path)), f"a file that can be read: {problem.strerror}") from problem
    if not regular:
        raise Unusable(place, display(str(path)), "a regular file")
    if len(content) > LARGEST_FILE:
        raise Unusable(place, display(str(path)), f"a file of at most {LARGEST_FILE} bytes")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """The keeper, who looks at files that are renewed, waits for nobody who might write into a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


# ------------------------------------------------------------------------------------------------------------
# What can be used, and still deserves a word


@dataclass(frozen=True, slots=True)
class Doubt:
    """The parts of a sentence, as in Unusable."""

    place: tuple[str, ...]
    read: str
    expected: str
    example: str = ""


def doubts(tls: TlsSettings, bundle: Bundle, now: float) -> Iterator[Doubt]:
    """`now`: seconds since the epoch."""
    shown = Shown.of(bundle)
    for index, (files, certificate) in enumerate(zip(tls.certificates, bundle.certificates, strict=True)):
        place = _place(tls, index)
        read = display(str(files.certificate))
        if certificate.ends <= now:
            ended = _day(certificate.ends)
            yield Doubt(
                (*place, "certificate"), read, f"a certificate that has not expired, as this one on {ended}"
            )
        if certificate.begins > now:
            begins = _day(certificate.begins)
            yield Doubt(
                (*place, "certificate"), read, f"a certificate that is valid, as this one from {begins} on"
            )
        if not certificate.names:
            expected = "a certificate with names (subjectAltName): browsers look at nothing else"
            yield Doubt((*place, "certificate"), read, expected)
        if shown.nobody_sees(index):
            expected = (
                "a name that no certificate before it has, with a key of the same kind: nobody is shown it"
            )
            yield Doubt((*place, "certificate"), read, expected)
        if _is_open(files.key):
            where = "key" if files.key != files.certificate else "certificate"
            expected = "a private key that only its owner can read"
            yield Doubt((*place, where), display(str(files.key)), expected, f"chmod 600 {files.key}")


def is_named(bundle: Bundle, host: str) -> bool:
    """Whether a certificate has this name (RFC 9525 6.3), lower case; addresses are not looked at."""
    if ":" in host or host.rpartition(".")[2].isdigit():
        return True
    wanted = {host, f"*.{host.partition('.')[2]}"}
    return any(wanted.intersection(one.names) for one in bundle.certificates)


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False  # gone since it was read


# ------------------------------------------------------------------------------------------------------------
# OpenSSL


class _Encrypted(Exception):
    """The key asks for a passphrase."""


class ServerContext(ssl.SSLContext):
    """`end_point`: what its connections may be bound to (RFC 5929 4), b"" where that cannot be told."""

    end_point = b""


def server_context(pem: bytes) -> ServerContext:
    """A server's context with one pair. Raises SSLError, ValueError."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    add_pair(context, pem)
    context.end_point = end_point(own_certificate(pem))
    return context


def own_certificate(pem: bytes) -> bytes:
    """The first one, in DER; b"" if there is none."""
    own = _CERTIFICATE.search(pem)
    if own is None:
        return b""
    return ssl.PEM_cert_to_DER_cert(own[0].decode("ascii", "replace").replace("TRUSTED ", ""))


def add_pair(context: ssl.SSLContext, pem: bytes) -> None:
    """Another pair beside the first: OpenSSL keeps one for each kind of key. Raises SSLError, ValueError."""
    with _memory_path(pem) as path:
        context.load_cert_chain(path, password=_refuse_passphrase)


def _refuse_passphrase() -> str:
    raise _Encrypted


@contextmanager
def _memory_path(content: bytes) -> Iterator[str]:
    """A path for a library that wants one, of bytes that are in no file: our own descriptor stays open to us when we
    have become another user (proc(5), /proc/self/fd)."""
    descriptor = os.memfd_create("portico-tls", os.MFD_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _trial(server: ssl.SSLContext, own: bytes) -> dict[str, Any]:
    """A handshake in memory with a client that trusts nothing but this certificate: what it has seen of it, as
    `ssl.SSLSocket.getpeercert` tells. Raises SSLError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    client.load_verify_locations(cadata=own)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    for _ in range(_ROUNDS):
        waiting = [end for end in ends if not _has_shaken(end)]
        if not waiting:
            break
    return dict(ends[0].getpeercert() or {})


def _has_shaken(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
