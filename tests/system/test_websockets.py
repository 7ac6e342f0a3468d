"""WebSockets and other upgrades: real clients, real servers, and between them nothing but bytes.

One run serves three apps that talk WebSocket and one that is a bare socket; the path tells which is meant.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode, Opcode
from websockets.typing import Subprotocol

from tests.kit.client import address_of
from tests.kit.configs import app, front
from tests.kit.environments import readable_folder
from tests.kit.npm import NoAnswer, npm
from tests.kit.procfs import descriptors
from tests.kit.run import PorticoRun
from tests.kit.until import wait_until
from tests.kit.websocket import WebSocketVisitor, text_frame

SERVERS = {
    "uvicorn": ["uvicorn", "--log-level", "warning", "wire:asgi"],
    "hypercorn": ["hypercorn", "--log-level", "warning", "wire:asgi"],
    "node": ["node", "talk.js"],
}
DEFLATE = "permessage-deflate"
IDLE = 1.0  # seconds: tunnel_idle_timeout of the app `idle`
WAIT = 20.0  # seconds; only a failing test waits so long
MIB = 1 << 20

Message = str | bytes


@pytest.fixture(scope="session")
def node_modules() -> Iterator[Path]:
    """A folder with Node's `ws` from the npm registry."""
    folder = readable_folder()
    try:
        npm(folder, "install", "--prefix", str(folder), "ws@8")
    except NoAnswer as silence:
        pytest.skip(str(silence))
    yield folder / "node_modules"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def run(module_folder: Path, node_modules: Path) -> Iterator[PorticoRun]:
    settings = {"environment": {"NODE_PATH": str(node_modules)}}
    apps = [app(name, command, path=f"/{name}", **settings) for name, command in SERVERS.items()]
    apps.append(app("socket", ["python", "plain_socket.py"], path="/socket"))
    apps.append(app("idle", SERVERS["uvicorn"], path="/idle", tunnel_idle_timeout=IDLE))
    with PorticoRun(module_folder, front() + "".join(apps)) as started:
        yield started


# ------------------------------------------------------------------------------------------------------------
# Two clients, one shape


@dataclass(frozen=True, slots=True)
class Closed:
    """How a conversation ended, as its client tells; code 1006 means without a close frame."""

    code: int | None
    reason: str


class Talk(Protocol):
    subprotocol: str | None
    deflate: bool  # negotiated, as the client tells

    async def send(self, message: Message) -> None: ...
    async def receive(self) -> Message | Closed: ...
    async def ping(self, payload: bytes) -> bytes:
        """The payload of the pong."""

    async def close(self, code: int, reason: str) -> None: ...


class WebsocketsTalk:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.subprotocol: str | None = connection.subprotocol
        self.deflate = any(one.name == DEFLATE for one in connection.protocol.extensions)

    async def send(self, message: Message) -> None:
        await self._connection.send(message)

    async def receive(self) -> Message | Closed:
        try:
            return await asyncio.wait_for(self._connection.recv(), WAIT)
        except ConnectionClosed:
            return Closed(self._connection.close_code, self._connection.close_reason or "")

    async def ping(self, payload: bytes) -> bytes:
        await asyncio.wait_for(await self._connection.ping(payload), WAIT)  # it compares the payloads
        return payload

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)


class AiohttpTalk:
    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self.subprotocol = connection.protocol
        self.deflate = bool(connection.compress)

    async def send(self, message: Message) -> None:
        if isinstance(message, str):
            await self._connection.send_str(message)
        else:
            await self._connection.send_bytes(message)

    async def receive(self) -> Message | Closed:
        while True:
            message = await self._connection.receive(WAIT)
            if message.type is aiohttp.WSMsgType.PING:
                await self._connection.pong(message.data)
            elif message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return message.data  # type: ignore[no-any-return]
            elif message.type is aiohttp.WSMsgType.CLOSE:
                return Closed(message.data, message.extra or "")
            else:
                return Closed(self._connection.close_code, "")

    async def ping(self, payload: bytes) -> bytes:
        await self._connection.ping(payload)
        while (message := await self._connection.receive(WAIT)).type is not aiohttp.WSMsgType.PONG:
            assert message.type is aiohttp.WSMsgType.PING, message
            await self._connection.pong(message.data)
        return bytes(message.data)

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code=code, message=reason.encode())


