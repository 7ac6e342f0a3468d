"""SPNEGO and Kerberos for who accepts them, through python-gssapi on the machine's own libgssapi_krb5 (RFC 4178, 4121).

The keytab is read once, with the rights the worker was started with, into a memory file that only this process can
reach; the library opens it by its descriptor afterwards, whoever the worker has become.

Which authenticators have been seen (RFC 4120 3.2.3) stands in one file of the run directory for all workers, in a
folder that they alone can enter: a token that one has taken is refused by every other.

No function here uses the network: a ticket is judged with the key in the keytab. They may wait for a disk, so they
are for threads.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gssapi
from gssapi import raw
from gssapi.raw.misc import GSSError

from proxy.keytab import Key, read_keytab

KERBEROS: Final = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")
SPNEGO: Final = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")

FOLDER: Final = "kerberos"
LONGEST_KEYTAB: Final = 1024 * 1024
LONGEST_CACHE: Final = 192 * 1024
"""Bytes of a delegated credential cache: a ticket-granting ticket with the largest PAC that Windows makes is 64 KiB."""

_CHANNEL_BOUND: Final = 0x800  # GSS_C_CHANNEL_BOUND_FLAG of MIT Kerberos 1.19
#: What MIT Kerberos says, and what that means. SPNEGO hides the numbers (its minor status is of a table that libgssapi
#: fills as it goes); the words are libkrb5's own, which nobody translates who has not called setlocale(LC_MESSAGES).
_SENTENCES: Final = (
    ("is a replay", "this token has been used before"),
    ("icket expired", "the ticket has expired"),
    ("not yet valid", "the ticket is not valid yet"),
    ("lock skew", "the clocks of client and server differ too much"),
    ("not found in keytab", "this server's keytab holds no key for the ticket, or an older one"),
    ("No key table entry", "this server's keytab holds no key for the ticket, or an older one"),
    ("ecrypt integrity check failed", "the ticket was not made with a key of this server's keytab"),
    ("cannot decrypt ticket", "the ticket was not made with a key of this server's keytab"),
)
_BAD_BINDINGS: Final = 4  # GSS_S_BAD_BINDINGS >> 16 (RFC 2744 3.9.1)
_NO_MECHANISMS: Final = (1, 7)  # GSS_S_BAD_MECH, GSS_S_NO_CRED: a mechanism that is not Kerberos


class Rejected(Exception):
    """The token is not accepted: a sentence for the visitor, and what the library says, for the log."""

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Accepted:
    """Who has proved to be `principal`; `seconds` until the ticket ends; `bound`: to this TLS connection (RFC 5929).

    `credentials`: a credential cache in MIT's file format, b"" if nothing was delegated or nobody wants it.
    """

    principal: str
    seconds: float
    bound: bool
    credentials: bytes


class Handshake:
    """One visitor's context, from its first token to its last."""

    def __init__(self, acceptor: Acceptor, bindings: bytes) -> None:
        """`bindings`: application data of the channel (RFC 5929), b"" for none."""
        self._acceptor = acceptor
        self._bindings = raw.ChannelBindings(application_data=bindings) if bindings else None
        self._context: Any = None
        self.reply = b""  # for the visitor, after each step

    def step(self, token: bytes) -> Accepted | None:
        """None: the visitor has to answer `reply` with another token. Raises Rejected, and then it is over."""
        try:
            result = raw.accept_sec_context(
                token,
                acceptor_creds=self._acceptor.credentials,
                context=self._context,
                channel_bindings=self._bindings,
            )
        except GSSError as error:
            raise _rejected(error) from None
        self._context, self.reply = result.context, result.token or b""
        if result.more_steps:
            return None
        if result.mech != KERBEROS:
            raise Rejected("only Kerberos is accepted here")
        return Accepted(
            raw.display_name(result.initiator_name, name_type=False).name.decode("utf-8", "replace"),
            float(result.lifetime or 0),
            bool(int(result.flags) & _CHANNEL_BOUND),
            self._acceptor.exported(result.delegated_creds),
        )


