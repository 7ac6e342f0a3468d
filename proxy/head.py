"""The quick reader: a plain head to what it means, without h11; None for every head that is not plain.

It accepts less than the strict reader and h11 do, and reads what it accepts as they do; what is forwarded is the
same byte for byte. The property suite compares all three on generated, mutated and corpus heads. Whatever it
declines goes the whole way (`peer.py`), which is complete by itself.

Four things make it quick, each a memory of what has been judged. A *line*, remembered byte for byte: of a browser's
twelve all but two or three are the same in every request of everybody who uses it. A *plan*, remembered for each
sequence of field names, says which lines matter and which may not cross, so that no name is looked at twice. A *shape*
(`shapes.py`) is a whole request head but for what is ever new in it. And a *response* head, since an app's answers
within a second mostly begin alike, is not even taken apart. All are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from proxy.headers import Crossing, Fields, crossing_of_request, crossing_of_response
from proxy.peer import Framing, Request, Response
from proxy.shapes import EVER_NEW as EVER_NEW_IN_REQUESTS
from proxy.shapes import LENGTH, Memory, Shapes
from proxy.strict import MAX_METHOD, PLAIN_PORT, RESPONSE_LIMITS, TARGET_CHAR, TCHAR, Limits

#: Entries of one memory, and the longest response head, names of a plan, and line that are remembered: a few MiB a
#: worker, which no visitor can make more.
MEMORY = 1024
LONGEST_RESPONSE = 768
LONGEST_NAMES = 1024
LONGEST_LINE = 256
#: Lines that are not remembered: they would only drive out the others, and what is secret in one is not kept longer
#: than its message.
EVER_NEW = EVER_NEW_IN_REQUESTS | {b"set-cookie"}

# A name, a colon, one blank, a value without blanks at its ends: the spelling that everybody uses, and the one in
# which we write fields ourselves. No group is possessive: up to Python 3.11.4 one whose inside fails halfway keeps
# what it has eaten (gh-106052), and a blank at the end of a value would pass.
_LINE = re.compile(rb"([" + TCHAR + rb"]++): ([\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*+(?<![ \t]))")
_REQUEST_LINE = re.compile(
    rb"(?!(?i:CONNECT) )(["
    + TCHAR
    + rb"]{1,%d}+) (/[" % MAX_METHOD
    + TARGET_CHAR
    + rb"]*+) HTTP/1\.1(?=\r\n)"
)
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t\x20-\x7e]*+)(?=\r\n)")
_HOST = re.compile(rb"[0-9A-Za-z._-]{1,255}+(?::" + PLAIN_PORT + rb")?")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sequence of field names means: where the lines that matter are (-1: nowhere), and which lines do not
    cross, the last one first."""

    host: int
    length: int
    connection: int
    accept: int
    chunked: int
    dropped: tuple[int, ...]
    ever_new: int  # how many of them are


Block = tuple[Plan, Fields, Framing, int, bool, bytes, bytes, bytes]
"""A header block that has been judged: its plan, fields, framing, length, whether the connection is kept, host,
accept, and what crosses, as it is written."""


class NotPlain(Exception):
    """A head that the quick reader leaves to the judge."""


class QuickReader:
    """Reads plain heads for one worker; `trusted`: those of trusted proxies, of whose fields more cross."""

    def __init__(self, limits: Limits, *, trusted: bool = False) -> None:
        self._lines = lines = _Lines()
        crossing = partial(crossing_of_request, trusted=trusted)
        self._max_head = limits.max_head
        self._max_target = limits.max_target
        self._requests = _Side(lines, crossing, limits.max_fields, requests=True)
        self._responses = _Side(lines, crossing_of_response, RESPONSE_LIMITS.max_fields, requests=False)
        self._shapes = Shapes(trusted=trusted)
        self._seen: Memory[bytes, Response] = Memory(MEMORY)

    def request(self, head: bytes) -> Request | None:
        """`head` with its final empty line, and nothing before or after it."""
        line = _REQUEST_LINE.match(head)
        if line is None or len(head) > self._max_head:
            return None
        method, target = line.groups()
        if len(target) > self._max_target or b"%00" in target:
            return None
        end = line.end()
        left, values = self._shapes.cut(head[end:])
        shape = self._shapes.find(left)
        if shape is not None:
            return shape.request(method, target, values)
        return self._by_lines(method, target, head, end, left)

    def _by_lines(
        self, method: bytes, target: bytes, head: bytes, end: int, left: tuple[bytes, ...]
    ) -> Request | None:
        """A head of no known shape. It is learnt if its lines are known, and all that is ever new was cut out of it:
        what is left may be a secret otherwise."""
        learnt = self._lines.learnt
        try:
            plan, fields, framing, length, keep_alive, host, accept, crossing = self._requests.judge(
                head, end
            )
        except NotPlain:
            return None
        request = Request(
            method,
            target,
            b"1.1",
            fields,
            framing,
            length,
            keep_alive,
            None,
            host,
            b"",
            False,
            accept,
            crossing,
        )
        if self._lines.learnt == learnt and plan.ever_new == len(left) // 2:
            crosses = set(range(len(fields))).difference(plan.dropped)
            self._shapes.learn(left, head[end + 2 : -4].split(b"\r\n"), request, crosses)
        return request

    def response(self, head: bytes, request: Request) -> Response | None:
        """`head` with its final empty line, of a final response. Equal heads are one Response, never to be changed."""
        if request.method == b"HEAD":
            return self._response(head, has_no_body=True)
        response = self._seen.get(head) or self._seen.again(head)
        if response is None:
            response = self._response(head)
            if response is not None and len(head) <= LONGEST_RESPONSE:
                self._seen.put(head, response)
        return response

    def _response(self, head: bytes, *, has_no_body: bool = False) -> Response | None:
        line = _STATUS_LINE.match(head)
        if line is None or len(head) > RESPONSE_LIMITS.max_head:
            return None
        try:
            _, fields, framing, length, keep_alive, _, _, crossing = self._responses.judge(head, line.end())
        except NotPlain:
            return None
        status = int(line[1])
        if has_no_body or status in (204, 304):
            framing = Framing.NONE
        elif framing is Framing.UNTIL_CLOSE:
            return None
        return Response(status, line[2], b"1.1", fields, framing, length, keep_alive, None, crossing)


