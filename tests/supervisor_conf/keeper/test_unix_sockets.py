"""«Who listens on this Unix socket? Is it ours?», with real sockets and processes; and who may connect afterwards."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor_conf.control.messages import Spawned
from supervisor_conf.keeper import listeners, probes, processes, unix_listeners
from supervisor_conf.keeper.opening import NotASocket, open_to_workers
from supervisor_conf.keeper.probes import Finding, Verdict
from supervisor_conf.keeper.unix_listeners import Crowded, peer_credentials, read_proc_net_unix
from tests.supervisor_conf.keeper.apps import python
from tests.supervisor_conf.keeper.marked import marked_processes

LISTENS = """
import os, socket, sys, time
def bind():
    one = socket.socket(socket.AF_UNIX)
    one.bind({path!r})
    return one
def listen(one, backlog=5):
    one.listen(backlog)
    print("listens", flush=True)
def wait():
    time.sleep(60)
"""
MAIN = "one = bind(); listen(one); wait()"
CHILD = "one = bind()\nif os.fork() == 0:\n    {before}listen(one)\nwait()"
LISTENER_GONE = """
one = bind()
child = os.fork()
if child == 0:
    one.listen()
    os._exit(0)
os.waitpid(child, 0)
print("listens", flush=True)
wait()
"""

Launch = Callable[..., Spawned]


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own folders can be longer than a socket's path may be
    with tempfile.TemporaryDirectory(prefix="portico-unix-") as made:
        yield Path(made)


@pytest.fixture
def path(folder: Path) -> str:
    return str(folder / "1.sock")


@pytest.fixture
def launch(path: str) -> Iterator[Launch]:
    """`launch(main)`: a process that was told to listen at `path`, once it says that somebody does."""

    def start(main: str = MAIN, *, nonce: bool = True, handed: bool = False) -> Spawned:
        one = begin(LISTENS.format(path=path) + main, nonce)
        assert one.said == b"listens\n"
        return told(path, one.pid, one.nonce, handed=handed)

    with marked_processes() as begin:
        yield start


def told(path: str, pid: int, nonce: str = "a-nonce", *, handed: bool = False) -> Spawned:
    return Spawned("shop", "shop", 0, 1, pid, "", 0, path, "t", nonce, "", 0.0, True, handed)


def listening(path: str, backlog: int = 5) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen(backlog)
    return made


# --------------------------------------------------------------------------------------------------------
# Who listens


def test_the_process_itself(launch: Launch) -> None:
    generation = launch()
    assert probes.look(generation) == Finding(Verdict.OURS, f"pid {generation.pid}", generation.pid)


@pytest.mark.parametrize("before", ["", "os.setsid(); "], ids=["child", "child in a session of its own"])
def test_a_descendant_that_called_listen(launch: Launch, before: str) -> None:
    assert probes.look(launch(CHILD.format(before=before))).verdict is Verdict.OURS


def test_who_called_listen_may_have_ended(launch: Launch, path: str) -> None:
    """As a worker of uvicorn that was replaced; its credentials stay on the socket, its user is the app's."""
    generation = launch(LISTENER_GONE)
    assert peer_credentials(path).pid != generation.pid
    assert processes.read_process(peer_credentials(path).pid) is None
    assert probes.look(generation).verdict is Verdict.OURS


def test_nobody_yet_bound_only_and_no_more(path: str) -> None:
    generation = told(path, os.getpid())
    assert probes.look(generation).verdict is Verdict.NOBODY
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        assert probes.look(generation).verdict is Verdict.NOBODY
        bound.listen()
        assert probes.look(generation).verdict is Verdict.OURS
    assert os.path.exists(path)
    assert probes.look(generation).verdict is Verdict.NOBODY


def test_a_socket_whose_name_was_removed_is_no_listener(path: str) -> None:
    with listening(path):
        os.unlink(path)
        assert probes.look(told(path, os.getpid())).verdict is Verdict.NOBODY


def test_a_stranger_is_named(launch: Launch, path: str) -> None:
    with listening(path), subprocess.Popen(python("input()"), stdin=subprocess.PIPE) as other:
        finding = probes.look(told(path, other.pid))
        assert finding.verdict is Verdict.FOREIGN
        assert f"pid {os.getpid()}" in finding.holder


