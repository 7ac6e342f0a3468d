"""`pam = "service"`: passwords of this machine's own users, asked for by workers that are nobody in particular."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import procfs
from tests.kit.client import Headers
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until

SERVICES = Path("/etc/pam.d")


def system(*words: str, say: str = "") -> None:
    subprocess.run(words, input=say, text=True, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def someone() -> Iterator[tuple[str, str]]:
    """A PAM service with pam_unix, and a user of this machine whose password is the service's name."""
    if os.geteuid() != 0:
        pytest.skip("only root makes users and PAM services")
    name = f"portico{secrets.token_hex(4)}"
    service = SERVICES / name
    service.write_text("auth required pam_unix.so nodelay\naccount required pam_unix.so\n")
    system("useradd", "--no-create-home", "--no-user-group", "--shell", "/usr/sbin/nologin", name)
    try:
        system("chpasswd", say=f"{name}:{name}")
        yield name, name
    finally:
        system("userdel", name)
        service.unlink()


@pytest.fixture(scope="module")
def workers_user(someone: tuple[str, str]) -> Iterator[pwd.struct_passwd]:
    """One with a second group."""
    name = f"{someone[0]}-front"
    system("useradd", "--no-create-home", "--no-user-group", "--groups", "daemon", name)
    try:
        yield pwd.getpwnam(name)
    finally:
        system("userdel", name)


@pytest.fixture(scope="module")
def run(
    module_folder: Path, someone: tuple[str, str], workers_user: pwd.struct_passwd
) -> Iterator[PorticoRun]:
    """The workers' user is named by number, and reaches the app by a socket that is for its group."""
    module = f'[[front.modules]]\nuse = "basic"\npam = "{someone[1]}"\nremember = 0\n\n'
    config = front(workers=1, user=str(workers_user.pw_uid)) + module
    config += app("shop", "waitress-serve signed:wsgi", transport="unix")
    with PorticoRun(module_folder, config) as started:
        yield started


def signed_in(name: str, password: str) -> Headers:
    return [("Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())]


def test_the_password_in_etc_shadow_is_asked_for(run: PorticoRun, someone: tuple[str, str]) -> None:
    name, _ = someone
    assert run.get("/", signed_in(name, name)).json()["visitor"] == [name, "Basic", [], ""]
    for user, password in ((name, "wrong"), (name, ""), ("nobody-at-all", name), ("nobody", "")):
        assert run.get("/", signed_in(user, password)).status == 401
    assert run.get("/", signed_in(name, name)).status == 200
    assert run.get("/").status == 401


def test_an_account_that_has_expired_is_refused(run: PorticoRun, someone: tuple[str, str]) -> None:
    name, _ = someone
    system("usermod", "--expiredate", "1", name)
    try:
        assert run.get("/", signed_in(name, name)).status == 401
    finally:
        system("usermod", "--expiredate", "", name)
    assert run.get("/", signed_in(name, name)).status == 200


def helper_of(run: PorticoRun) -> tuple[int, int]:
    """A worker, and the helper that asks PAM for it."""
    (worker,) = run.workers().values()
    (helper,) = [pid for pid in procfs.descendants(worker) if "pam_helper" in " ".join(procfs.argv(pid))]
    return worker, helper


def test_the_worker_is_its_user_and_the_helper_keeps_its_rights(
    run: PorticoRun, workers_user: pwd.struct_passwd
) -> None:
    worker, helper = helper_of(run)
    assert procfs.uids(worker) == {workers_user.pw_uid}
    assert procfs.groups(worker) == {workers_user.pw_gid, grp.getgrnam("daemon").gr_gid}
    assert procfs.uids(helper) == {0}
    # The worker's end, standard output and error; not a socket of a visitor's, nor what the worker was handed.
    assert procfs.descriptors(helper) == 3
    assert set(procfs.environ(helper)) <= {"PATH", "LC_CTYPE"}


def test_a_helper_that_has_died_lets_nobody_in(run: PorticoRun, someone: tuple[str, str]) -> None:
    name, _ = someone
    os.kill(helper_of(run)[1], signal.SIGKILL)
    wait_until(lambda: run.get("/", signed_in(name, name)).status == 500, "nobody to ask")
    assert run.app("recycle", "portico-front").status == 0
    assert run.get("/", signed_in(name, name)).status == 200


def test_a_service_that_is_not_there_is_said_by_check(folder: Path) -> None:
    module = '[[front.modules]]\nuse = "basic"\npam = "no-such-service"\n\n'
    run = PorticoRun(folder, front() + module + app("shop", "waitress-serve signed:wsgi"))
    checked = run.command("check")
    assert checked.status == 1
    assert "no-such-service" in checked.err + checked.out
    assert "there is no such file in /etc/pam.d" in checked.err + checked.out