class _Lines:
    """Field lines that have been judged, whoever sent them: what a line says does not depend on where it stands."""

    def __init__(self) -> None:
        self.known: Memory[bytes, tuple[bytes, bytes]] = Memory(MEMORY)
        self._names: Memory[bytes, bytes] = Memory(MEMORY)
        self.learnt = 0  # lines that were not known, less those that are new ever so often

    def judge(self, line: bytes) -> tuple[bytes, bytes]:
        """Name and value of a line that is not in `known`. Raises NotPlain."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise NotPlain
        name, value = match.groups()
        field = self._names.get(name) or self._one_object(name), value
        if name.lower() not in EVER_NEW:
            self.learnt += 1
            if len(line) <= LONGEST_LINE:
                self.known.put(line, field)
        return field

    def _one_object(self, name: bytes) -> bytes:
        """Equal names that are the same object are compared in no time when their plan is looked for."""
        known = self._names.again(name)
        if known is not None:
            return known
        if len(name) <= LONGEST_LINE:
            self._names.put(name, name)
        return name


class _Side:
    """Requests or responses, and their plans."""

    def __init__(self, lines: _Lines, crossing: Crossing, max_fields: int, *, requests: bool) -> None:
        self._lines = lines
        self._crossing = crossing
        self._max_fields = max_fields
        self._requests = requests
        self._plans: Memory[tuple[bytes, ...], Plan] = Memory(MEMORY)

    def judge(self, head: bytes, at: int) -> Block:
        """The fields of a head whose first line ends at `at`. Raises NotPlain."""
        lines = head[at + 2 :].split(b"\r\n")
        if len(lines) < 3 or lines.pop() or lines.pop():
            raise NotPlain
        judge = self._lines.judge
        fields = [
            known or judge(line) for known, line in zip(map(self._lines.known.get, lines), lines, strict=True)
        ]
        names = tuple([name for name, _ in fields])
        plan = self._plans.get(names) or self._plans.again(names)
        if plan is None:
            plan = self._plan(names)
            if sum(map(len, names)) <= LONGEST_NAMES:
                self._plans.put(names, plan)
        host, accept, framing, length, keep_alive = self._values(plan, fields)
        if not plan.dropped:
            return plan, fields, framing, length, keep_alive, host, accept, head[at + 2 : -2]
        for index in plan.dropped:
            del lines[index]
        lines.append(b"")
        return plan, fields, framing, length, keep_alive, host, accept, b"\r\n".join(lines)

    def _values(self, plan: Plan, fields: Fields) -> tuple[bytes, bytes, Framing, int, bool]:
        """Host, accept, framing, length, whether the connection is kept. Raises NotPlain."""
        host = accept = b""
        if plan.host >= 0:
            host = fields[plan.host][1]
            if _HOST.fullmatch(host) is None:
                raise NotPlain
        if plan.accept >= 0:
            accept = fields[plan.accept][1]
        keep_alive = True
        if plan.connection >= 0:
            connection = fields[plan.connection][1].lower()
            if connection not in (b"keep-alive", b"close"):
                raise NotPlain
            keep_alive = connection == b"keep-alive"
        framing, length = (Framing.NONE, 0) if self._requests else (Framing.UNTIL_CLOSE, -1)
        if plan.length >= 0:
            if LENGTH.fullmatch(fields[plan.length][1]) is None:
                raise NotPlain
            framing, length = Framing.LENGTH, int(fields[plan.length][1])
        elif plan.chunked >= 0:
            if fields[plan.chunked][1].lower() != b"chunked":
                raise NotPlain
            framing = Framing.CHUNKED
        return host, accept, framing, length, keep_alive

    def _plan(self, names: tuple[bytes, ...]) -> Plan:
        """NotPlain for names whose meaning depends on more than one field, or on values we do not look at."""
        folded = [name.lower() for name in names]
        if len(folded) > self._max_fields or (self._requests and b"host" not in folded):
            raise NotPlain
        singular = (b"host", b"content-length", b"connection", b"accept", b"transfer-encoding")
        if any(folded.count(name) > 1 for name in singular):
            raise NotPlain
        if b"content-length" in folded and b"transfer-encoding" in folded:
            raise NotPlain
        crossing = self._crossing(names)
        if crossing is None:
            raise NotPlain
        host, length, connection, accept, chunked = (
            folded.index(name) if name in folded else -1 for name in singular
        )
        dropped = sorted(set(range(len(names))) - set(crossing), reverse=True)
        ever_new = sum(1 for name in folded if name in EVER_NEW_IN_REQUESTS)
        return Plan(host, length, connection, accept, chunked, tuple(dropped), ever_new)