def test_a_stranger_who_has_put_another_socket_in_its_place(launch: Launch, path: str) -> None:
    """Both listen under this name; only one gets the connections."""
    generation = launch()
    os.unlink(path)
    with listening(path):
        assert probes.look(generation).verdict is Verdict.FOREIGN


def test_a_connection_that_shows_a_stranger_who_called_listen(launch: Launch, path: str) -> None:
    """The socket is open in a process of ours too, so that the table names us; the kernel knows who listens."""
    with (
        listening(path) as stranger,
        subprocess.Popen(python("input()"), stdin=subprocess.PIPE, pass_fds=[stranger.fileno()]) as heir,
    ):
        finding = probes.look(told(path, heir.pid))
        assert finding.verdict is Verdict.FOREIGN
        assert f"pid {os.getpid()}" in finding.holder
        # What supervisord hands down shows supervisord: there, holding it is enough.
        assert probes.look(told(path, heir.pid, handed=True)).verdict is Verdict.OURS


def test_a_full_queue_tells_nothing_and_the_table_is_believed(path: str) -> None:
    with listening(path, 0) as server, socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        with pytest.raises(Crowded):
            peer_credentials(path)
        assert probes.look(told(path, os.getpid())).verdict is Verdict.OURS
        server.accept()[0].close()
    with pytest.raises(ConnectionRefusedError):
        peer_credentials(path)


def test_netlink_and_proc_net_agree(path: str) -> None:
    with listening(path), socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(path)
        visitor.getpeername()
        found = [inode for inode, name in read_proc_net_unix() if name == path]
        assert unix_listeners.unix_listeners(path) == found
        assert len(found) == 1


def test_without_netlink_proc_net_is_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A netlink protocol that no kernel has: the answer is the error that a sandbox gives.
    monkeypatch.setattr(listeners, "_NETLINK_SOCK_DIAG", 31)
    with listening(path) as server:
        inode = os.fstat(server.fileno()).st_ino
        assert unix_listeners.unix_listeners(path) == [inode]


def test_a_generation_with_a_socket_listens_elsewhere_on_any_port(path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        elsewhere = probes.listens_elsewhere(told(path, os.getpid()))
        assert f"127.0.0.1:{server.getsockname()[1]}" in elsewhere


# --------------------------------------------------------------------------------------------------------
# Who may connect


class TestOpening:
    @pytest.fixture(autouse=True)
    def root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Changes files as root does, and without being it: a group of one's own is allowed to everybody."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)

    def test_a_socket_is_opened_to_the_group_of_its_folder(self, folder: Path, path: str) -> None:
        group = max([folder.stat().st_gid, *os.getgroups()])
        os.chown(folder, -1, group)
        with listening(path):
            os.chmod(path, 0o700)
            open_to_workers(path)
        status = os.lstat(path)
        assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (group, 0o660)

    @pytest.mark.parametrize("kind", ["file", "link to a socket", "folder"])
    def test_what_is_no_socket_is_left_alone(self, folder: Path, path: str, kind: str) -> None:
        secret = folder / "secret"
        if kind == "file":
            secret = Path(path)
            secret.touch(0o600)
        elif kind == "folder":
            secret = Path(path)
            secret.mkdir(0o700)
        else:
            with listening(str(secret)):
                secret.chmod(0o600)
            os.symlink(secret, path)
        before = secret.stat()
        with pytest.raises(NotASocket, match="is no socket"):
            open_to_workers(path)
        assert (secret.stat().st_mode, secret.stat().st_gid) == (before.st_mode, before.st_gid)

    def test_a_second_name_of_somebody_elses_socket_is_left_alone(self, folder: Path, path: str) -> None:
        other = folder / "supervisor.sock"
        with listening(str(other)):
            other.chmod(0o700)
            os.link(other, path)
            with pytest.raises(NotASocket, match="has 2 names"):
                open_to_workers(path)
        assert stat.S_IMODE(other.stat().st_mode) == 0o700

    def test_a_socket_that_is_gone(self, path: str) -> None:
        with pytest.raises(FileNotFoundError):
            open_to_workers(path)


def test_an_ordinary_user_changes_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with listening(path):
        os.chmod(path, 0o700)
        open_to_workers(path)
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o700
