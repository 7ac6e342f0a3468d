"""Delegated credentials in a real keeper: where they are written, for whom, and when they go."""

from __future__ import annotations

import os
import pwd
import signal
import stat
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_conf.control import messages
from supervisor_conf.control.messages import (
    CREDENTIALS_LIMIT,
    CredentialsKept,
    DropCredentials,
    TakeCredentials,
)
from supervisor_conf.keeper.credential_caches import CredentialCaches
from tests.kit.link_peer import LinkPeer, WorkerPeer
from tests.kit.until import wait_until
from tests.supervisor_conf.keeper.apps import server
from tests.supervisor_conf.keeper.conftest import MakePeer
from tests.supervisor_conf.keeper.test_keeper import guarded, operator_of, worker_of

CACHE = b"\x05\x04 a ticket"
USER = "www-data" if os.geteuid() == 0 else ""


def take(
    worker: WorkerPeer, number: int, generation: int, data: bytes = CACHE, piece: int = 30_000
) -> CredentialsKept:
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    for index, one in enumerate(pieces):
        text = b64encode(one).decode()
        worker.say(TakeCredentials(number, "shop", generation, text, more=index < len(pieces) - 1))
    return worker.heard.wait_for(CredentialsKept, lambda kept: kept.number == number)


def gone(path: str) -> None:
    wait_until(lambda: not Path(path).exists(), f"the end of {path}")


def made(keeper: MakePeer, **keys: object) -> LinkPeer:
    return keeper(server(), forward_credentials=True, user=USER, **keys)


def test_a_cache_is_the_app_s_alone_until_the_request_is_over(keeper: MakePeer) -> None:
    with made(keeper) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        generation = guarded(worker).generation
        first, second = take(worker, 1, generation), take(worker, 2, generation, CACHE * 10_000, 1000 * 30)
        assert (first.problem, second.problem) == ("", "")
        assert Path(first.path).read_bytes() == CACHE
        assert Path(second.path).read_bytes() == CACHE * 10_000
        folder = peer.run_directory / "credentials" / "shop" / str(generation)
        assert {Path(first.path).parent, Path(second.path).parent} == {folder}
        owner = pwd.getpwnam(USER).pw_uid if USER else os.geteuid()
        shared = 0o711 if os.geteuid() == 0 else 0o700
        for path, mode, uid in [
            (Path(first.path), 0o600, owner),
            (folder, 0o700, owner),
            (folder.parent, shared, os.geteuid()),
            (folder.parent.parent, shared, os.geteuid()),
        ]:
            found = path.lstat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (mode, uid), path
        worker.say(DropCredentials(1))
        gone(first.path)
        assert Path(second.path).exists()
        worker.say(DropCredentials(99))  # nothing of this number
        assert take(worker, 3, generation).problem == ""
        assert "ticket" not in peer.output()
        assert b64encode(CACHE).decode() not in (peer.run_directory / "portico.log").read_text()


def test_a_worker_that_goes_takes_its_own_along(keeper: MakePeer) -> None:
    with made(keeper) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        generation = guarded(worker).generation
        mine = take(worker, 1, generation)
        with worker_of(peer) as other:
            others = take(other, 1, generation)
            assert others.path != mine.path
        gone(others.path)
        assert Path(mine.path).exists()


def test_a_generation_that_goes_leaves_none(keeper: MakePeer) -> None:
    with made(keeper) as peer, worker_of(peer) as worker:
        worker.say(messages.Need("shop"))
        generation = guarded(worker).generation
        kept = take(worker, 1, generation)
        (child,) = peer.children
        os.kill(child, signal.SIGKILL)
        gone(str(Path(kept.path).parent))
        assert "takes no credentials" in take(worker, 2, generation).problem


def test_a_new_keeper_begins_with_none(keeper: MakePeer) -> None:
    with made(keeper) as peer:
        with worker_of(peer) as worker:
            worker.say(messages.Need("shop"))
            kept = take(worker, 1, guarded(worker).generation)
            peer.kill_keeper()
        assert Path(kept.path).exists()
        peer.start_keeper()
        peer.wait_for_socket()
        assert not (peer.run_directory / "credentials").exists()


