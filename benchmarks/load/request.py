"""Requests as browsers send them, no two alike, and the little that must be read of the answers."""

from __future__ import annotations

import socket

ANSWER_LIMIT = 10.0
"""Seconds that one answer may take."""

_CHROME = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    'sec-ch-ua: "Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Accept: application/json, text/plain, */*",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: empty",
    "Referer: http://127.0.0.1:{port}/shop/list?page=%d",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en-US;q=0.9,en;q=0.8",
    "Cookie: session=5f1c9a70d2be4d6b8e; seen=%d; theme=dark",
)
_FIREFOX = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Accept: */*",
    "Accept-Language: de,en-US;q=0.7,en;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://127.0.0.1:{port}/shop/list?page=%d",
    "DNT: 1",
    "Connection: keep-alive",
    "Cookie: session=c0ffee1234567890ab; seen=%d",
    "Sec-Fetch-Dest: empty",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=4",
)
_SAFARI = (
    "Accept: */*",
    "Sec-Fetch-Site: same-origin",
    "Cookie: consent=yes; session=77aa01fe33dd90bc12; seen=%d",
    "Sec-Fetch-Dest: empty",
    "Accept-Language: fr-FR,fr;q=0.9",
    "Sec-Fetch-Mode: cors",
    "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Safari/605.1.15",
    "Referer: http://127.0.0.1:{port}/shop/list?page=%d",
    "Accept-Encoding: gzip, deflate, br",
)
BROWSERS = (_CHROME, _FIREFOX, _SAFARI)
VARYING = 3
"""Places in a template that take a number: in the target, in Referer and in Cookie."""


def templates(port: int, method: str, path: str, body_length: int | None = None) -> list[str]:
    """One request head for each browser, to be filled (%) with `VARYING` numbers."""
    heads = []
    for browser in BROWSERS:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:{port}", *browser]
        if body_length is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {body_length}"]
        heads.append("\r\n".join([*(line.replace("{port}", str(port)) for line in lines), "", ""]))
    return heads


def filled(template: str, number: int) -> bytes:
    return (template % ((number,) * VARYING)).encode("ascii")


def get(port: int, path: str) -> bytes:
    """One ordinary request."""
    return filled(templates(port, "GET", f"{path}?n=%d")[0], 1)


def answer_of(port: int, request: bytes) -> str:
    """The status of the answer to one request on a connection of its own. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT) as connection:
        connection.sendall(request)
        return status_of(read_answer(connection))


def read_answer(connection: socket.socket) -> bytes:
    """One answer with Content-Length, or one head without body, from a blocking socket. Raises OSError."""
    data = b""
    while (end := end_of_answer(data)) is None:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError("the connection ended before the answer did")
        data += piece
    return data[:end]


def end_of_answer(data: bytes) -> int | None:
    """Length of the answer at the beginning of `data`, None while it is not complete. Not for chunked bodies."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    length = int(head[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
    return end + 4 + length if len(data) >= end + 4 + length else None


def status_of(answer: bytes) -> str:
    return answer[9:12].decode("ascii", "replace")
