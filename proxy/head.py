"""The quick reader: a plain head to what it means, without h11; None for every head that is not plain.

It accepts less than the strict reader and h11 do, and reads what it accepts as they do; what is forwarded is the
same byte for byte. The property suite compares all three on generated, mutated and corpus heads. Whatever it
declines goes the whole way (`peer.py`), which is complete by itself.

Three things make it quick. One compiled pattern judges a header block. A *plan*, remembered for each sequence of
field names, says which lines matter and which may not cross, so that no name is looked at twice. And a block that
was judged before, byte for byte (clients repeat themselves), is not looked at again. Both memories are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.headers import Crossing, Fields, crossing_of_request, crossing_of_response
from proxy.peer import Framing, Request, Response
from proxy.strict import MAX_METHOD, TARGET_CHAR, TCHAR, Limits

#: Blocks and plans remembered, and the longest block, and names of a plan, that are: a few MiB a worker, which no
#: visitor can make more.
MEMORY = 512
LONGEST_REMEMBERED = 2048

# A name, a colon, one blank, a value without blanks at its ends: the spelling that everybody uses, and the one in
# which we write fields ourselves. No group is possessive: up to Python 3.11.4 one whose inside fails halfway keeps
# what it has eaten (gh-106052), and a blank at the end of a value would pass.
_BLOCK = re.compile(
    rb"(?:[" + TCHAR + rb"]++: [\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*+(?<![ \t])\r\n)+\r\n"
)
_REQUEST_LINE = re.compile(rb"([" + TCHAR + rb"]{1,%d}+) (/[" % MAX_METHOD + TARGET_CHAR + rb"]*+) HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t\x20-\x7e]*+)")
_HOST = re.compile(rb"[0-9A-Za-z._-]{1,255}+(?::[0-5]?[0-9]{1,4}+)?")
_LENGTH = re.compile(rb"[0-9]{1,18}+")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sequence of field names means: where the lines that matter are (-1: nowhere), which lines cross."""

    host: int
    length: int
    connection: int
    accept: int
    chunked: int
    crossing: tuple[int, ...]
    everything_crosses: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A header block that has been judged. `lines` is what crosses, as it is written."""

    fields: Fields
    lines: bytes
    host: bytes
    accept: bytes
    framing: Framing
    length: int
    keep_alive: bool


Key = TypeVar("Key")
Value = TypeVar("Value")


class _Memory(Generic[Key, Value]):
    """A bounded dictionary: full, it forgets everything and starts anew, which costs nothing while it fits."""

    __slots__ = ("_kept", "get")

    def __init__(self) -> None:
        self._kept: dict[Key, Value] = {}
        self.get = self._kept.get

    def put(self, key: Key, value: Value) -> None:
        if len(self._kept) >= MEMORY:
            self._kept.clear()
        self._kept[key] = value


class QuickReader:
    """Reads plain heads for one worker."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = _Side(crossing_of_request, limits.max_fields, requests=True)
        self._responses = _Side(crossing_of_response, limits.max_fields, requests=False)

    def request(self, head: bytes) -> Request | None:
        """`head` with its final empty line, within the limits of size."""
        end = head.find(b"\r\n")
        line = _REQUEST_LINE.fullmatch(head, 0, end)
        if line is None:
            return None
        method, target = line.groups()
        if len(target) > self._limits.max_target or b"%00" in target or method.upper() == b"CONNECT":
            return None
        block = self._requests.judge(head[end + 2 :])
        if block is None:
            return None
        return Request(
            method,
            target,
            b"1.1",
            block.fields,
            block.framing,
            block.length,
            block.keep_alive,
            host=block.host,
            accept=block.accept,
            lines=block.lines,
        )

    def response(self, head: bytes, request: Request) -> Response | None:
        """`head` with its final empty line, of a final response."""
        end = head.find(b"\r\n")
        line = _STATUS_LINE.fullmatch(head, 0, end)
        if line is None:
            return None
        block = self._responses.judge(head[end + 2 :])
        if block is None:
            return None
        status = int(line[1])
        framing = block.framing
        if request.method == b"HEAD" or status in (204, 304):
            framing = Framing.NONE
        elif framing is Framing.UNTIL_CLOSE:
            return None
        return Response(
            status,
            line[2],
            b"1.1",
            block.fields,
            framing,
            block.length,
            block.keep_alive,
            lines=block.lines,
        )


