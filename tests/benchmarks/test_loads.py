"""The generators' own parts: answers, percentiles, frames; and the loops against a real socket."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import echo
from benchmarks.load import open_loop, upload, websocket
from benchmarks.load.request import end_of_answer, status_of
from benchmarks.works import Plan, Work
from tests.kit.client import free_port
from tests.kit.until import wait_until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


def test_an_answer_ends_with_its_body() -> None:
    assert [end_of_answer(ANSWER[:at]) for at in range(len(ANSWER))] == [None] * len(ANSWER)
    assert end_of_answer(ANSWER + b"HTTP/1.1 200") == len(ANSWER)
    assert end_of_answer(b"HTTP/1.1 204 No Content\r\n\r\n") == 27
    assert status_of(ANSWER) == "200"


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1.0], 0.99, 1.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0], 0.51, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
    ],
)
def test_percentiles_are_values_that_were_seen(values: list[float], share: float, expected: float) -> None:
    assert open_loop.percentile(values, share) == expected


@given(st.lists(st.binary(max_size=125), max_size=5), st.binary(min_size=4, max_size=4), st.integers(0, 20))
def test_what_is_masked_comes_back_plain(payloads: list[bytes], mask: bytes, cut: int) -> None:
    frames = b"".join(websocket.masked_frame(payload, mask) for payload in payloads)
    plain = [bytes((websocket.BINARY_FINAL, len(payload))) + payload for payload in payloads]
    assert echo.answers(frames) == (b"".join(plain), len(frames))
    half = len(frames) - min(cut, len(frames))
    out, used = echo.answers(frames[:half])
    rest, _ = echo.answers(frames[used:])
    assert out + rest == b"".join(plain)


def test_the_key_of_the_rfc() -> None:
    assert echo.accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3


def test_a_frame_without_mask_is_refused() -> None:
    with pytest.raises(echo.Refused):
        echo.answers(b"\x82\x02hello!")


@pytest.fixture
def echo_port() -> Iterator[int]:
    port = free_port()
    with subprocess.Popen([sys.executable, echo.__file__, str(port)]) as server:
        wait_until(lambda: accepts(port), "the echo server")
        yield port
        server.terminate()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_echoes_are_counted(echo_port: int) -> None:
    plan = Plan("echo", Work.WEBSOCKET.plan.load, "GET", "/echo?v=%d", 3, 125)
    outcome = websocket.run(echo_port, plan, 0.05, first=1)
    assert outcome.operations >= 3
    assert outcome.errors == 0


def _serve_once(listener: socket.socket, read: int, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        taken = 0
        while taken < read and (data := connection.recv(65536)):
            taken += len(data)
        connection.sendall(answer)
        connection.recv(65536)


@pytest.mark.parametrize(
    ("answer", "expected"), [(b"HTTP/1.1 204 N\r\n\r\n", (1, 0)), (b"HTTP/1.1 500 E\r\n\r\n", (0, 1))]
)
def test_an_upload_counts_when_it_was_stored(answer: bytes, expected: tuple[int, int]) -> None:
    plan = Plan("up", Work.UP_10M.plan.load, "PUT", "/sink/body?v=%d", 1, 300_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The head comes on top of the body: what is left of it is read with the next recv.
        thread = threading.Thread(target=_serve_once, args=(listener, 300_300, answer))
        thread.start()
        outcome = upload.run(listener.getsockname()[1], plan, 0.0, first=1)
        thread.join()
    assert (outcome.operations, outcome.errors) == expected


def test_latencies_of_requests_that_were_due(echo_port: int) -> None:
    """The echo server ends a connection that does no handshake: every request is an error, none is forgotten."""
    seen = open_loop.run(echo_port, "/api?n=%d", rate=1000, seconds=0.02, first=1)
    assert seen.seconds == ()
    assert seen.errors == 20
