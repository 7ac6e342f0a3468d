"""`negotiate`: visitors show a Kerberos ticket (RFC 4559, SPNEGO of RFC 4178), as browsers of a domain do unasked.

A request without a token is answered 401; one with a token is let through as whoever the ticket names, or refused.
What the client wants to check this server by goes into the answer (mutual authentication). `persist = "connection"`
lets one token speak for the requests after it on the same connection, as IIS's authPersistNonNTLM does; never on a
connection that may carry several visitors: a trusted proxy's, a Unix socket's, or where fields tell of a proxy.

A handshake of more than one token belongs to its connection in any case, under the same condition, and is short.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.headers import is_relayed
from proxy.identity import Identity
from proxy.modules import Context, Module, Refuse, ResponseHead, Visit

if TYPE_CHECKING:
    from proxy.kerberos import Accepted, Handshake, Rejected

SCHEME: Final = "Negotiate"

LONGEST_TOKEN: Final = 64 * 1024
"""Bytes: Windows makes tokens of 48,000 at most (MaxTokenSize); `max_header_bytes` is usually reached before."""

MOST_LEGS: Final = 5
HANDSHAKE_LIMIT: Final = 30.0
"""Seconds from the first token of a handshake to its last."""

MOST_AT_ONCE: Final = 64
"""Tokens of this module that are being judged or wait for it, in this worker."""

QUIET: Final = 60.0
"""Seconds between two log lines about the same kind of trouble."""

_NTLM: Final = b"NTLMSSP\0"  # MS-NLMP 2.2.1
_NTLM_SENTENCE: Final = (
    "your browser offers NTLM, and only Kerberos is accepted here: it may not trust this site with it, "
    "or have no ticket"
)


@dataclass(slots=True)
class _Started:
    """A handshake that waits for the visitor's next token."""

    handshake: Handshake
    until: float
    legs: int


@dataclass(frozen=True, slots=True)
class _Known:
    """Who speaks on this connection, as long as the ticket lasts."""

    identity: Identity
    until: float


