"""Everything at once: wrk as fast as it can, and beside it visitors of every kind who compare every byte.

Afterwards nothing is left of it: no failure, no descriptor, no greenlet that shows, no memory, no process.
8 seconds in every run; MIXED_LOAD_SECONDS asks for more, and `tox -e deep` for a minute.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from tests.kit import procfs
from tests.kit.configs import app, front
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.system.apps.wire import content

SECONDS = float(os.environ.get("MIXED_LOAD_SECONDS", "8"))
VISITORS = 4  # of each kind
WARM = 2.0  # seconds of the same load before anything is counted
SPARE_DESCRIPTORS = 4
CONNECTIONS = 32  # of wrk
#: Growth of a worker's memory under load. A leak of 1 KiB a request would be tens of MiB in the shortest run.
GROWTH = 8 << 20
TARGET = "/shop/fixed?size=2000"  # of wrk
REPORT = re.compile(r"(\d+) requests in ")


@pytest.fixture(scope="module")
def run(module_folder: Path) -> Iterator[PorticoRun]:
    config = front()
    config += app("shop", "uvicorn --log-level warning wire:asgi", path="/shop")
    config += app("hyper", "hypercorn --log-level warning wire:asgi", path="/hyper")
    config += app("socket", ["python", "plain_socket.py"], path="/socket")
    with PorticoRun(module_folder, config) as started:
        for name in ("shop", "hyper", "socket"):
            assert started.get(f"/{name}/contentlength").status == 200, started.app("why", name).said
        yield started


# ------------------------------------------------------------------------------------------------------------
# Visitors: each does one thing, whole, and raises if anything is not as it must be


Session = aiohttp.ClientSession
Visit = Callable[[Session, int], Awaitable[None]]


def same(received: bytes, expected: bytes) -> None:
    assert received == expected, f"{len(received)} bytes came, {len(expected)} were sent, or not the same"


async def small(session: Session, turn: int) -> None:
    async with session.get("/shop/fixed?size=300") as answer:
        same(await answer.read(), content(300))


async def large(session: Session, turn: int) -> None:
    size = 1_000_000 + turn
    async with session.get(f"/hyper/stream?size={size}&step=33333") as answer:
        same(await answer.read(), content(size))


async def until_close(session: Session, turn: int) -> None:
    async with session.get("/socket/connectionclose") as answer:
        same(await answer.read(), b"hello world")


async def echo(session: Session, turn: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 7777):
            yield content(min(start + 7777, size), start)

    size = 200_000 + turn
    async with session.put("/shop/echo", data=pieces()) as answer:
        same(await answer.read(), content(size))


async def upload(session: Session, turn: int) -> None:
    sent = content(50_000 + turn)
    async with session.post("/hyper/echo", data=sent) as answer:
        same(await answer.read(), sent)


async def event(session: Session, turn: int) -> None:
    name = f"event-{id(asyncio.current_task())}-{turn}-"
    async with session.get(f"/shop/events?n=2&name={name}") as answer:
        for number in range(2):
            async with session.get(f"/shop/say?name={name}{number}") as said:
                same(await said.read(), b"said")
            same(await answer.content.readexactly(9), b"data: %d\n\n" % number)
        same(await answer.read(), b"")


async def leave(session: Session, turn: int) -> None:
    """Goes away in the middle of a large answer."""
    async with session.get("/shop/fixed?size=5000000") as answer:
        same(await answer.content.readexactly(1000), content(1000))
        answer.close()


async def refused(session: Session, turn: int) -> None:
    async with session.get("/nowhere") as answer:
        await answer.read()
        assert answer.status == 404
    async with session.get("/socket/abort") as answer:
        await answer.read()
        assert answer.status == 502


async def talk(session: Session, turn: int) -> None:
    url = str(session._base_url).replace("http://", "ws://")
    async with connect(f"{url}shop", proxy=None) as opened:
        for number in range(5):
            sent = content(1 + (turn * 1000 + number) % 100_000)
            await opened.send(sent)
            same(bytes(await opened.recv(decode=False)), sent)


KINDS: tuple[Visit, ...] = (small, large, until_close, echo, upload, event, leave, refused, talk)


async def visit(kind: Visit, session: Session, until: float, done: Counter[str]) -> None:
    turn = 0
    while time.monotonic() < until:
        await asyncio.wait_for(kind(session, turn), 60)
        done[kind.__name__] += 1
        turn += 1


async def visit_all(url: str, seconds: float) -> Counter[str]:
    """How many visits of each kind went well; the first that did not is raised."""
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with Session(url + "/", connector=connector) as session, asyncio.TaskGroup() as group:
        for kind in KINDS:
            for _ in range(VISITORS):
                group.create_task(visit(kind, session, until, done))
    return done


def mixed_load(run: PorticoRun, seconds: float) -> tuple[Counter[str], str]:
    """The visits, and wrk's report."""
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds:.0f}s"]
    with subprocess.Popen([*command, f"{run.url}{TARGET}"], stdout=subprocess.PIPE, text=True) as wrk:
        visits = asyncio.run(visit_all(run.url, seconds))
        report, _ = wrk.communicate(timeout=60)
    assert wrk.returncode == 0, report
    return visits, report


@pytest.mark.timeout(SECONDS + 150)
def test_mixed_load_fails_nobody_and_leaves_nothing(run: PorticoRun) -> None:
    workers, processes = run.workers(), len(run.survivors())
    descriptors = {pid: procfs.descriptors(pid) for pid in workers.values()}
    mixed_load(run, WARM)
    memory = {pid: procfs.resident(pid) for pid in workers.values()}
    logged = lines_of_wrk(run)

    visits, report = mixed_load(run, SECONDS)

    assert visits.keys() == {kind.__name__ for kind in KINDS}, visits
    found = REPORT.search(report)
    assert found, report
    assert int(found[1]) > 100, report
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    grown = {pid: procfs.resident(pid) - was for pid, was in memory.items()}
    assert max(grown.values()) < GROWTH, grown

    assert run.workers() == workers
    wait_until(lambda: len(run.survivors()) == processes, "as many processes as before")
    wait_until(
        lambda: all(procfs.descriptors(pid) <= was + SPARE_DESCRIPTORS for pid, was in descriptors.items()),
        "as many descriptors as before",
    )
    # what wrk has asked and not counted was on its way when its time was over
    assert int(found[1]) <= lines_of_wrk(run) - logged <= int(found[1]) + CONNECTIONS

    assert run.get("/shop/fixed?size=10").body == content(10)
    assert run.supervisorctl("restart", "portico-front:*").status == 0
    drained = [event["connections"] for event in run.events("front.draining")]
    assert drained == [0] * len(workers)  # no connection is in a worker's mind that is not on the wire
    assert not run.events("connection.defect")


def lines_of_wrk(run: PorticoRun) -> int:
    """Requests of wrk in the access log, once it has stood still for longer than lines are gathered."""
    log = run.directory / "logs" / "access.log"
    wait_until(lambda: time.time() - log.stat().st_mtime > 2.5, "an access log at rest")
    return log.read_text().count(TARGET)
