"""The operator's client says in a sentence why it could not talk to the keeper."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor_conf.control.client import ControlClient, ControlError
from supervisor_conf.control.codec import encode
from supervisor_conf.control.messages import Done, Order, Progress, Refused

Answer = Callable[[bytes], Path]


@pytest.fixture
def answer() -> Iterator[Answer]:
    """`answer(bytes)`: a keeper that says this to whoever connects, and hangs up."""
    with (
        tempfile.TemporaryDirectory(prefix="portico-client-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        threads: list[threading.Thread] = []

        def make(data: bytes) -> Path:
            path = Path(folder) / "control.sock"
            listener.bind(str(path))
            listener.listen()

            def serve() -> None:
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(data)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return path

        yield make
        for thread in threads:
            thread.join()


def ordered(path: Path) -> tuple[Done, list[str]]:
    shown: list[str] = []
    with ControlClient(path) as client:
        return client.order(Order("start", ("shop",)), shown.append), shown


def test_progress_is_shown_until_done(answer: Answer) -> None:
    said = encode(Progress("one")) + encode(Progress("two")) + encode(Done(1, "no"))
    assert ordered(answer(said)) == (Done(1, "no"), ["one", "two"])


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (encode(Refused("You may not.")), "You may not"),
        (encode(Progress("starting")), "went away"),
        (b"", "went away"),
        (struct.pack(">I", 4) + b"nope", "cannot be read"),
    ],
)
def test_what_goes_wrong_is_a_sentence(answer: Answer, said: bytes, sentence: str) -> None:
    with pytest.raises(ControlError, match=sentence):
        ordered(answer(said))


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="does not run here"):
        ordered(tmp_path / "no.sock")