class Negotiate(Module):
    """Options: `supervisor_conf/module_table.py`."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        try:
            from proxy.kerberos import Acceptor, Rejected
        except ImportError as error:
            raise ValueError(f'it needs python-gssapi: pip install "portico[negotiate]" ({error})') from error
        self._rejected: type[Rejected] = Rejected
        self._context = context
        self._required: bool = options["required"]
        self._persistent = options["persist"] == "connection"
        self._strips: bool = options["strip_realm"]
        self._binding: str = options["channel_binding"]
        self._acceptor = Acceptor(
            Path(options["keytab"]),
            options["principal"],
            context.run_directory,
            context.uid,
            delegation=context.forwards_credentials,
        )
        self._realms = frozenset(options["realms"] or {key.realm for key in self._acceptor.keys})
        if self._strips and len(self._realms) > 1:
            names = ", ".join(sorted(self._realms))
            raise ValueError(
                f"strip_realm wants one realm, or users of several ({names}) would have one name"
            )
        self._key = f"negotiate:{context.app}:{context.number}"
        self._at_once = 0
        self._told: dict[str, float] = {}

    def close(self) -> None:
        self._acceptor.close()

    # ----------------------------------------------------------------------------------------------------------
    # The request

    def request(self, visit: Visit) -> Refuse | None:
        if visit.user is not None:
            return None  # another module knows who this is
        fields = visit.field_values("Authorization")
        if not any(_scheme(field) == "negotiate" for field in fields):
            return self._without_token(visit, bool(fields))
        visit.remove_field("Authorization")
        if len(fields) > 1:
            return Refuse(400, "more than one Authorization field")
        token = _token(fields[0])
        if token is None:
            return Refuse(400, "what follows Negotiate in Authorization is not base64, or too long")
        return self._with_token(visit, token)

    def _without_token(self, visit: Visit, other_scheme: bool) -> Refuse | None:
        """The connection's word counts, unless the visitor says something else."""
        remembered = None if _is_shared(visit) else visit.connection.get(self._key)
        if isinstance(remembered, _Known) and not other_scheme:
            if self._context.now() < remembered.until:
                visit.authenticate(remembered.identity)
                return None
            del visit.connection[self._key]
        if isinstance(remembered, _Started):
            del visit.connection[self._key]
        if not self._required:
            return None
        return self._challenge("a Kerberos ticket is wanted here")

    def _with_token(self, visit: Visit, token: bytes) -> Refuse | None:
        if token.startswith(_NTLM):
            self._complain(_NTLM_SENTENCE, "")
            return self._challenge(_NTLM_SENTENCE)
        if self._at_once >= MOST_AT_ONCE:
            return Refuse(503, "too many visitors are being authenticated", retry_after=1)
        started = self._take_started(visit)
        self._at_once += 1
        try:
            accepted = self._context.in_thread(started.handshake.step, token)
        except self._rejected as problem:
            self._complain(problem.sentence, problem.detail)
            return self._challenge(problem.sentence)
        finally:
            self._at_once -= 1
        if accepted is None:
            return self._next_leg(visit, started)
        if self._binding == "required" and not accepted.bound:
            return self._challenge("the token must be bound to this TLS connection (RFC 5929)")
        return self._admit(visit, accepted, started.handshake.reply)

    def _take_started(self, visit: Visit) -> _Started:
        """The handshake this token goes on with, or a new one. Whoever was known on the connection is so no more."""
        now = self._context.now()
        remembered = None if _is_shared(visit) else visit.connection.pop(self._key, None)
        if isinstance(remembered, _Started) and now < remembered.until:
            return remembered
        binding = visit.channel_binding if self._binding != "off" else b""
        return _Started(self._acceptor.handshake(binding), now + HANDSHAKE_LIMIT, 0)

    def _next_leg(self, visit: Visit, started: _Started) -> Refuse:
        started.legs += 1
        if _is_shared(visit):
            return self._challenge("a handshake of several messages cannot pass a proxy")
        if started.legs >= MOST_LEGS:
            return self._challenge("the handshake does not come to an end")
        visit.connection[self._key] = started
        return self._challenge("the handshake goes on", started.handshake.reply)

    def _admit(self, visit: Visit, accepted: Accepted, reply: bytes) -> Refuse | None:
        name, _, realm = accepted.principal.rpartition("@")
        if realm not in self._realms or not name or "\\" in name or name.startswith("WELLKNOWN/"):
            self._complain("a principal of a realm that is not admitted", accepted.principal)
            return Refuse(403, "users of this realm are not admitted here")
        try:
            identity = Identity(
                name if self._strips else accepted.principal, SCHEME, credentials=accepted.credentials
            )
        except ValueError:
            return Refuse(403, "this principal has no name that an app could be told")
        visit.authenticate(identity)
        if reply:
            visit.notes[self._key] = b64encode(reply).decode("ascii")
        if self._persistent and not _is_shared(visit):
            visit.connection[self._key] = _Known(identity, self._context.now() + accepted.seconds)
        return None

    # ----------------------------------------------------------------------------------------------------------
    # The answer

    def response(self, visit: Visit, head: ResponseHead) -> None:
        reply = visit.notes.get(self._key)
        if reply is not None:
            head.add("WWW-Authenticate", f"{SCHEME} {reply}")
        elif head.status == 401 and visit.user is None and not _offers_negotiate(head):
            # The app, or a module after this one, wants to know who asks: a ticket would tell.
            head.add("WWW-Authenticate", SCHEME)

    def _challenge(self, sentence: str, reply: bytes = b"") -> Refuse:
        value = f"{SCHEME} {b64encode(reply).decode('ascii')}" if reply else SCHEME
        return Refuse(401, sentence, fields=[("WWW-Authenticate", value)])

    def _complain(self, sentence: str, detail: str) -> None:
        """Once a minute for each sentence, of which there are few: anybody can send bad tokens."""
        now = self._context.now()
        if now - self._told.get(sentence, -QUIET) >= QUIET:
            self._told[sentence] = now
            self._context.log.warning("negotiate.rejected", why=sentence, detail=detail)


def _is_shared(visit: Visit) -> bool:
    """Whether requests of several visitors may come over this connection."""
    exchange = visit.exchange
    return exchange.trusted or not visit.client or is_relayed(exchange.request.fields)


def _offers_negotiate(head: ResponseHead) -> bool:
    return any(_scheme(value) == "negotiate" for value in head.get_all("WWW-Authenticate"))


def _scheme(value: str) -> str:
    return value.partition(" ")[0].lower()


def _token(value: str) -> bytes | None:
    """RFC 4559 4: `Negotiate` and the token in base64; b"" is a token as well."""
    text = value.partition(" ")[2].strip(" ")
    if len(text) > LONGEST_TOKEN * 4 // 3 + 4:
        return None
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
