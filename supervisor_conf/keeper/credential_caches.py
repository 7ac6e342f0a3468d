"""Kerberos credential caches that visitors have delegated, each for one request, where its app alone can read it.

    RUN/credentials/              0711 as root: everybody passes, nobody lists
    RUN/credentials/shop/         the same, still root's: no user can put a link in the place of what is in it
    RUN/credentials/shop/7/       0700, of the user generation 7 of shop runs as
    RUN/credentials/shop/7/9f…    0600, of that user: the file format of MIT Kerberos (`KRB5CCNAME=FILE:…`)

A cache goes when the worker says that its request is over, when the worker goes, when the generation goes, and when a
keeper begins or ends. The folder of a generation is that user's own: names in it are made and removed, none is
followed.
"""

from __future__ import annotations

import binascii
import errno
import os
import pwd
import secrets
from base64 import b64decode
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from supervisor_conf import run_directory
from supervisor_conf.accounts import NoSuchUser, account
from supervisor_conf.control.messages import CREDENTIALS_LIMIT, CredentialsKept, Spawned, TakeCredentials

FOLDER: Final = "credentials"

MOST_LEFT: Final = 1000
"""Names that are removed from the folder of a generation that has gone: an app shall not keep the keeper busy."""


MOST_KEPT: Final = 100_000


class Refused(Exception):
    """The cache is not kept; the text is a sentence."""


class CredentialCaches:
    """Keys are the numbers of a worker's connection and of the worker's own count."""

    def __init__(self, run: Path, log: Any) -> None:
        self._folder = run / FOLDER
        self._log = log
        self._kept: dict[tuple[int, int], tuple[str, int, Path]] = {}  # app, generation, file
        self._pieces: dict[int, tuple[int, bytearray]] = {}  # of each worker, the one it is telling
        self._folders: dict[str, set[int]] = {}  # the generations of each app that have one

    def clear(self) -> None:
        """Whatever a keeper before this one has left."""
        self._kept.clear()
        self._folders.clear()
        for app in _entries(self._folder):
            for generation in _entries(self._folder / app):
                self._remove_folder(self._folder / app / generation)
            _remove_if_empty(self._folder / app)
        _remove_if_empty(self._folder)

    def take(
        self, worker: int, message: TakeCredentials, generation: Spawned | None
    ) -> CredentialsKept | None:
        """The answer, once all pieces are here. `generation`: None if there is no such one, or it may have none."""
        try:
            data = self._whole(worker, message)
            if data is None:
                return None
            if generation is None:
                raise Refused(f"Generation {message.generation} of {message.app} takes no credentials.")
            if len(self._kept) >= MOST_KEPT:
                raise Refused(f"Credentials for {MOST_KEPT} requests are kept already.")
            path = self._write(generation, data)
        except (Refused, OSError) as problem:
            self._pieces.pop(worker, None)
            self._log.warning("credentials.refused", app=message.app, why=str(problem))
            return CredentialsKept(message.number, problem=str(problem))
        self._kept[worker, message.number] = generation.app, generation.generation, path
        return CredentialsKept(message.number, str(path))

    def drop(self, worker: int, number: int) -> None:
        """The request is over."""
        kept = self._kept.pop((worker, number), None)
        if kept is not None:
            self._remove(kept[2])

    def worker_gone(self, worker: int) -> None:
        self._pieces.pop(worker, None)
        for key in [key for key in self._kept if key[0] == worker]:
            self.drop(*key)

    def only(self, app: str, generations: Collection[int]) -> None:
        """The generations of `app` that still run; what was kept for others goes."""
        gone = self._folders.get(app, set()).difference(generations)
        for number in gone:
            for key in [key for key, kept in self._kept.items() if kept[:2] == (app, number)]:
                self.drop(*key)
            self._remove_folder(self._folder / app / str(number))
            self._folders[app].discard(number)

    # ----------------------------------------------------------------------------------------------------

    def _whole(self, worker: int, message: TakeCredentials) -> bytes | None:
        """None: more is to come. A worker tells one after the other. Raises Refused."""
        number, data = self._pieces.pop(worker, (message.number, bytearray()))
        if number != message.number:
            data = bytearray()  # its last piece never came: nobody waits for the answer any more
        try:
            data += b64decode(message.piece, validate=True)
        except (binascii.Error, ValueError):
            raise Refused("A piece of credentials is not base64.") from None
        if len(data) > CREDENTIALS_LIMIT:
            raise Refused(f"Credentials of more than {CREDENTIALS_LIMIT} bytes are not kept.")
        if message.more:
            self._pieces[worker] = message.number, data
            return None
        return bytes(data)

    def _write(self, generation: Spawned, data: bytes) -> Path:
        """Raises OSError."""
        account = _account(generation.user)
        folder = self._made(generation, account)
        name = secrets.token_hex(16)
        with _opened(folder) as inside:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=inside)
            try:
                if account is not None:
                    os.fchown(descriptor, account.pw_uid, account.pw_gid)
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(data)
            except OSError:
                os.unlink(name, dir_fd=inside)
                raise
            finally:
                os.close(descriptor)
        return folder / name

    def _made(self, generation: Spawned, account: pwd.struct_passwd | None) -> Path:
        app = self._folder / generation.app
        for shared in (self._folder, app):
            shared.mkdir(run_directory.mode_for(os.geteuid()), exist_ok=True)
            shared.chmod(run_directory.mode_for(os.geteuid()))
        folder = app / str(generation.generation)
        if not folder.is_dir():
            folder.mkdir(0o700)
            if account is not None:
                os.chown(folder, account.pw_uid, account.pw_gid)
        self._folders.setdefault(generation.app, set()).add(generation.generation)
        return folder

    def _remove(self, path: Path) -> None:
        try:
            with _opened(path.parent) as inside:
                os.unlink(path.name, dir_fd=inside)
        except FileNotFoundError:
            pass  # the app has removed it
        except OSError as error:
            self._log.warning("credentials.left", path=str(path), error=str(error))

    def _remove_folder(self, folder: Path) -> None:
        """What is no file there is the app's own making, and may stay."""
        try:
            with _opened(folder) as inside:
                for name in os.listdir(inside)[:MOST_LEFT]:
                    os.unlink(name, dir_fd=inside)
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            self._log.warning("credentials.left", path=str(folder), error=str(error))


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _account(user: str) -> pwd.struct_passwd | None:
    """None: the app runs as we do. Raises OSError."""
    if not user or os.geteuid() != 0:
        return None
    try:
        return account(user)
    except NoSuchUser as error:
        raise OSError(errno.EINVAL, str(error)) from None
