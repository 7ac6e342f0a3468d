"""One Portico at a time in a run directory; what is refused, and what is left."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf import run_directory
from supervisor_conf.run_directory import AlreadyRunning, UnusableRunDirectory

HOLD = """
import sys
from pathlib import Path
from supervisor_conf import run_directory
run_directory.prepare(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def holder(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the run directory."""
    argv = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_refused_and_told_the_pid_of_the_first(
    run: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(
        AlreadyRunning, match=rf"Portico runs already in {run} \(pid {holder.pid}\)"
    ) as caught:
        run_directory.prepare(run)
    assert caught.value.pid == holder.pid
    assert run_directory.running_pid(run) == holder.pid


def test_the_first_keeps_its_sockets_when_a_second_is_refused(
    run: Path, holder: subprocess.Popen[str]
) -> None:
    (run / "supervisor.sock").touch()
    with pytest.raises(AlreadyRunning):
        run_directory.prepare(run)
    assert (run / "supervisor.sock").exists()


def test_after_a_kill_it_is_free_and_known_to_have_crashed(run: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert run_directory.running_pid(run) is None
    lock = run_directory.prepare(run)
    assert lock.after_a_crash
    lock.release()


def test_after_a_kill_the_last_will_is_waited_for(run: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # a zombie has no run directory
    will = os.open(run / "portico.lock", os.O_RDWR)
    fcntl.flock(will, fcntl.LOCK_EX)
    threading.Timer(0.3, os.close, [will]).start()
    lock = run_directory.prepare(run)
    assert lock.after_a_crash
    lock.release()


def test_after_an_orderly_end_nothing_is_known_of_a_crash(run: Path) -> None:
    run_directory.prepare(run).release()
    assert run_directory.running_pid(run) is None
    lock = run_directory.prepare(run)
    assert not lock.after_a_crash
    assert (run / "portico.lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_the_lock_is_not_given_to_children(run: Path) -> None:
    lock = run_directory.prepare(run)
    assert not os.get_inheritable(lock.descriptor)
    lock.release()


def test_modes(run: Path) -> None:
    lock = run_directory.prepare(run)
    assert stat.S_IMODE(run.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    lock.release()
    assert (run_directory.mode_for(0), run_directory.mode_for(1000)) == (0o711, 0o700)


def test_what_a_killed_instance_left_is_removed_and_logs_stay(run: Path) -> None:
    run_directory.prepare(run).release()
    left = [run / name for name in ("supervisor.sock", "control.sock", "supervisor.sock.77")]
    for path in left:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    (run / "supervisord.pid").write_text("77\n")
    (run / "supervisor.sock.txt").write_text("not a socket")
    (run / "portico.log").write_text("{}\n")
    run_directory.prepare(run).release()
    assert sorted(path.name for path in run.iterdir()) == [
        "portico.lock",
        "portico.log",
        "supervisor.sock.txt",
    ]


def test_sockets_of_apps_that_were_left_are_removed(run: Path) -> None:
    run_directory.prepare(run).release()
    left = run_directory.app_socket(run, "shop", 7)
    left.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(left))
    kept = left.with_name("pipe.sock")
    kept.symlink_to(run / "portico.lock")
    run_directory.prepare(run).release()
    assert list(left.parent.iterdir()) == [kept]


def test_the_longest_socket_of_an_app_can_be_bound(tmp_path: Path) -> None:
    room = run_directory.LONGEST_SOCKET_PATH - run_directory.longest_app_socket(tmp_path, "x") + 1
    path = run_directory.app_socket(tmp_path, "x" * room, 1_000_000)
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    assert len(str(path)) == run_directory.longest_app_socket(tmp_path, "x" * room) == 107


def test_a_folder_with_files_of_others_is_not_taken(tmp_path: Path) -> None:
    mode = stat.S_IMODE(tmp_path.stat().st_mode)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UnusableRunDirectory, match="holds files of others"):
        run_directory.prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
    assert not (tmp_path / "portico.lock").exists()


def test_a_folder_of_another_user_is_not_taken(run: Path) -> None:
    if os.geteuid() != 0:
        run = Path("/usr")  # root's
    else:
        run.mkdir()
        os.chown(run, 65534, 65534)
    with pytest.raises(UnusableRunDirectory, match="belongs to"):
        run_directory.prepare(run)


def test_a_file_in_its_place_or_above_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert run_directory.obstacle(tmp_path / "file").endswith("is not a folder")
    assert "cannot be created" in run_directory.obstacle(tmp_path / "file/run")


@pytest.mark.parametrize("name", ["a ;b", "a #b", "a\nb", " a", "a\udc80b"])
def test_names_that_supervisord_could_not_read(name: str) -> None:
    folder = Path(name) if name.startswith(" ") else Path("/tmp", name)
    assert "supervisord" in run_directory.obstacle(folder)


def test_the_longest_path_that_works_works(tmp_path: Path) -> None:
    """The limit is the kernel's: the longest name that supervisord binds is bound here."""
    room = run_directory.LONGEST_SOCKET_PATH - run_directory.longest_socket(tmp_path / "x") + 1
    fits, too_long = tmp_path / ("x" * room), tmp_path / ("x" * (room + 1))
    assert run_directory.obstacle(fits) == ""
    assert "too long for Unix sockets" in run_directory.obstacle(too_long)
    for folder, works in ((fits, True), (too_long, False)):
        folder.mkdir()
        with socket.socket(socket.AF_UNIX) as made:
            name = str(folder / "supervisor.sock.4194304")
            if works:
                made.bind(name)
            else:
                with pytest.raises(OSError, match="too long"):
                    made.bind(name)


def test_files_are_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "supervisord.conf"
    path.write_text("old")
    run_directory.write(path, "new é")
    assert path.read_text("utf-8") == "new é"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["supervisord.conf"]