@asynccontextmanager
async def talk_with_websockets(url: str, deflate: bool, subprotocols: list[str]) -> AsyncIterator[Talk]:
    connection = websockets_connect(
        url.replace("http://", "ws://"),
        compression="deflate" if deflate else None,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=None,
        proxy=None,
    )
    async with connection as opened:
        yield WebsocketsTalk(opened)


@asynccontextmanager
async def talk_with_aiohttp(url: str, deflate: bool, subprotocols: list[str]) -> AsyncIterator[Talk]:
    async with aiohttp.ClientSession() as session:
        connection = session.ws_connect(
            url, compress=15 if deflate else 0, protocols=subprotocols, autoping=False, max_msg_size=0
        )
        async with connection as opened:
            yield AiohttpTalk(opened)


CLIENTS = {"websockets": talk_with_websockets, "aiohttp": talk_with_aiohttp}
every_pair = pytest.mark.parametrize(
    ("client", "server"), [(client, server) for client in CLIENTS for server in SERVERS]
)
every_server = pytest.mark.parametrize("server", SERVERS)


@asynccontextmanager
async def talk(
    run: PorticoRun, client: str, target: str, *, deflate: bool = False, subprotocols: list[str] | None = None
) -> AsyncIterator[Talk]:
    async with CLIENTS[client](run.url + target, deflate, subprotocols or []) as opened:
        yield opened


# ------------------------------------------------------------------------------------------------------------
# Conversations


@every_pair
def test_text_and_bytes_come_back_in_order(run: PorticoRun, client: str, server: str) -> None:
    said: list[Message] = ["héllo", b"\x00\xff\r\n", "", b"", "☂" * 1000, os.urandom(70_000)]

    async def conversation() -> list[Message | Closed]:
        async with talk(run, client, f"/{server}") as connection:
            for message in said:
                await connection.send(message)
            return [await connection.receive() for _ in said]

    assert asyncio.run(conversation()) == said


@every_pair
def test_a_message_of_a_mebibyte(run: PorticoRun, client: str, server: str) -> None:
    sent = os.urandom(MIB)

    async def conversation() -> Message | Closed:
        async with talk(run, client, f"/{server}") as connection:
            await connection.send(sent)
            return await connection.receive()

    received = asyncio.run(conversation())
    assert isinstance(received, bytes)
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()


@every_pair
def test_the_subprotocol_is_negotiated_end_to_end(run: PorticoRun, client: str, server: str) -> None:
    offered = ["first.test", "second.test"]

    async def conversation() -> tuple[str | None, Any]:
        async with talk(run, client, f"/{server}", subprotocols=offered) as connection:
            return connection.subprotocol, await facts(connection)

    chosen, seen = asyncio.run(conversation())
    assert chosen == "second.test"  # the apps take the last: neither client's nor front's own choice
    assert [word.strip() for word in field(seen, "sec-websocket-protocol").split(",")] == offered


@every_pair
@pytest.mark.parametrize("deflate", [True, False])
def test_permessage_deflate_is_negotiated_end_to_end(
    run: PorticoRun, client: str, server: str, deflate: bool
) -> None:
    text = "the same words again and again " * 1000

    async def conversation() -> tuple[bool, Any, Message | Closed]:
        async with talk(run, client, f"/{server}", deflate=deflate) as connection:
            seen = await facts(connection)
            await connection.send(text)
            return connection.deflate, seen, await connection.receive()

    negotiated, seen, received = asyncio.run(conversation())
    assert received == text
    assert negotiated is deflate
    assert (DEFLATE in field(seen, "sec-websocket-extensions")) is deflate
    if server == "node":  # `ws` tells what it has agreed to; the others show it in the bytes, see below
        assert seen["extensions"] == (DEFLATE if deflate else "")


