"""What is measured: the works, their sizes, how many connections carry them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from benchmarks.backend import FILES, STREAM


class Load(Enum):
    """Who makes the load."""

    WRK = "wrk"
    UPLOAD = "upload"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class Plan:
    """`size`: bytes of body of one operation. `by_bytes`: operations are counted as bytes received / size, since
    with few large bodies those in flight at the end would count for nothing."""

    title: str
    load: Load
    method: str
    path: str  # with one %d: no two requests are alike
    connections: int
    size: int
    by_bytes: bool = False


class Work(Enum):
    GET = Plan("GET, 63 bytes of JSON", Load.WRK, "GET", "/api/cart?step=%d", 32, 63)
    POST = Plan("POST, 1 KiB up", Load.WRK, "POST", "/api/cart/%d", 32, 1024)
    DOWN_64K = Plan("64 KiB down", Load.WRK, "GET", "/files/64k?v=%d", 8, FILES["64k"])
    DOWN_1M = Plan("1 MiB down", Load.WRK, "GET", "/files/1m?v=%d", 8, FILES["1m"], by_bytes=True)
    DOWN_10M = Plan("10 MiB down", Load.WRK, "GET", "/files/10m?v=%d", 4, FILES["10m"], by_bytes=True)
    UP_10M = Plan("10 MiB up", Load.UPLOAD, "PUT", "/sink/body?v=%d", 4, FILES["10m"])
    CHUNKED = Plan("64 KiB chunked down", Load.WRK, "GET", "/stream?v=%d", 8, STREAM)
    WEBSOCKET = Plan("WebSocket echo, 125 bytes", Load.WEBSOCKET, "GET", "/echo?v=%d", 32, 125)

    @property
    def plan(self) -> Plan:
        return self.value

    @property
    def key(self) -> str:
        """As `--only` and the JSON file write it: "get", "down-1m"."""
        return self.name.lower().replace("_", "-")
