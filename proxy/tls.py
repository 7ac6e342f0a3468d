"""How this worker speaks TLS: OpenSSL's contexts, one for each name or set of names, and their renewal.

Ciphers, groups and signature algorithms are OpenSSL's defaults, which the distribution keeps. What is off: versions
below `minimum_version`, compression and renegotiation (RFC 9325 3.3, 3.5). Sessions are resumed by tickets whose keys
are a context's own: within this worker, until the certificates are renewed.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Mapping

from supervisor_conf.certificates import Bundle, Shown, add_pair, server_context
from supervisor_conf.tls_settings import TlsSettings

#: RFC 7301: what the front speaks on a connection.
PROTOCOLS = ["http/1.1"]

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_ASKED = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class Tls:
    """The contexts of now. A connection keeps the one that it began with."""

    def __init__(self, settings: TlsSettings, bundle: Bundle) -> None:
        """Raises SSLError, ValueError for a bundle that OpenSSL does not take."""
        self.settings = settings
        self._bundle = bundle
        self.context = _contexts(settings, bundle)

    def renew(self, bundle: Bundle) -> bool:
        """From now on these; False if they are the same. Raises as `__init__`, and then nothing has changed."""
        if bundle == self._bundle:
            return False
        self.context = _contexts(self.settings, bundle)
        self._bundle = bundle
        return True


def _contexts(settings: TlsSettings, bundle: Bundle) -> ssl.SSLContext:
    """The context of the first certificate, which leads to the others by the name that a client asks for."""
    shown = Shown.of(bundle)
    made: dict[tuple[int, ...], ssl.SSLContext] = {}
    for places in (shown.default, *shown.by_name.values()):
        if places not in made:
            made[places] = _context_of(places, settings, bundle)
    first = made[shown.default]
    first.sni_callback = _chooser({name: made[places] for name, places in shown.by_name.items()})
    return first


def _context_of(places: tuple[int, ...], settings: TlsSettings, bundle: Bundle) -> ssl.SSLContext:
    own, *others = (bundle.certificates[place].pem.encode("ascii") for place in places)
    context = server_context(own)
    for pem in others:
        add_pair(context, pem)
        context.end_point = b""  # OpenSSL does not tell which of them it has shown
    _configure(context, settings, bundle.client_ca)
    return context


def _configure(context: ssl.SSLContext, settings: TlsSettings, client_ca: str) -> None:
    context.minimum_version = _VERSIONS[settings.minimum_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    context.verify_mode = _ASKED[settings.client_certificate]
    if client_ca:
        # Each certificate of the file is an authority, also one between others and their root.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=client_ca)


def _chooser(
    by_name: Mapping[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    def choose(end: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """RFC 6066 3: a name that no certificate has is answered with the first one."""
        context = context_for(by_name, name or "")
        if context is not None:
            end.context = context

    return choose


def context_for(by_name: Mapping[str, ssl.SSLContext], name: str) -> ssl.SSLContext | None:
    """Of the name itself, else of `*` and its parent (RFC 9525 6.3)."""
    name = name.lower().rstrip(".")
    return by_name.get(name) or by_name.get(f"*.{name.partition('.')[2]}")


def forgive_names() -> None:
    """A server name that is not ASCII ends its handshake and nothing else. Python tells of it by a traceback on stderr
    each time, which would let any visitor write into the log."""
    told = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not (
            isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)
        ):
            told(unraisable)

    sys.unraisablehook = hook


# ------------------------------------------------------------------------------------------------------------
# Client certificates

_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def subject_of(facts: Mapping[str, object]) -> str:
    """The subject as RFC 4514 writes it, of what `ssl.SSLSocket.getpeercert` tells."""
    parts = facts.get("subject", ())
    assert isinstance(parts, tuple)
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(k, k)}={_escaped(v)}" for k, v in one) for one in reversed(parts)
    )


def _escaped(value: str) -> str:
    """RFC 4514 2.4; control characters too, so that a line of a log stays one."""
    text = "".join(
        f"\\{char}" if char in '"+,;<>\\' else char if char.isprintable() else _hex(char) for char in value
    )
    if text[:1] in (" ", "#"):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(text) > 2 else text


def _hex(char: str) -> str:
    return "".join(f"\\{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


def names_of(facts: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """subjectAltName, of the same; what is no pair of strings is left out."""
    found = facts.get("subjectAltName", ())
    assert isinstance(found, tuple)
    return tuple(pair for pair in found if all(isinstance(part, str) for part in pair))
