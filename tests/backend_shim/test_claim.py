"""Which server takes the address."""

from __future__ import annotations

import gc
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from backend_shim.autoload.claim import Claim, Hold, is_free, listener_for
from backend_shim.pairing import TAKEN_VARIABLE, Address, Pairing
from tests.backend_shim.backend import free_port


def claim_of(address: Address | None, environ: dict[str, str] | None = None, pid: int = 0) -> Claim:
    return Claim(Pairing("token", "/", address, pid), {} if environ is None else environ)


def test_the_first_server_holds_it_and_the_second_does_not() -> None:
    environ: dict[str, str] = {}
    claim = claim_of(Address(port=free_port()), environ)
    first = claim.take()
    assert first is not None
    assert environ[TAKEN_VARIABLE] == str(os.getpid())
    assert claim.take() is None
    assert claim.take(inherited=True) is None


def test_a_server_that_is_gone_holds_nothing() -> None:
    claim = claim_of(Address(port=free_port()))
    assert claim.take() is not None  # and dropped at once
    gc.collect()
    assert claim.take() is not None


def test_nobody_takes_what_there_is_not() -> None:
    assert claim_of(None).take() is None


def test_a_port_that_somebody_listens_on_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(port=listener.getsockname()[1])
        assert claim_of(address).take() is None
        assert claim_of(address).owns(listener)
        assert claim_of(address).take(inherited=True) is not None
    assert claim_of(address).take() is not None


def test_connections_that_linger_do_not_keep_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = listener.getsockname()
        with socket.create_connection(where) as client:
            server_side, _ = listener.accept()
            server_side.close()  # first: its end goes to TIME_WAIT
            assert client.recv(1) == b""
    assert is_free(Address(port=where[1]))


def test_an_ancestor_that_took_it_keeps_it() -> None:
    taken = {TAKEN_VARIABLE: str(os.getppid())}
    assert claim_of(Address(port=free_port()), taken).take() is None


@pytest.mark.parametrize("taken", ["0", "not a pid", "999999999"])
def test_one_that_is_no_ancestor_does_not(taken: str) -> None:
    assert claim_of(Address(port=free_port()), {TAKEN_VARIABLE: taken}).take() is not None


def test_a_process_that_replaced_itself_takes_it_again() -> None:
    """Same pid, new program: the marker in the environment is its own."""
    assert claim_of(Address(port=free_port()), {TAKEN_VARIABLE: str(os.getpid())}).take() is not None


def test_only_processes_of_the_app_take_it() -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert claim_of(Address(port=free_port()), pid=stranger.pid).take() is None
    finally:
        stranger.communicate()
    assert claim_of(Address(port=free_port()), pid=os.getppid()).take() is not None


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "app.sock")


def test_a_unix_socket(path: str) -> None:
    address = Address(path=path)
    assert is_free(address)
    with listener_for(address) as listener:
        assert not is_free(address)
        assert claim_of(address).owns(listener)
    assert is_free(address)  # the file is still there, nobody behind it
    with listener_for(address):
        assert not is_free(address)


def test_a_unix_socket_in_a_folder_that_is_not_there(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        listener_for(Address(path=path + "/x"))


def test_a_descriptor_must_be_a_listening_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(fd=listener.fileno())
        assert is_free(address)
        assert claim_of(address).owns(listener)
        with socket.create_server(("127.0.0.1", 0)) as other:
            assert not claim_of(address).owns(other)
        with listener_for(address) as copy:
            assert copy.getsockname() == listener.getsockname()
    assert not is_free(address)  # closed
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "wb"):
        assert not is_free(Address(fd=reader))


def test_a_hold_goes_to_workers_with_the_settings_of_their_server() -> None:
    assert isinstance(pickle.loads(pickle.dumps(Hold())), Hold)
    assert pickle.loads(pickle.dumps(Hold())).pid == os.getpid()
