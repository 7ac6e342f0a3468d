"""The client certificate that the front has asked for and verified: base64 of its DER in a field, PEM for the app."""

from __future__ import annotations

from binascii import Error, a2b_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELD = b"ms-aspnetcore-clientcert"
VARIABLE = "HTTP_MS_ASPNETCORE_CLIENTCERT"
# As mod_ssl calls them; wsgiref puts os.environ in, so they are removed where there is no certificate.
CERTIFICATE_VARIABLE, VERIFIED_VARIABLE = "SSL_CLIENT_CERT", "SSL_CLIENT_VERIFY"
SEQUENCE = b"0"  # the tag that a certificate begins with (X.690)
LINE = 64  # characters (RFC 7468)


def pem_of(field: str) -> str:
    """PEM, or "" for a field that holds no certificate: that is logged, and the request goes on without one."""
    try:
        der = a2b_base64(field.encode("ascii"))
    except (Error, UnicodeEncodeError):
        der = b""
    if der[:1] != SEQUENCE:
        import logging

        logging.getLogger("portico").warning("Failed to read the client certificate.")
        return ""
    lines = [field[start : start + LINE] for start in range(0, len(field), LINE)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def set_in_environ(environ: dict[str, Any]) -> None:
    """`SSL_CLIENT_CERT`, and `SSL_CLIENT_VERIFY`, of a WSGI environ that is paired."""
    environ.pop(CERTIFICATE_VARIABLE, None)
    environ.pop(VERIFIED_VARIABLE, None)
    field = environ.get(VARIABLE)
    if field and (pem := pem_of(field)):
        environ[CERTIFICATE_VARIABLE], environ[VERIFIED_VARIABLE] = pem, "SUCCESS"


class Chain:
    """`client_cert_chain` of the ASGI TLS extension: the visitor's own certificate, made PEM when it is looked at."""

    __slots__ = ("_field", "_pems")

    def __init__(self, field: str) -> None:
        self._field = field
        self._pems: tuple[str, ...] | None = None

    def _read(self) -> tuple[str, ...]:
        if self._pems is None:
            pem = pem_of(self._field) if self._field else ""
            self._pems = (pem,) if pem else ()
        return self._pems

    def __iter__(self) -> Any:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]


def extension_of(field: str) -> dict[str, Any]:
    """The ASGI TLS extension, of a request that came over TLS. What the front does not tell is None."""
    return {
        "server_cert": None,
        "client_cert_chain": Chain(field),
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": None,
        "cipher_suite": None,
    }
