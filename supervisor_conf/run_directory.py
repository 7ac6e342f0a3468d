"""The run directory: who may use it, one Portico at a time in it, what is left in it afterwards."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from supervisor_conf.accounts import user_name
from supervisor_conf.keeper.processes import read_process
from supervisor_conf.plugin.descriptors import lift

LOCK = "portico.lock"
SUPERVISORD_CONF = "supervisord.conf"
SUPERVISORCTL_CONF = "supervisorctl.conf"
SUPERVISOR_SOCKET = "supervisor.sock"
CONTROL_SOCKET = "control.sock"
SUPERVISORD_PID = "supervisord.pid"
SUPERVISORD_LOG = "supervisord.log"
SHIM = "shim"
APPS = "apps"

# sun_path of Linux (unix(7)) without the final NUL
LONGEST_SOCKET_PATH = 107
# supervisord binds «supervisor.sock.PID» first and links it; the widest pid has seven digits (pid_max of 64-bit Linux)
_BIND_SUFFIX = len(".4194304")


# A generation has a number of at most so many digits; who starts an app ten times a second needs eleven days for it
_WIDEST_GENERATION = 9_999_999


# Seconds for which others may hold the lock who are no Portico
_LOOK_TAKES = 0.2
_WILL_TAKES = 5.0


class UnusableRunDirectory(Exception):
    """The run directory cannot be used; the message is a whole sentence."""


class AlreadyRunning(UnusableRunDirectory):
    """Another Portico has this run directory."""

    def __init__(self, directory: Path, pid: int):
        self.pid = pid
        who = f"pid {pid}" if pid else "another process"
        super().__init__(f"Portico runs already in {directory} ({who})")


@dataclass(frozen=True, slots=True)
class Lock:
    """The lock of a run directory, held until `release` or the end of the process."""

    descriptor: int
    after_a_crash: bool  # the one before did not end in order

    def release(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def mode_for(uid: int) -> int:
    """As root, apps of other users must reach their shim and sockets through it, without listing it."""
    return 0o711 if uid == 0 else 0o700


def obstacle(directory: Path) -> str:
    """Why this folder cannot become the run directory, in a sentence, or "". Changes nothing."""
    if longest_socket(directory) > LONGEST_SOCKET_PATH:
        return f"the path {directory} is too long for Unix sockets; choose a shorter run_directory"
    if bad := [char for char in str(directory) if not char.isprintable() or 0xD800 <= ord(char) <= 0xDFFF]:
        return f"the path of the run directory holds {bad[0]!a}, which supervisord cannot read"
    if " ;" in str(directory) or " #" in str(directory) or str(directory) != str(directory).strip():
        return (
            f"the path {directory} holds « ;», « #» or an outer blank, which supervisord takes for a comment"
        )
    if not directory.exists():
        return _cannot_be_created(directory)
    if not directory.is_dir():
        return f"{directory} is not a folder"
    if (owner := directory.stat().st_uid) != os.geteuid():
        return f"the run directory {directory} belongs to {user_name(owner)}; remove it or choose another one"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"the run directory {directory} cannot be written"
    if not (directory / LOCK).exists() and any(directory.iterdir()):
        return f"the run directory {directory} holds files of others; choose an empty or a new folder"
    return ""


def longest_socket(directory: Path) -> int:
    """Bytes of the longest socket path in this run directory."""
    return len(os.fsencode(directory / SUPERVISOR_SOCKET)) + _BIND_SUFFIX


def app_folder(directory: Path, app: str) -> Path:
    """Where the Unix sockets of one app are."""
    return directory / APPS / app


def app_socket(directory: Path, app: str, generation: int) -> Path:
    """The Unix socket of one generation; no two have the same path, so none meets what another left behind."""
    return app_folder(directory, app) / f"{generation}.sock"


def longest_app_socket(directory: Path, app: str) -> int:
    """Bytes of the longest socket path that this app may be given."""
    return len(os.fsencode(app_socket(directory, app, _WIDEST_GENERATION)))


def prepare(directory: Path, included: bool = False) -> Lock:
    """Make the folder ours: create it, set its mode, lock it, remove stale sockets and pid.

    `included`: somebody else's supervisord runs us, whose own socket and pid are not ours to remove.
    Raises UnusableRunDirectory (AlreadyRunning).
    """
    if problem := obstacle(directory):
        raise UnusableRunDirectory(problem)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = _lock(directory)
        directory.chmod(mode_for(os.geteuid()))
    except OSError as error:
        raise UnusableRunDirectory(
            f"the run directory {directory} cannot be used: {error.strerror}"
        ) from error
    if not included:
        _remove_supervisord(directory)
    _remove_ours(directory)
    return lock


def remove_sockets(directory: Path) -> None:
    """Remove what an instance that has ended may have left: its sockets and its pid file."""
    _remove_supervisord(directory)
    _remove_ours(directory)


def _remove_supervisord(directory: Path) -> None:
    for name in (SUPERVISOR_SOCKET, SUPERVISORD_PID):
        (directory / name).unlink(missing_ok=True)
    _unlink_sockets(directory, f"{SUPERVISOR_SOCKET}.*")


def _remove_ours(directory: Path) -> None:
    (directory / CONTROL_SOCKET).unlink(missing_ok=True)
    _unlink_sockets(directory, f"{APPS}/*/*.sock")


def _unlink_sockets(directory: Path, pattern: str) -> None:
    for path in directory.glob(pattern):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def running_pid(directory: Path) -> int | None:
    """The pid that holds the lock of this folder (0: not known), or None if nobody does."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)
    return None


def write(path: Path, text: str) -> None:
    """Replace a file whole; only its owner may read it (supervisorctl needs no other reader)."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _lock(directory: Path) -> Lock:
    low = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        descriptor = lift(low)  # supervisord closes low ones
    finally:
        os.close(low)
    if not _flock(descriptor):
        pid = _pid_in(descriptor)
        os.close(descriptor)
        raise AlreadyRunning(directory, pid)
    after_a_crash = _pid_in(descriptor) != 0
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return Lock(descriptor, after_a_crash)


def _runs(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.state not in "ZX"  # proc_pid_stat(5): a zombie, dead


def _flock(descriptor: int) -> bool:
    """Exclusive, at once. A holder without a pid is somebody who only looks (`running_pid`) or has just begun; with
    the pid of a process that has gone it is that one's last will (`last_will.py`)."""
    begun = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pid = _pid_in(descriptor)
        if pid and _runs(pid):
            return False
        if time.monotonic() - begun > (_WILL_TAKES if pid else _LOOK_TAKES):
            return False
        time.sleep(0.01)


def _pid_in(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else 0


def _cannot_be_created(directory: Path) -> str:
    parent = next(parent for parent in directory.parents if parent.exists())
    if not parent.is_dir():
        return f"the run directory {directory} cannot be created: {parent} is not a folder"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"the run directory {directory} cannot be created: {parent} cannot be written"
    return ""
