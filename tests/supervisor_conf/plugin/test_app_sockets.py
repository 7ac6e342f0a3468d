"""Unix sockets of apps: folder, paths, what is handed down, and what is left: first alone, then in supervisord."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf import run_directory
from supervisor_conf.control import messages
from supervisor_conf.plugin import app_sockets
from tests.supervisor_conf.plugin.rig import Rig, alive, python, settings_of, wait_for

SHOW = python("""
import json, os, signal, socket
fds = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))
shown = {'fds': fds[:-1], 'environ': dict(os.environ)}
if os.environ.get('LISTEN_FDS'):
    listener = socket.socket(fileno=3)
    shown['name'] = listener.getsockname()
    shown['accepts'] = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
else:
    socket.socket(socket.AF_UNIX).bind(os.environ['PORTICO_SOCKET'])
open('shown', 'w').write(json.dumps(shown)); os.rename('shown', 'shown.json')
while True: signal.pause()
""")


@pytest.fixture
def run() -> Iterator[Path]:
    # pytest's own folders can be longer than a socket's path may be
    with tempfile.TemporaryDirectory(prefix="portico-plugin-") as made:
        yield Path(made)


@pytest.fixture(params=["unix", "fd"])
def rig(request: pytest.FixtureRequest, run: Path) -> Iterator[Rig]:
    made = Rig(run, settings_of(run, SHOW, transport=request.param))
    yield made
    made.clean()


def fresh(run: Path, generation: int = 1, *, user: str = "", group: int | None = None, used: str = "") -> str:
    return app_sockets.fresh_path(run, "shop", generation, user, group, {used})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ------------------------------------------------------------------------------------------------------------
# Folder and paths


def test_each_generation_has_a_path_of_its_own(run: Path) -> None:
    one, other = fresh(run, 1), fresh(run, 2)
    assert (one, other) == (f"{run}/apps/shop/1.sock", f"{run}/apps/shop/2.sock")


def test_what_nobody_uses_any_more_is_removed(run: Path) -> None:
    used = fresh(run, 1)
    left = [Path(fresh(run, number)) for number in (2, 3)]
    for path in (Path(used), left[0]):
        os.close(app_sockets.listen(str(path)))
    left[1].symlink_to("/etc/passwd")
    other = left[0].with_name("metrics.txt")
    other.touch()
    fresh(run, 4, used=used)
    assert sorted(left[0].parent.iterdir()) == [Path(used), other]


def test_a_path_that_is_too_long_is_refused_before_anything_is_made(run: Path) -> None:
    deep = run / ("x" * 80)
    with pytest.raises(OSError, match="too long for a Unix socket"):
        fresh(deep)
    assert not deep.exists()


def test_the_folder_of_an_ordinary_user_is_closed(run: Path) -> None:
    folder = Path(fresh(run)).parent
    folder.chmod(0o777)
    assert Path(fresh(run)).parent == folder
    assert mode(folder) == 0o700


def test_an_unknown_user_is_said(run: Path) -> None:
    with pytest.raises(OSError, match="there is no user no-such-user"):
        fresh(run, user="no-such-user", group=os.getegid())


@pytest.mark.parametrize("user", ["nobody", "65534", ""])
def test_the_folder_as_root_is_the_apps_with_the_workers_group(run: Path, user: str) -> None:
    if os.geteuid() != 0:
        user = ""  # an ordinary user can give folders to nobody, and to groups of its own alone
    folder = Path(fresh(run, user=user, group=os.getegid())).parent
    status = folder.stat()
    assert (status.st_uid, status.st_gid) == (65534 if user else os.geteuid(), os.getegid())
    assert mode(folder) == 0o2710
    assert mode(folder.parent) == run_directory.mode_for(os.geteuid())


def test_a_socket_that_is_handed_down_listens_and_only_its_owner_may_connect(run: Path) -> None:
    path = fresh(run)
    before = os.umask(0)
    with socket.socket(fileno=app_sockets.listen(path)) as listener:
        assert not os.get_inheritable(listener.fileno())
        assert os.umask(before) == 0
        assert mode(Path(path)) == 0o600
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(path)
            listener.accept()[0].close()
    app_sockets.remove(path)
    app_sockets.remove(path)
    assert not os.path.exists(path)


def test_somebody_elses_name_is_not_listened_at(run: Path) -> None:
    """bind(2) follows no link."""
    path = fresh(run)
    os.symlink(run / "elsewhere", path)
    with pytest.raises(OSError, match="in use"):
        app_sockets.listen(path)
    assert not (run / "elsewhere").exists()


# ------------------------------------------------------------------------------------------------------------
# In supervisord


def shown_by(rig: Rig) -> dict[str, object]:
    file = rig.run / "shown.json"
    wait_for(file.exists, rig)
    shown: dict[str, object] = json.loads(file.read_text())
    file.unlink()
    return shown


def ended(rig: Rig, spawned: messages.Spawned) -> messages.Exited:
    rig.keeper_now().say(messages.Signal(app="shop", slot=0, generation=spawned.generation, signal=9))
    return rig.keeper_now().expect(messages.Exited, generation=spawned.generation)


def test_a_start_has_a_socket_of_its_own_and_leaves_none(rig: Rig) -> None:
    rig.start(rig.portico_conf(workers=0))
    rig.be_keeper()
    paths = []
    for _ in range(2):
        spawned = rig.start_app()
        assert (spawned.host, spawned.port) == ("", 0)
        shown = shown_by(rig)
        environ = shown["environ"]
        assert isinstance(environ, dict)
        assert not {"PORT", "HOST", "ASPNETCORE_PORT", "HTTP_PLATFORM_PORT"} & environ.keys()
        assert os.listdir(rig.run / "apps/shop") == [Path(spawned.socket).name]
        if spawned.handed:
            assert shown["fds"] == [0, 1, 2, 3]
            assert (shown["name"], shown["accepts"]) == (spawned.socket, 1)
            assert (environ["LISTEN_FDS"], environ["LISTEN_PID"]) == ("1", str(spawned.pid))
            assert "PORTICO_SOCKET" not in environ
        else:
            assert shown["fds"] == [0, 1, 2]
            assert environ["PORTICO_SOCKET"] == spawned.socket
            assert "LISTEN_FDS" not in environ
        ended(rig, spawned)
        assert os.listdir(rig.run / "apps/shop") == []
        paths.append(spawned.socket)
    assert len(set(paths)) == 2


def test_the_kernel_refuses_whoever_comes_once_the_app_has_ended(run: Path) -> None:
    """supervisord has no copy of what it handed down: nobody waits in the queue of an app that is gone."""
    rig = Rig(run, settings_of(run, SHOW, transport="fd"))
    try:
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        spawned = rig.start_app()
        shown_by(rig)
        with socket.socket(socket.AF_UNIX) as waits:
            waits.connect(spawned.socket)  # in the queue: the app accepts nothing
            ended(rig, spawned)
            waits.settimeout(20)
            with pytest.raises(ConnectionResetError):
                waits.recv(1)
    finally:
        rig.clean()


def test_a_start_that_cannot_be_prepared_is_said(run: Path) -> None:
    rig = Rig(run, settings_of(run, SHOW, transport="fd"))
    try:
        (run / "apps").touch()
        rig.start(rig.portico_conf(workers=0))
        rig.be_keeper()
        rig.keeper_now().say(messages.Start(app="shop", slot=0))
        failed = rig.keeper_now().expect(messages.SpawnFailed)
        assert "cannot prepare a start of shop: File exists" in failed.sentence
        assert alive(rig.info("portico-keeper")["pid"])
    finally:
        rig.clean()
