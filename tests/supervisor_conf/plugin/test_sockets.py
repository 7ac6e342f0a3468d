"""Binding: every kind of address, sentences for what cannot be, descriptors that nobody closes."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_conf.plugin import descriptors, sockets
from supervisor_conf.settings import Listen

ANY = Listen(scheme="http", host="127.0.0.1", port=0)


@pytest.fixture(autouse=True)
def _nothing_stays_bound() -> Iterator[None]:
    yield
    sockets.close_all()


def _sentence(listen: Listen) -> str:
    with pytest.raises(sockets.AddressUnavailable) as refused:
        sockets.bind_all([listen])
    assert refused.value.listen == listen
    assert refused.value.sentence.endswith(".")
    return refused.value.sentence


def _listens(bound: socket.socket) -> bool:
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_a_bound_socket_is_high_closed_on_exec_and_does_not_block() -> None:
    (bound,) = sockets.bind_all([ANY])
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert descriptors.floor() <= bound.fileno() < soft
    assert fcntl.fcntl(bound, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert not bound.getblocking()
    assert _listens(bound)


def test_what_is_bound_already_is_the_same_again_in_the_order_asked_for() -> None:
    other = Listen(scheme="http", host="::1", port=0)
    first, second = sockets.bind_all([ANY, other])
    assert sockets.bind_all([other, ANY]) == (second, first)
    assert sockets.real_url(ANY, first) == f"http://127.0.0.1:{first.getsockname()[1]}"
    assert sockets.real_url(other, second) == f"http://[::1]:{second.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])
def test_addresses(host: str) -> None:
    (bound,) = sockets.bind_all([Listen(scheme="http", host=host, port=0)])
    family = bound.family
    own = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    socket.create_connection((own, bound.getsockname()[1]), 5).close()


def test_both_wildcards_share_a_port() -> None:
    (four,) = sockets.bind_all([Listen(scheme="http", host="0.0.0.0", port=0)])
    port = four.getsockname()[1]
    (six,) = sockets.bind_all([Listen(scheme="http", host="::", port=port)])
    assert six.getsockname()[1] == port


def test_a_taken_port_is_a_sentence_and_nothing_stays_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = Listen(scheme="http", host="127.0.0.1", port=port)
        with pytest.raises(sockets.AddressUnavailable) as refused:
            sockets.bind_all([ANY, listen])
    assert refused.value.sentence == (
        f"http://127.0.0.1:{port} cannot be listened on: the address is in use by another program."
    )
    assert sockets.held() == {}


def test_addresses_that_cannot_be() -> None:
    assert "cannot be resolved" in _sentence(Listen(scheme="http", host="nosuch.invalid", port=0))
    assert "no such address" in _sentence(Listen(scheme="http", host="192.0.2.1", port=0))


def test_a_unix_socket_is_for_everyone_and_its_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    sockets.bind_all([Listen(scheme="unix", path=str(path))])
    assert path.stat().st_mode & 0o777 == 0o666
    sockets.close_all()
    assert not path.exists()


def test_a_file_that_took_the_place_of_ours_stays(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    sockets.bind_all([Listen(scheme="unix", path=str(path))])
    path.unlink()
    path.write_text("theirs")
    sockets.close_all()
    assert path.read_text() == "theirs"


def test_a_stale_unix_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    listen = Listen(scheme="unix", path=str(path))
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    sockets.bind_all([listen])
    sockets.close_all()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        assert "in use by another program" in _sentence(listen)


def test_unix_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "in use" in _sentence(Listen(scheme="unix", path=str(tmp_path / "file")))
    assert (tmp_path / "file").read_text() == "x"
    assert "folder does not exist" in _sentence(Listen(scheme="unix", path=str(tmp_path / "no" / "x.sock")))
    assert "too long" in _sentence(Listen(scheme="unix", path="/" + "x" * 200))


def test_an_inherited_socket_is_adopted_and_no_second_copy_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as made:
        address = made.getsockname()
        fd = made.detach()
    sockets.bind_all([Listen(scheme="fd", fd=fd)])
    socket.create_connection(address, 5).close()
    sockets.close_all()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)


def test_descriptors_that_are_no_listening_sockets() -> None:
    read, write = os.pipe()
    try:
        assert "is not an open socket" in _sentence(Listen(scheme="fd", fd=read))
        with socket.socket() as idle, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets:
            packets.bind("\0portico-test-" + os.urandom(8).hex())  # abstract: no file
            packets.listen()
            for one in (idle, packets):
                assert "not a listening stream socket" in _sentence(Listen(scheme="fd", fd=one.fileno()))
    finally:
        os.close(read)
        os.close(write)
    assert "is not an open socket" in _sentence(Listen(scheme="fd", fd=9999))


def test_a_limit_without_room_is_a_sentence() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, highest + 4), hard))
    try:
        assert "limit of open files is too low" in _sentence(ANY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_memory_file_is_whole_sealed_and_read_from_its_start() -> None:
    content = os.urandom(300_000)
    fd = descriptors.memory_file("test", content)
    with os.fdopen(fd, "rb") as file:
        assert file.read() == content
        with pytest.raises(PermissionError):
            os.write(fd, b"x")


def test_descriptors_are_laid_out_whatever_their_numbers_were() -> None:
    child = os.fork()
    if child == 0:
        try:
            names = [os.memfd_create(str(number), 0) for number in range(3)]
            for number, fd in enumerate(names):
                os.write(fd, str(number).encode())
            # 4 wants to go to 3, and 3 to 5, and so on round.
            fds = []
            for number, fd in enumerate(names):
                fds.append(os.dup2(fd, 200 + number))
            for target, fd in zip((5, 3, 4), fds, strict=True):
                os.dup2(fd, target)
            descriptors.lay_out((5, 3, 4))
            read = b"".join(os.pread(fd, 9, 0) for fd in (3, 4, 5))
            found = sorted(map(int, os.listdir("/proc/self/fd")))
            os._exit(0 if read == b"012" and found[:-1] == [0, 1, 2, 3, 4, 5] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_https_port_is_the_one_that_all_https_addresses_share() -> None:
    any_port = Listen(scheme="https", host="127.0.0.1", port=0)
    (bound,) = sockets.bind_all([any_port])
    port = bound.getsockname()[1]
    sockets.bind_all([ANY])
    assert sockets.https_port() == port
    sockets.bind_all([Listen(scheme="https", host="::1", port=port)])
    assert sockets.https_port() == port
    sockets.bind_all([Listen(scheme="https", host="::1", port=0)])
    assert sockets.https_port() == 0