@every_server
def test_compressed_frames_cross_as_they_are(run: PorticoRun, server: str) -> None:
    with WebSocketVisitor(run.url, f"/{server}", deflate=True) as visitor:
        assert visitor.extensions == [DEFLATE]
        text = "again and again " * 10_000
        visitor.raw = b""
        visitor.send(text)
        assert visitor.text() == text
        assert visitor.raw[0] & 0x40  # RSV1: the app itself compressed (RFC 7692 6)
        assert len(visitor.raw) < len(text) / 10


@every_pair
def test_a_ping_of_the_clients_is_answered(run: PorticoRun, client: str, server: str) -> None:
    async def conversation() -> bytes:
        async with talk(run, client, f"/{server}") as connection:
            return await connection.ping(b"are you there")

    assert asyncio.run(conversation()) == b"are you there"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_ping_of_the_apps_is_answered(run: PorticoRun, client: str) -> None:
    async def conversation() -> Message | Closed:
        async with talk(run, client, "/node") as connection:
            await connection.send("[ping]")
            return await connection.receive()

    assert asyncio.run(conversation()) == "[pong] are you there"


@every_pair
def test_the_apps_close_reaches_the_client(run: PorticoRun, client: str, server: str) -> None:
    async def conversation() -> Message | Closed:
        async with talk(run, client, f"/{server}") as connection:
            await connection.send("[close]")
            return await connection.receive()

    assert asyncio.run(conversation()) == Closed(4002, "app says so")


@every_pair
def test_the_clients_close_reaches_the_app(run: PorticoRun, client: str, server: str) -> None:
    name = f"{client}-{server}"

    async def conversation() -> None:
        async with talk(run, client, f"/{server}?name={name}") as connection:
            await connection.send("before")
            assert await connection.receive() == "before"
            await connection.close(4001, "client says so")

    asyncio.run(conversation())
    told = tuple(run.get(f"/{server}/poll?name={name}").json())
    # hypercorn tells its app 1006 for every end that is the client's, without Portico too
    assert told == ((1006, None) if server == "hypercorn" else (4001, "client says so"))


@every_server
def test_a_client_that_vanishes_is_told_to_the_app(run: PorticoRun, server: str) -> None:
    name = f"vanished-{server}"
    with WebSocketVisitor(run.url, f"/{server}?name={name}") as visitor:
        visitor.send("before")
        assert visitor.text() == "before"
    code, _ = run.get(f"/{server}/poll?name={name}").json()
    assert code in (CloseCode.ABNORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD)


@every_server
def test_a_frame_in_the_segment_of_the_handshake_reaches_the_app(run: PorticoRun, server: str) -> None:
    early = text_frame("too eager to wait") + text_frame("and more")
    with WebSocketVisitor(run.url, f"/{server}", early=early) as visitor:
        assert visitor.answer.status_code == 101
        assert [visitor.text(), visitor.text()] == ["too eager to wait", "and more"]


@every_server
def test_what_the_app_is_told_of_a_handshake(run: PorticoRun, server: str) -> None:
    target = f"/{server}/a%2Fb//c?q=%20"
    with WebSocketVisitor(run.url, target) as visitor:
        visitor.send("[facts]")
        seen = json.loads(visitor.text())
    assert field(seen, "x-forwarded-for") == "127.0.0.1"
    assert field(seen, "host") == run.url.removeprefix("http://")
    assert field(seen, "upgrade").lower() == "websocket"
    if server == "node":  # it gets the token and looks at it or not: no shim there
        assert seen["raw_path"] == target
    else:
        assert not [name for name, _ in seen["headers"] if "aspnetcore" in name]
        assert seen["scheme"] == "ws"
        assert seen["root_path"] == f"/{server}"


# ------------------------------------------------------------------------------------------------------------
# Refusals and ends


