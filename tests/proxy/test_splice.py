"""Long bodies moved by the kernel: the same bytes, the same ends."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy import splice
from proxy.splice import AT_ONCE, SPARE, WORTH_IT, Pipes
from proxy.streams import Deadlines, Stream
from proxy.tunnel import tunnel
from tests.kit.raw_app import AppSide, answer, raw_app
from tests.kit.until import wait_until
from tests.kit.worker_process import WorkerProcess, worker_process

BODY = os.urandom(5 * WORTH_IT + 4321)


@pytest.fixture(params=["true", "false"], ids=["quick", "through-h11"])
def worker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    with worker_process(tmp_path, front=f"quick_lane = {request.param}") as worker:
        yield worker


def read_all(worker: WorkerProcess, request: bytes, body: bytes = b"") -> bytes:
    with worker.connect() as visitor:
        sender = threading.Thread(target=visitor.sendall, args=(request + body,))
        sender.start()
        received = b""
        while more := visitor.recv(1 << 20):
            received += more
        sender.join()
    return received.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_a_long_body_comes_down_unchanged_however_it_is_sent(worker: WorkerProcess, pieces: int) -> None:
    def script(app: AppSide) -> None:
        app.head()
        whole = answer(b"200 OK", BODY)
        step = len(whole) // pieces + 1
        for start in range(0, len(whole), step):
            app.say(whole[start : start + step])
        assert app.is_ended()  # the next request, or the end

    with raw_app(script) as app:
        worker.publish(app.port)
        assert read_all(worker, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == BODY
        worker.close()


def test_a_long_body_comes_whole_to_a_client_that_is_slower_than_the_app(worker: WorkerProcess) -> None:
    """What the app sends while the head of the answer waits for room is read ahead: it comes first."""
    said = threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        app.say(answer(b"200 OK", BODY))
        said.set()

    worker.listener.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024
    )  # connections get it from there
    with raw_app(script) as app, worker.connect() as visitor:
        worker.publish(app.port)
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert said.wait(20)
        received = b""
        while more := visitor.recv(1 << 16):
            received += more
    assert received.partition(b"\r\n\r\n")[2] == BODY


def test_a_long_body_goes_up_and_comes_back_unchanged_at_the_same_time(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        left = len(BODY)
        while left:
            piece = app.exactly(min(left, 50_000))
            app.say(piece)
            left -= len(piece)

    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    with raw_app(script) as app:
        worker.publish(app.port)
        assert read_all(worker, head, BODY) == BODY


def test_what_follows_a_long_body_is_the_next_request(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        app.head()
        assert app.exactly(len(BODY)) == BODY
        app.say(answer(b"200 OK", b"one"))
        assert app.head().startswith(b"GET /two ")
        app.say(answer(b"200 OK", b"two"))

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    following = b"GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with raw_app(script) as app:
        worker.publish(app.port)
        assert read_all(worker, head, BODY + following).endswith(b"two")


def test_a_long_body_that_breaks_off_is_cut(worker: WorkerProcess) -> None:
    def script(app: AppSide) -> None:
        app.head()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(BODY)) + BODY)

    with raw_app(script) as app:
        worker.publish(app.port)
        with pytest.raises(ConnectionResetError):
            read_all(worker, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


def test_a_client_that_leaves_a_long_upload_ends_the_apps_connection(worker: WorkerProcess) -> None:
    ended = threading.Event()

    def script(app: AppSide) -> None:
        app.head()
        app.exactly(len(BODY))
        assert app.is_ended()
        ended.set()

    with raw_app(script) as app:
        worker.publish(app.port)
        with worker.connect() as visitor:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * len(BODY))
            visitor.sendall(head + BODY)
        assert ended.wait(20)


def far_ends() -> tuple[Stream, socket.socket, Stream, socket.socket, Deadlines]:
    deadlines = Deadlines()
    client, visitor = socket.socketpair()
    ours, app = socket.socketpair()
    return Stream(client, deadlines), visitor, Stream(ours, deadlines), app, deadlines


def read_to_end(sock: socket.socket, into: list[bytes]) -> None:
    sock.settimeout(20)
    while more := sock.recv(1 << 20):
        into.append(more)


def test_a_flood_in_a_tunnel_is_moved_by_the_kernel_until_there_is_a_lull() -> None:
    """Both ways at once; frames before and after it, and each end of input, come through as they do otherwise."""
    client, visitor, ours, app, deadlines = far_ends()
    pipes, down, up = Pipes(), [], []
    lent = 0

    @contextmanager
    def borrowed() -> Iterator[splice.Pipe | None]:
        nonlocal lent
        lent += 1
        with Pipes.borrowed(pipes) as pipe:
            yield pipe

    pipes.borrowed = borrowed  # type: ignore[method-assign]

    def talk(sock: socket.socket) -> None:
        for data in (b"frame", BODY * 8, b"another"):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=talk, args=(sock,)) for sock in (visitor, app)]
    threads += [threading.Thread(target=read_to_end, args=args) for args in ((visitor, down), (app, up))]
    for thread in threads:
        thread.start()
    assert tunnel(client, ours, 20, pipes) == ""
    for thread in threads:
        thread.join()
    for closed in (client, ours, visitor, app):
        closed.close()
    assert b"".join(down) == b"".join(up) == b"frame" + BODY * 8 + b"another"
    assert lent >= 2, "nothing was spliced"
    with Pipes.borrowed(pipes) as pipe:
        assert pipe is not None
        assert pipe.held == 0
    deadlines.close()


def test_a_tunnel_whose_flood_is_not_taken_ends_when_it_has_been_idle() -> None:
    client, visitor, ours, app, deadlines = far_ends()
    pipes = Pipes()
    sender = threading.Thread(target=lambda: app.send(BODY * 100))
    app.settimeout(20)
    sender.start()
    assert tunnel(client, ours, 0.3, pipes) == "tunnel-idle"
    sender.join()
    for sock in (visitor, app):
        sock.close()
    deadlines.close()


def test_a_tunnel_gives_its_pipe_back_in_a_lull_and_goes_on() -> None:
    client, visitor, ours, app, deadlines = far_ends()
    pipes = Pipes()
    visitor.settimeout(20)

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += visitor.recv(1 << 20)
        return data

    heard: list[bytes] = []

    def talk() -> None:
        for _ in range(3):
            sender = threading.Thread(target=app.sendall, args=(BODY,))
            sender.start()
            heard.append(exactly(len(BODY)))
            sender.join()
            wait_until(lambda: not pipes.lent, "a pipe that is given back")
            app.sendall(b"frame")
            heard.append(exactly(5))
        app.shutdown(socket.SHUT_WR)
        visitor.shutdown(socket.SHUT_WR)

    talker = threading.Thread(target=talk)
    talker.start()
    assert tunnel(client, ours, 20, pipes) == ""
    talker.join()
    assert heard == [BODY, b"frame"] * 3
    for closed in (client, ours, visitor, app):
        closed.close()
    deadlines.close()


def test_pipes_are_used_again_empty_and_closed_otherwise() -> None:
    pipes = Pipes()
    with pipes.borrowed() as first:
        pass
    with pipes.borrowed() as again:
        assert again is not None
        assert again is first
        again.held = 1  # as if its content had not gone anywhere
    before = len(os.listdir("/proc/self/fd"))
    with pipes.borrowed() as other:
        assert other is not first
        assert len(os.listdir("/proc/self/fd")) == before + 2
    borrowed = [pipes.borrowed() for _ in range(AT_ONCE + 3)]
    lent = [one.__enter__() for one in borrowed]
    assert None not in lent[:AT_ONCE]
    assert lent[AT_ONCE:] == [None] * 3, "the kernel's memory has other uses"
    for one in borrowed:
        one.__exit__(None, None, None)
    assert len(os.listdir("/proc/self/fd")) == before + 2 * SPARE
    with pipes.borrowed() as other:
        assert other is not None


def test_there_is_no_pipe_where_only_small_ones_or_none_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user past its share of pipe pages gets two of them; one without descriptors gets none."""
    pipes, before = Pipes(), len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(splice, "CAPACITY", 8192)
    with pipes.borrowed() as pipe:
        assert pipe is None
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr(splice, "CAPACITY", 65536)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pipes.borrowed() as pipe:
            assert pipe is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pipes.borrowed() as pipe:
        assert pipe is not None
