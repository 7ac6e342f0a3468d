"""HTTP clients that people use, each behind one function: ask, and tell exactly what came.

A body given as bytes is sent with a Content-Length, one given as a list of pieces in the chunked coding. Nobody
follows redirects; nobody but fetch, which cannot help it, takes a content coding off.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import aiohttp
import httpx
import requests

FETCH = Path(__file__).with_name("fetch.mjs")
TIMEOUT = 60  # seconds

Pairs = list[tuple[str, str]]
Body = bytes | list[bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[
        tuple[str, str], ...
    ]  # names in lower case, repeated fields as often as the client saw them
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str:
        """The first value of a field, "" without one."""
        return next(iter(self.all(name)), "")


Ask = Callable[[str, str, Pairs, Body], Answer]


def with_curl(method: str, url: str, headers: Pairs, body: Body) -> Answer:
    with tempfile.NamedTemporaryFile() as head, tempfile.NamedTemporaryFile() as content:
        command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT)]
        command += ["--dump-header", head.name, "--output", content.name]
        command += [word for name, value in headers for word in ("--header", f"{name}: {value}")]
        command += ["--head"] if method == "HEAD" else ["--request", method]
        if isinstance(body, list):
            command += ["--upload-file", "-"]
        elif body:
            command += ["--data-binary", "@-"]
        sent = b"".join(body) if isinstance(body, list) else body
        subprocess.run([*command, url], input=sent, check=True, timeout=TIMEOUT)
        final = Path(head.name).read_bytes().removesuffix(b"\r\n\r\n").split(b"\r\n\r\n")[-1]
        content_bytes = b"" if method == "HEAD" else Path(content.name).read_bytes()
    first, *lines = final.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    fields = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    return Answer(int(first.split(" ")[1]), fields, content_bytes)


def with_httpx(method: str, url: str, headers: Pairs, body: Body) -> Answer:
    content = iter(body) if isinstance(body, list) else body or None
    with (
        httpx.Client(trust_env=False, timeout=TIMEOUT) as client,
        client.stream(method, url, headers=headers, content=content) as answer,
    ):
        received = b"".join(answer.iter_raw())
        return Answer(answer.status_code, tuple(answer.headers.multi_items()), received)


def with_requests(method: str, url: str, headers: Pairs, body: Body) -> Answer:
    with requests.Session() as session:
        session.trust_env = False
        data = iter(body) if isinstance(body, list) else body or None
        answer = session.request(
            method, url, headers=dict(headers), data=data, stream=True, timeout=TIMEOUT, allow_redirects=False
        )
        raw = answer.raw
        fields = tuple((name.lower(), value) for name, value in raw.headers.items())
        return Answer(answer.status_code, fields, raw.read(decode_content=False))


def with_aiohttp(method: str, url: str, headers: Pairs, body: Body) -> Answer:
    async def pieces(given: list[bytes]) -> AsyncIterator[bytes]:
        for piece in given:
            yield piece

    async def ask() -> Answer:
        timeout = aiohttp.ClientTimeout(TIMEOUT)
        data = pieces(body) if isinstance(body, list) else BytesIO(body) if body else None
        async with (
            aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session,
            session.request(method, url, headers=headers, data=data, allow_redirects=False) as answer,
        ):
            fields = tuple((name.lower(), value) for name, value in answer.headers.items())
            return Answer(answer.status, fields, await answer.read())

    return asyncio.run(ask())


def with_fetch(method: str, url: str, headers: Pairs, body: Body) -> Answer:
    streams = isinstance(body, list)
    told = json.dumps({"method": method, "url": url, "headers": dict(headers), "streams": streams})
    sent = b"".join(body) if isinstance(body, list) else body
    done = subprocess.run(
        ["node", str(FETCH), told], input=sent, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT
    )
    line, _, received = done.stdout.partition(b"\n")
    seen = json.loads(line)
    fields = [(name, value) for name, value in seen["headers"] if name != "set-cookie"]
    fields += [("set-cookie", cookie) for cookie in seen["cookies"]]
    return Answer(seen["status"], tuple(fields), received)


CLIENTS: dict[str, Ask] = {
    "curl": with_curl,
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
    "requests": with_requests,
    "fetch": with_fetch,
}


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of `size` bytes; the last may be shorter."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