@every_pair
@pytest.mark.parametrize(("path", "status"), [("refuse", 403), ("deny", 401)])
def test_a_refused_handshake_is_an_ordinary_answer(
    run: PorticoRun, client: str, server: str, path: str, status: int
) -> None:
    async def with_websockets() -> int:
        with pytest.raises(InvalidStatus) as refusal:
            async with talk(run, "websockets", f"/{server}/{path}"):
                pass
        return refusal.value.response.status_code

    async def with_aiohttp() -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            async with talk(run, "aiohttp", f"/{server}/{path}"):
                pass
        return refusal.value.status

    assert asyncio.run(with_websockets() if client == "websockets" else with_aiohttp()) == status


@every_server
def test_the_body_of_a_refusal_arrives_and_frames_behind_it_go_nowhere(run: PorticoRun, server: str) -> None:
    """What a client sent in good faith behind a handshake that was refused is no request: 400, by the front."""
    with WebSocketVisitor(run.url, f"/{server}/deny", early=text_frame("too eager to wait")) as visitor:
        assert visitor.answer.status_code == 401
        assert visitor.answer.headers["WWW-Authenticate"] == "Basic"
        assert visitor.answer.body == b"who are you?"
        visitor.until_end()
        assert b"who are you?" not in visitor.raw.partition(b"who are you?")[2]


@every_server
def test_an_app_that_dies_breaks_its_open_sockets_and_serves_again(run: PorticoRun, server: str) -> None:
    with (
        WebSocketVisitor(run.url, f"/{server}") as other,
        WebSocketVisitor(run.url, f"/{server}") as visitor,
    ):
        for one in (other, visitor):
            one.send("[facts]")
        before = {json.loads(one.text())["pid"] for one in (other, visitor)}
        visitor.send("[crash]")
        frames = [*other.until_end(), *visitor.until_end()]
        assert not [frame for frame in frames if frame.opcode is Opcode.CLOSE]

    def serves() -> bool:
        answer = run.get(f"/{server}/")
        return answer.status == 200 and answer.json()["pid"] not in before

    wait_until(serves, "a new process that answers")


@every_server
def test_two_hundred_sockets_at_once(run: PorticoRun, server: str) -> None:
    workers = run.workers().values()
    before = {pid: descriptors(pid) for pid in workers}
    count, rounds = 200, 3

    async def converse(number: int, all_open: asyncio.Barrier) -> list[Message | Closed]:
        async with talk(run, "websockets", f"/{server}") as connection:
            await asyncio.wait_for(all_open.wait(), WAIT)
            received = []
            for turn in range(rounds):
                await connection.send(f"{number} {turn}")
                received.append(await connection.receive())
            return received

    async def all_at_once() -> list[list[Message | Closed]]:
        all_open = asyncio.Barrier(count)
        return await asyncio.gather(*(converse(number, all_open) for number in range(count)))

    assert asyncio.run(all_at_once()) == [[f"{n} {turn}" for turn in range(rounds)] for n in range(count)]
    wait_until(
        lambda: all(descriptors(pid) <= was + 8 for pid, was in before.items()), "the end of all tunnels"
    )


def test_an_idle_tunnel_is_cut_and_one_that_moves_is_not(run: PorticoRun) -> None:
    with (
        WebSocketVisitor(run.url, "/idle") as silent,
        WebSocketVisitor(run.url, "/idle") as lively,
    ):
        began = time.monotonic()
        while time.monotonic() - began < 3 * IDLE:
            lively.send("here")
            assert lively.text() == "here"
            time.sleep(IDLE / 10)
        assert not [frame for frame in silent.until_end() if frame.opcode is Opcode.CLOSE]
        lively.send("still here")
        assert lively.text() == "still here"


# ------------------------------------------------------------------------------------------------------------
# Any other protocol that the app accepts with 101