class _Side:
    """Requests or responses: their plans and the blocks seen last."""

    def __init__(self, crossing: Crossing, max_fields: int, *, requests: bool) -> None:
        self._crossing = crossing
        self._max_fields = max_fields
        self._requests = requests
        self._plans: _Memory[tuple[bytes, ...], Plan | None] = _Memory()
        self._blocks: _Memory[bytes, Block] = _Memory()

    def judge(self, raw: bytes) -> Block | None:
        block = self._blocks.get(raw)
        if block is None:
            block = self._read(raw)
            if block is not None and len(raw) <= LONGEST_REMEMBERED:
                self._blocks.put(raw, block)
        return block

    def _read(self, raw: bytes) -> Block | None:
        if _BLOCK.fullmatch(raw) is None:
            return None
        lines = raw[:-4].split(b"\r\n")
        fields = [(name, value) for name, _, value in [line.partition(b": ") for line in lines]]
        names = tuple([name for name, _ in fields])
        plan = self._plans.get(names, _UNKNOWN)
        if plan is _UNKNOWN:
            plan = self._plan(names)
            if sum(map(len, names)) <= LONGEST_REMEMBERED:
                self._plans.put(names, plan)
        return self._follow(plan, raw, lines, fields) if plan is not None else None

    def _follow(self, plan: Plan, raw: bytes, lines: list[bytes], fields: Fields) -> Block | None:
        host = fields[plan.host][1] if plan.host >= 0 else b""
        if plan.host >= 0 and _HOST.fullmatch(host) is None:
            return None
        keep_alive = True
        if plan.connection >= 0:
            connection = fields[plan.connection][1].lower()
            if connection not in (b"keep-alive", b"close"):
                return None
            keep_alive = connection == b"keep-alive"
        framing, length = (Framing.NONE, 0) if self._requests else (Framing.UNTIL_CLOSE, -1)
        if plan.length >= 0:
            if _LENGTH.fullmatch(fields[plan.length][1]) is None:
                return None
            framing, length = Framing.LENGTH, int(fields[plan.length][1])
        elif plan.chunked >= 0:
            if fields[plan.chunked][1].lower() != b"chunked":
                return None
            framing = Framing.CHUNKED
        if plan.everything_crosses:
            crossing = raw[:-2]
        else:
            crossing = b"".join([lines[index] + b"\r\n" for index in plan.crossing])
        accept = fields[plan.accept][1] if plan.accept >= 0 else b""
        return Block(fields, crossing, host, accept, framing, length, keep_alive)

    def _plan(self, names: tuple[bytes, ...]) -> Plan | None:
        """None for names whose meaning depends on more than one field, or on values we do not look at."""
        folded = [name.lower() for name in names]
        if len(folded) > self._max_fields or (self._requests and b"host" not in folded):
            return None
        singular = (b"host", b"content-length", b"connection", b"accept", b"transfer-encoding")
        if any(folded.count(name) > 1 for name in singular):
            return None
        if b"content-length" in folded and b"transfer-encoding" in folded:
            return None
        crossing = self._crossing(names)
        if crossing is None:
            return None
        host, length, connection, accept, chunked = (
            folded.index(name) if name in folded else -1 for name in singular
        )
        return Plan(host, length, connection, accept, chunked, crossing, len(crossing) == len(names))


_UNKNOWN = Plan(-1, -1, -1, -1, -1, (), False)
