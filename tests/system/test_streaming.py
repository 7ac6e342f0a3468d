"""What has no end yet is passed on at once, and whoever does not read costs a bounded amount of memory.

Order is proven, not timed: an app makes its next event when a second request has asked for it, and that request
is made when the client has the event before it.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.kit.client import Visitor, address_of, exchange
from tests.kit.configs import app, front
from tests.kit.procfs import descriptors, resident
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.system.apps.wire import content

MIB = 1 << 20
STALLED = 8  # connections at a time that do not move
EVENTS = 5


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    """One worker: what it holds in memory is then what all connections cost."""
    config = front(workers=1, max_request_body="1GiB")
    config += app(command="uvicorn --log-level warning wire:asgi", path="/shop")
    config += app("hyper", "hypercorn --log-level warning wire:asgi", path="/hyper")
    config += app("socket", ["python", "plain_socket.py"], path="/socket")
    with PorticoRun(module_folder, config) as started:
        for name in ("shop", "hyper", "socket"):
            started.get(f"/{name}/")
        yield started


# ------------------------------------------------------------------------------------------------------------
# Events and long polls


def with_httpx(url: str, ask_for: Callable[[int], None]) -> list[bytes]:
    with httpx.Client(trust_env=False, timeout=20) as client, client.stream("GET", url) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        pieces = answer.iter_raw()
        return [_next(ask_for, number, pieces) for number in range(EVENTS)]


def _next(ask_for: Callable[[int], None], number: int, pieces: Iterator[bytes]) -> bytes:
    ask_for(number)
    return next(pieces)


def with_aiohttp(url: str, ask_for: Callable[[int], None]) -> list[bytes]:
    async def listen() -> list[bytes]:
        timeout = aiohttp.ClientTimeout(sock_read=20)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            received = []
            for number in range(EVENTS):
                await asyncio.to_thread(ask_for, number)
                received.append(await answer.content.readany())
            return received

    return asyncio.run(listen())


def with_curl(url: str, ask_for: Callable[[int], None]) -> list[bytes]:
    return with_program(["curl", "--silent", "--no-buffer", "--max-time", "20", url], ask_for)


def with_program(command: list[str], ask_for: Callable[[int], None]) -> list[bytes]:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        received = []
        for number in range(EVENTS):
            ask_for(number)
            received.append(process.stdout.readline() + process.stdout.readline())
        assert process.wait(20) == 0
    return received


NODE = """
const answer = await fetch(process.argv[1]);
for await (const piece of answer.body) process.stdout.write(piece);
"""


def with_fetch(url: str, ask_for: Callable[[int], None]) -> list[bytes]:
    return with_program(["node", "--input-type=module", "--eval", NODE, "--", url], ask_for)


LISTENERS = {"httpx": with_httpx, "aiohttp": with_aiohttp, "curl": with_curl, "fetch": with_fetch}


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("server", ["shop", "hyper"])
def test_each_event_arrives_before_the_next_is_made(run: PorticoRun, server: str, listener: str) -> None:
    name = f"{server}-{listener}-"
    received = LISTENERS[listener](
        f"{run.url}/{server}/events?n={EVENTS}&name={name}",
        lambda number: assert_said(run, f"/{server}/say?name={name}{number}"),
    )
    assert received == [b"data: %d\n\n" % number for number in range(EVENTS)]


def test_the_head_of_a_stream_arrives_before_its_first_event(run: PorticoRun) -> None:
    with Visitor(run.url) as visitor:
        visitor.send("GET", "/shop/events?n=1&name=head")
        assert visitor.head().header("content-type") == "text/event-stream"
        assert_said(run, "/shop/say?name=head0")
        assert b"".join(visitor.chunks()) == b"data: 0\n\n"


@pytest.mark.parametrize("server", ["shop", "hyper"])
def test_a_long_poll_is_answered_when_there_is_an_answer(run: PorticoRun, server: str) -> None:
    name = f"poll-{server}"
    with ExitStack() as stack:
        visitors = [stack.enter_context(Visitor(run.url)) for _ in range(20)]
        for visitor in visitors:
            visitor.send("GET", f"/{server}/poll?name={name}")
        run.get(f"/{server}/poll?name=waiting:{name}")
        assert_said(run, f"/{server}/say?name={name}&text=now")
        assert [visitor.receive().json() for visitor in visitors] == ["now"] * len(visitors)


def test_each_piece_of_an_upload_is_answered_before_the_next_is_sent(run: PorticoRun) -> None:
    with socket.create_connection(address_of(run.url), 20) as client:
        client.sendall(b"POST /shop/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(10):
            client.sendall(b"8\r\npiece %02d\r\n" % number)
            received = b""
            while b"piece %02d\r\n" % number not in received:
                data = client.recv(65536)
                assert data
                received += data
        client.sendall(b"0\r\n\r\n")
        assert client.recv(65536) == b"0\r\n\r\n"


# ------------------------------------------------------------------------------------------------------------
# Who goes away


def test_a_client_that_leaves_a_stream_is_told_to_the_app(run: PorticoRun) -> None:
    with Visitor(run.url) as visitor:
        visitor.send("GET", "/shop/abandon?name=left")
        visitor.head()
        assert next(visitor.chunks()) == b"first"
    assert run.get("/shop/poll?name=left").json() == "disconnected"


def test_a_client_that_leaves_in_its_upload_is_told_to_the_app(run: PorticoRun) -> None:
    with Visitor(run.url) as visitor:
        visitor.socket.sendall(
            b"POST /shop/?name=torn HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nten bytes!"
        )
    assert run.get("/shop/poll?name=torn").json() == "disconnected"


def test_a_fin_while_a_request_is_in_flight_means_gone(run: PorticoRun) -> None:
    with Visitor(run.url) as visitor:
        visitor.send("GET", "/shop/abandon?name=fin")
        visitor.head()
        visitor.socket.shutdown(socket.SHUT_WR)
        assert run.get("/shop/poll?name=fin").json() == "disconnected"


# ------------------------------------------------------------------------------------------------------------
# Who does not move


def test_readers_that_stall_cost_bounded_memory(run: PorticoRun) -> None:
    """At most 1 MiB for each connection on which an answer of 1 GiB stands still."""
    worker = worker_of(run)
    before = descriptors(worker)
    warm(run)
    memory = resident(worker)
    with ExitStack() as stack:
        for _ in range(STALLED):
            reader = stack.enter_context(socket.create_connection(address_of(run.url), 20))
            reader.sendall(b"GET /socket/huge HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.recv(1000)
        at_rest(worker)
        assert resident(worker) - memory <= STALLED * MIB
    wait_until(lambda: descriptors(worker) <= before, "the end of every connection")


def test_uploads_to_an_app_that_does_not_read_cost_bounded_memory_and_arrive_whole(run: PorticoRun) -> None:
    size = 32 * MIB
    body = content(size)
    worker = worker_of(run)
    warm(run)
    before = descriptors(worker)
    memory = resident(worker)
    answers: list[bytes] = []

    def upload() -> None:
        head = (
            b"PUT /socket/deaf HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
        )
        answers.append(exchange(run.url, head + body, timeout=60))

    threads = [threading.Thread(target=upload) for _ in range(STALLED)]
    for thread in threads:
        thread.start()
    wait_until((run.directory / "apps" / "deaf").exists, "an upload that has reached the app")
    at_rest(worker)
    assert not answers
    assert resident(worker) - memory <= STALLED * MIB
    assert run.get("/socket/go-on").status == 200
    for thread in threads:
        thread.join(90)
    expected = hashlib.sha256(body).hexdigest().encode()
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [expected] * STALLED
    # The app keeps its connections open, and so does the worker: one for each upload is idle now.
    wait_until(lambda: descriptors(worker) <= before + STALLED, "the end of every visitor's connection")


def test_a_slow_reader_gets_every_byte(run: PorticoRun) -> None:
    """A window of a few kilobytes, read in crumbs: back-pressure loses nothing."""
    size = 2 * MIB
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(20)
        reader.connect(address_of(run.url))
        reader.sendall(f"GET /shop/stream?size={size}&step=70001 HTTP/1.0\r\n\r\n".encode())
        received = bytearray()
        while data := reader.recv(1500):
            received += data
    assert bytes(received).partition(b"\r\n\r\n")[2] == content(size)


def assert_said(run: PorticoRun, target: str) -> None:
    assert run.get(target).body == b"said"


def worker_of(run: PorticoRun) -> int:
    (worker,) = run.workers().values()
    return worker


def warm(run: PorticoRun) -> None:
    """Use what is made once, so that it is not counted as the cost of a connection."""
    with ExitStack() as stack:
        visitors = [stack.enter_context(Visitor(run.url)) for _ in range(STALLED)]
        for visitor in visitors:
            visitor.send("POST", f"/shop/stream?size={MIB}&step=65536", body=b"x" * MIB)
        for visitor in visitors:
            assert visitor.receive().status == 200


def at_rest(worker: int) -> None:
    """Wait until the worker's memory has stood still for half a second."""
    looks: list[int] = []

    def still() -> bool:
        looks.append(resident(worker))
        return len(looks) > 25 and len(set(looks[-25:])) == 1

    wait_until(still, "a worker that has taken all it will take")