def upgrade(target: str, protocol: str = "lines") -> bytes:
    return (
        f"GET /socket/{target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    ).encode()


def test_another_protocol_is_a_tunnel_of_bytes_with_half_close(run: PorticoRun) -> None:
    sent = os.urandom(4 * MIB)
    run.get("/socket/contentlength")
    with socket.create_connection(address_of(run.url), WAIT) as client:
        client.sendall(upgrade("hash-to-end") + sent[:1000])
        client.sendall(sent[1000:])
        client.shutdown(socket.SHUT_WR)
        received = everything(client)
    head, _, said = received.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"101"
    assert b"\r\nupgrade: lines" in head.lower()
    assert b"\r\nconnection: upgrade" in head.lower()
    assert said == b"early words of the app\n" + hashlib.sha256(sent).hexdigest().encode()


def test_an_app_that_ends_first_goes_on_reading(run: PorticoRun) -> None:
    with socket.create_connection(address_of(run.url), WAIT) as client:
        client.sendall(upgrade("end-first"))
        assert everything(client).partition(b"\r\n\r\n")[2] == b""  # its FIN has crossed
        client.sendall(b"said after the app's end")
        client.shutdown(socket.SHUT_WR)
    wait_until(
        lambda: run.get("/socket/what-came").body == b"said after the app's end", "what the client said last"
    )


def test_a_switch_that_nobody_asked_for_is_502(run: PorticoRun) -> None:
    for asked in (upgrade("unasked"), b"GET /socket/unasked HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(address_of(run.url), WAIT) as client:
            client.sendall(asked)
            head = client.recv(65536)
            assert head.split(b" ")[1] == b"502"
            assert b"error=http_upgrade_failed" in head or b"error=http_protocol_error" in head


def test_what_follows_an_upgrade_that_was_not_confirmed_is_judged_as_a_request(run: PorticoRun) -> None:
    """Never a tunnel by halves: the front reads it, with its own token and never the client's."""
    follows = b"GET /socket/tell HTTP/1.1\r\nHost: x\r\nMS-ASPNETCORE-TOKEN: evil\r\n\r\n"
    with socket.create_connection(address_of(run.url), WAIT) as client:
        client.sendall(upgrade("refused") + follows + b"\x81\x85frame\r\n\r\n")
        first, second, third = everything(client).split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 ")
    assert first.endswith(b"refused")
    head = second.partition(b"\r\n\r\n")[2].lower()
    assert head.startswith(b"get /socket/tell http/1.1\r\n")
    assert head.count(b"\r\nms-aspnetcore-token: ours") == 1
    assert b"evil" not in head
    assert b"upgrade" not in head
    assert third.startswith(b"400 ")


def test_the_access_log_has_a_line_for_each_tunnel(run: PorticoRun) -> None:
    """With the bytes that went to the client after the 101, and why the front ended it, if it did."""
    with WebSocketVisitor(run.url, "/uvicorn?mark=ended") as visitor:
        visitor.send("counted")
        assert visitor.text() == "counted"
        visitor.protocol.send_close(1000)
        visitor.flush()
        visitor.until_end()
        sent = len(visitor.raw.partition(b"\r\n\r\n")[2])
    with WebSocketVisitor(run.url, "/idle?mark=idle") as visitor:
        visitor.until_end()
    assert logged(run, "?mark=ended") == ("101", str(sent), "uvicorn", "-")
    assert logged(run, "?mark=idle") == ("101", "0", "idle", "tunnel-idle")


def logged(run: PorticoRun, mark: str) -> tuple[str, str, str, str]:
    """Status, bytes, app and reason of the line with this mark in its target."""
    log = run.directory / "logs" / "access.log"
    pattern = re.compile(
        rf'"GET \S+{re.escape(mark)} HTTP/1.1" (\d+) (\d+) (\w+)#\d+ .* (\S+)$', re.MULTILINE
    )
    found = wait_until(lambda: pattern.search(log.read_text()), f"{mark} in the access log")
    status, size, name, reason = found.groups()
    return status, size, name, reason


# ------------------------------------------------------------------------------------------------------------


async def facts(connection: Talk) -> Any:
    await connection.send("[facts]")
    told = await connection.receive()
    assert isinstance(told, str)
    return json.loads(told)


def field(seen: Any, name: str) -> str:
    """The value of a field as the app saw it, lines joined; "" without one."""
    return ", ".join(value for key, value in seen["headers"] if key == name)


def everything(sock: socket.socket) -> bytes:
    received = []
    while data := sock.recv(65536):
        received.append(data)
    return b"".join(received)