def test_only_workers_and_only_for_apps_that_want_them(keeper: MakePeer) -> None:
    with keeper(server(), user=USER) as peer, worker_of(peer) as worker, operator_of(peer) as operator:
        worker.say(messages.Need("shop"))
        generation = guarded(worker).generation
        assert "takes no credentials" in take(worker, 1, generation).problem
        operator.say(TakeCredentials(1, "shop", generation, b64encode(CACHE).decode()))
        assert take(worker, 2, generation).problem  # the operator's came before
        assert operator.heard.all(CredentialsKept) == []
        assert not (peer.run_directory / "credentials").exists()


# ------------------------------------------------------------------------------------------------------------
# Without a keeper around


class Log:
    def warning(self, event: str, **values: object) -> None:
        assert event in ("credentials.refused", "credentials.left")


def spawned(user: str = USER, generation: int = 7) -> messages.Spawned:
    return messages.Spawned("shop", "shop", 0, generation, 1, "", 0, "", "", "", "", 0.0, True, user=user)


def taken(caches: CredentialCaches, number: int, data: bytes = CACHE, generation: int = 7) -> CredentialsKept:
    message = TakeCredentials(number, "shop", generation, b64encode(data).decode())
    answer = caches.take(1, message, spawned(generation=generation))
    assert answer is not None
    return answer


@pytest.fixture
def caches(run_directory: Path) -> CredentialCaches:
    return CredentialCaches(run_directory, Log())


@given(sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=8))
def test_pieces_are_one_cache_or_too_much(sizes: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        caches = CredentialCaches(Path(folder), Log())
        answer = None
        for index, size in enumerate(sizes):
            piece = b64encode(bytes([index]) * size).decode()
            more = index < len(sizes) - 1
            answer = caches.take(1, TakeCredentials(5, "shop", 7, piece, more=more), spawned()) or answer
        whole = b"".join(bytes([index]) * size for index, size in enumerate(sizes))
        assert answer is not None
        if len(whole) > CREDENTIALS_LIMIT:
            assert answer.problem
        else:
            assert Path(answer.path).read_bytes() == whole


def test_pieces_of_one_that_was_given_up_do_not_get_into_another(caches: CredentialCaches) -> None:
    first = TakeCredentials(1, "shop", 7, b64encode(b"secret of ann").decode(), more=True)
    assert caches.take(1, first, spawned()) is None
    assert Path(taken(caches, 2).path).read_bytes() == CACHE


@pytest.mark.parametrize("piece", ["!", "A", "é", "QQ==\n"])
def test_what_is_no_base64_is_refused(caches: CredentialCaches, piece: str) -> None:
    answer = caches.take(1, TakeCredentials(1, "shop", 7, piece), spawned())
    assert answer is not None
    assert "not base64" in answer.problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for another user")
def test_a_user_who_is_not_there(caches: CredentialCaches) -> None:
    answer = caches.take(1, TakeCredentials(1, "shop", 7, "QQ=="), spawned("nobody-of-this-name"))
    assert answer is not None
    assert "there is no user nobody-of-this-name" in answer.problem


def test_what_an_app_makes_of_its_folder_is_nobody_else_s_trouble(
    caches: CredentialCaches, tmp_path: Path
) -> None:
    """Its folder is its own: links in it lead nowhere, folders in it stay."""
    others = tmp_path / "others"
    others.write_text("precious")
    one, two = taken(caches, 1), taken(caches, 2)
    Path(one.path).unlink()
    Path(one.path).symlink_to(others)
    Path(two.path).unlink()
    caches.drop(1, 1)
    caches.drop(1, 2)
    assert others.read_text() == "precious"
    assert not Path(one.path).is_symlink()
    folder = Path(one.path).parent
    (folder / "link").symlink_to(others)
    (folder / "sub").mkdir()
    caches.only("shop", ())
    assert others.read_text() == "precious"
    (folder / "sub").rmdir()
    caches.clear()
    assert not folder.exists()