class Acceptor:
    """The service whose keys are in a keytab."""

    def __init__(
        self, keytab: Path, principal: str, run_directory: Path, uid: int, *, delegation: bool
    ) -> None:
        """`principal`: the one that visitors must have a ticket for, "" for any in the keytab; `uid`: who will ask;
        `delegation`: whether somebody wants delegated credentials. Raises ValueError, OSError."""
        data = _read(keytab)
        self.keys = _keys_for(principal, keytab, data)
        self._delegation = delegation
        self._folder = _folder(run_directory, uid)
        self._keytab = _memory_file(data)
        # The working directory of a worker is its run directory, which it may not be able to reach from above.
        replays = os.path.relpath(self._folder / "replays")
        store = {
            b"keytab": b"FILE:/proc/self/fd/%d" % self._keytab,
            b"rcache": os.fsencode(f"file2:{replays}"),
        }
        name = gssapi.Name(principal, gssapi.NameType.kerberos_principal) if principal else None
        try:
            acquired = raw.acquire_cred_from(store, name=name, mechs=[KERBEROS, SPNEGO], usage="accept")
            self.credentials = acquired.creds
            raw.set_neg_mechs(self.credentials, [KERBEROS])
        except GSSError as error:
            os.close(self._keytab)
            raise ValueError(f"{keytab} cannot be used: {_text(error)}") from None

    def handshake(self, bindings: bytes = b"") -> Handshake:
        return Handshake(self, bindings)

    def exported(self, delegated: Any) -> bytes:
        """The library writes credentials into a file with a name, and no other kind we could read: there is one for a
        moment, in the folder of the workers. Raises Rejected."""
        if delegated is None or not self._delegation:
            return b""
        path = os.path.relpath(self._folder / f"{os.getpid()}-{secrets.token_hex(8)}.ticket")
        try:
            raw.store_cred_into(
                {b"ccache": os.fsencode(f"FILE:{path}")}, delegated, usage="initiate", overwrite=True
            )
            with open(path, "rb") as file:
                data = file.read(LONGEST_CACHE + 1)
        except (GSSError, OSError) as error:
            said = _text(error) if isinstance(error, GSSError) else str(error)
            raise Rejected("the delegated ticket cannot be kept", said) from None
        finally:
            Path(path).unlink(missing_ok=True)
        if len(data) > LONGEST_CACHE:
            raise Rejected("the delegated ticket is too large", f"more than {LONGEST_CACHE} bytes")
        return data

    def close(self) -> None:
        os.close(self._keytab)


# ------------------------------------------------------------------------------------------------------------
# Keytab and folder, with the rights the worker was started with


def _read(keytab: Path) -> bytes:
    try:
        with open(keytab, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IROTH:
                raise ValueError(f"{keytab} can be read by every user of this machine: chmod 600 {keytab}")
            data = file.read(LONGEST_KEYTAB + 1)
    except OSError as error:
        raise ValueError(f"the keytab {keytab} cannot be read: {error.strerror}") from None
    if len(data) > LONGEST_KEYTAB:
        raise ValueError(f"{keytab} is longer than {LONGEST_KEYTAB} bytes, which no keytab is")
    return data


def _keys_for(principal: str, keytab: Path, data: bytes) -> list[Key]:
    """Those that tickets may be for. Raises ValueError."""
    try:
        keys = read_keytab(data)
    except ValueError as problem:
        raise ValueError(f"{keytab} is no keytab: {problem}") from None
    wanted = [key for key in keys if principal in ("", key.name)]
    if not wanted:
        names = ", ".join(sorted({key.name for key in keys}))
        raise ValueError(f"{keytab} holds no key of {principal}, only of {names}")
    return wanted


def _memory_file(data: bytes) -> int:
    """Not to be written any more, by nobody. Its name is nobody's but this process's (proc(5), /proc/PID/fd)."""
    descriptor = os.memfd_create("keytab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, data)
    fcntl.fcntl(
        descriptor,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
    )
    return descriptor


def _folder(run_directory: Path, uid: int) -> Path:
    """For all workers of this Portico. What one that died left of a ticket is removed."""
    folder = run_directory / FOLDER
    folder.mkdir(0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(folder, uid, -1, follow_symlinks=False)
    folder.chmod(0o700)
    for left in folder.glob("*.ticket"):
        if not Path(f"/proc/{left.name.partition('-')[0]}").exists():
            left.unlink(missing_ok=True)
    return folder


# ------------------------------------------------------------------------------------------------------------
# Trouble


def _rejected(error: GSSError) -> Rejected:
    routine, said = error.maj_code >> 16 & 0xFF, _text(error)
    if routine == _BAD_BINDINGS:
        return Rejected("the token was made for another TLS connection (RFC 5929)", said)
    if routine in _NO_MECHANISMS:
        return Rejected("only Kerberos is accepted here", said)
    sentences = (sentence for words, sentence in _SENTENCES if words in said)
    return Rejected(next(sentences, "the token is not valid"), said)


def _text(error: GSSError) -> str:
    """What the library says of the mechanism's own status, else of the routine's; it names principals, no keys."""
    said = error.get_all_statuses(error.min_code, False) if error.min_code else []
    said = said or error.get_all_statuses(error.maj_code, True)
    return "; ".join(part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in said)[
        :300
    ]
