"""`basic`: users and passwords of an htpasswd file, or of PAM (RFC 7617)."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from proxy.editable import Edit
from proxy.identity import Identity
from proxy.modules import BadOption, Context, Module, Refuse, ResponseHead, Visit
from proxy.modules.htpasswd import Htpasswd, WatchedFile, parse_groups
from proxy.modules.password_hashes import belongs
from proxy.modules.sign_ins import Guesses, Remembered, client_key

MOST_AT_ONCE: Final = 64
"""Passwords that are checked or wait for it, of all visitors of one worker."""
LONGEST: Final = 1024
"""Characters of name and password together: a hash of more is work for nothing."""


_WITHOUT_PASSWORD: Final = Edit.of(removes=["Authorization"])


class Source(Protocol):
    """Where passwords are known. `at_once`: how many one worker checks at a time."""

    at_once: int

    def refresh(self, now: float) -> None: ...

    def proof(self, user: str) -> bytes:
        """What a remembered sign-in depends on: with another one it is forgotten."""
        ...

    def check(self, user: str, password: str) -> bool:
        """Slow; called in a thread."""
        ...

    def close(self) -> None: ...


class FileSource:
    at_once = 2  # cores for guesses, at most

    def __init__(self, file: Htpasswd) -> None:
        self._file = file
        self.refresh = file.refresh
        self.close = file.close

    def proof(self, user: str) -> bytes:
        return self._file.hash_to_check(user)[0].encode("ascii")

    def check(self, user: str, password: str) -> bool:
        stored, known = self._file.hash_to_check(user)
        right = bool(stored) and belongs(password.encode("utf-8"), stored)
        return right and known


class Basic(Module):
    """Options: `file` or `pam`, `groups`, `realm`, `required`, `pass_authorization`, `remember`."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self._context = context
        self._challenge = challenge(options["realm"])
        self._required: bool = options["required"]
        self._passes: bool = options["pass_authorization"]
        self._source = _source(options, context)
        self._groups = _groups(options["groups"], context)
        self._remembered = Remembered(options["remember"])
        self._guesses = Guesses()
        self._checks = BoundedSemaphore(self._source.at_once)
        self._running: dict[bytes, AsyncResult[bool]] = {}

    def request(self, visit: Visit) -> Refuse | None:
        if visit.user is not None:
            return None
        said = [value for value in visit.field_values("Authorization") if is_basic(value)]
        if not said:
            return _unknown("sign in to see this") if self._required else None
        credentials = read_credentials(said[0]) if len(said) == 1 else None
        if credentials is None:
            return _unknown("the Authorization field holds no name and password")
        user, password = credentials
        refusal = self._sign_in(client_key(visit.client), user, password)
        if refusal is not None:
            return refusal
        visit.authenticate(Identity(user, "Basic", self._groups_of(user)))
        if not self._passes:
            visit.edit(_WITHOUT_PASSWORD)
        return None

    def response(self, visit: Visit, head: ResponseHead) -> None:
        """Whoever answers 401, the app too, means: sign in (RFC 9110 15.5.2)."""
        if head.status == 401 and visit.user is None and not any(map(is_basic, _challenges(head))):
            head.add("WWW-Authenticate", self._challenge)

    def close(self) -> None:
        self._source.close()
        if self._groups is not None:
            self._groups.close()

    # ----------------------------------------------------------------------------------------------------------

    def _groups_of(self, user: str) -> tuple[str, ...]:
        if self._groups is None:
            return ()
        self._groups.refresh(self._context.now())
        return self._groups.value.get(user, ())

    def _sign_in(self, client: str, user: str, password: str) -> Refuse | None:
        now = self._context.now()
        self._source.refresh(now)
        digest = self._remembered.digest(
            user.encode("utf-8"), password.encode("utf-8"), self._source.proof(user)
        )
        if self._remembered.has(digest, now):
            return None
        running = self._running.get(digest)
        if running is None:
            if (pause := self._guesses.wait(client, now)) > 0:
                return Refuse(429, "too many failed sign-ins", retry_after=int(pause) + 1)
            if len(self._running) >= MOST_AT_ONCE:
                return Refuse(503, "too many sign-ins at once", retry_after=2)
            if self._guesses.begin(client, now) == Guesses.FREE:
                self._context.log.warning("basic.slowed", client=client)
            right = self._check(digest, client, user, password)
        else:
            right = bool(running.get())  # a browser sends many requests with the same password at once
        return None if right else _unknown("the name or the password is wrong")

    def _check(self, digest: bytes, client: str, user: str, password: str) -> bool:
        result: AsyncResult[bool] = AsyncResult()
        self._running[digest] = result
        try:
            with self._checks:
                right = self._context.in_thread(self._source.check, user, password)
        except BaseException as error:
            self._guesses.not_tried(client)
            result.set_exception(error)
            raise
        finally:
            del self._running[digest]
        if right:
            self._guesses.succeeded(client)
            self._remembered.add(digest, self._context.now())
        result.set(right)
        return right


def _source(options: Mapping[str, Any], context: Context) -> Source:
    """Raises ValueError."""
    file, service = options["file"], options["pam"]
    if bool(file) == bool(service):
        raise BadOption('it wants file = "htpasswd" or pam = "service", and not both')
    if service:
        from proxy.modules.pam import PamSource  # libpam is loaded where it is used alone

        return PamSource(service)
    try:
        return FileSource(Htpasswd(Path(file), context.now(), context.log))
    except FileNotFoundError as problem:
        raise ValueError(
            f"{file} cannot be read: {problem.strerror}; htpasswd -cB {file} NAME makes it"
        ) from problem
    except OSError as problem:
        if problem.strerror is None:  # a sentence: what computes the hashes is missing
            raise ValueError(str(problem)) from problem
        raise ValueError(f"{file} cannot be read: {problem.strerror}") from problem


def _groups(file: str | None, context: Context) -> WatchedFile[dict[str, tuple[str, ...]]] | None:
    """Raises ValueError."""
    if not file:
        return None
    try:
        return WatchedFile(Path(file), parse_groups, context.now(), context.log)
    except OSError as problem:
        raise ValueError(f"{file} cannot be read: {problem.strerror or problem}") from problem


def _unknown(detail: str) -> Refuse:
    """The challenge comes with every 401: see `Basic.response`."""
    return Refuse(401, detail)


def _challenges(head: ResponseHead) -> list[str]:
    return head.get_all("WWW-Authenticate")


def challenge(realm: str) -> str:
    """RFC 7617 2 and 2.1. Raises ValueError."""
    if not realm.isascii() or not realm.isprintable():
        raise BadOption("the realm is not of printable ASCII characters (RFC 7617 2)")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted}", charset="UTF-8"'


def is_basic(authorization: str) -> bool:
    return authorization[:6].lower() == "basic " or authorization.lower() == "basic"


def read_credentials(authorization: str) -> tuple[str, str] | None:
    """Name and password (RFC 7617 2: UTF-8); None if there are none that a file could hold."""
    try:
        text = b64decode(authorization[6:].strip(" "), validate=True).decode("utf-8")
    except (NotBase64, UnicodeDecodeError, ValueError):
        return None
    user, colon, password = text.partition(":")
    if not colon or not user or user != user.strip() or not user.isprintable() or len(text) > LONGEST:
        return None
    if any(ord(char) < 32 or ord(char) == 127 for char in password):
        return None
    return user, password
