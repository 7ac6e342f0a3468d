"""The corpus: one file an attack or an oddity, with what must come of it; its format: `tests/corpus/README.md`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REQUESTS = Path(__file__).resolve().parent.parent / "corpus"
RESPONSES = REQUESTS / "responses"

_ESCAPE = re.compile(
    rb"\\(?:(?P<plain>[rnt0\\])|x(?P<hex>[0-9a-f]{2})|\{(?P<unit>[^*}]+)\*(?P<times>[0-9]+)\}|(?P<bad>))"
)
_PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_KEYS = frozenset({"expect", "why", "class", "section", "at", "app-sees", "app-lacks", "app-has", "request"})
_REQUEST_OUTCOMES = frozenset(
    {"forwarded", "400", "404", "405", "408", "413", "414", "417", "431", "501", "505"}
)
_RESPONSE_OUTCOMES = frozenset({"passed", "502", "cut"})


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the app sees it: method, target, bytes of body."""

    method: bytes
    target: bytes
    body: int


@dataclass(frozen=True, slots=True)
class Case:
    """One file. `expect`: an outcome for each message in `data`; `at`: where a refusal comes from, "head" or "body"."""

    name: str
    kind: str
    expect: tuple[str, ...]
    why: str
    section: str
    at: str
    seen: tuple[Seen, ...]
    lacks: tuple[bytes, ...]  # what no field of the app's request may hold
    has: tuple[tuple[bytes, bytes], ...]  # fields that the app's request must have
    request: bytes  # for a response: the method it answers
    data: bytes

    @property
    def head(self) -> bytes:
        """The first head in `data`, by a lenient reader's idea of its end; all of it when there is none."""
        end = _END_OF_HEAD.search(self.data)
        return self.data[: end.end()] if end else self.data

    @property
    def refused_head(self) -> int:
        """The status with which the first head is refused; 0 when it passes."""
        return int(self.expect[0]) if self.at == "head" and self.expect[0].isdigit() else 0


def load(folder: Path) -> list[Case]:
    """All cases of a folder, by name. Raises ValueError for a file that is not in the format."""
    outcomes = _RESPONSE_OUTCOMES if folder == RESPONSES else _REQUEST_OUTCOMES
    return [parse(path.stem, path.read_bytes(), outcomes) for path in sorted(folder.glob("*.http"))]


def parse(name: str, text: bytes, outcomes: frozenset[str]) -> Case:
    top, rule, message = text.partition(b"\n---\n")
    if not rule:
        raise ValueError(f"{name}: no line --- between expectations and bytes")
    keys = _expectations(name, top.decode("utf-8"))
    expect = tuple(outcome.strip() for outcome in keys["expect"][0].split(","))
    if not outcomes.issuperset(expect):
        raise ValueError(f"{name}: expect: {keys['expect'][0]}")
    at = keys.get("at", ["head"])[0]
    if at not in ("head", "body"):
        raise ValueError(f"{name}: at: {at}")
    return Case(
        name=name,
        kind=keys["class"][0],
        expect=expect,
        why=keys["why"][0],
        section=keys.get("section", [""])[0],
        at=at,
        seen=tuple(_seen(line) for line in keys.get("app-sees", [])),
        lacks=tuple(value.encode() for value in keys.get("app-lacks", [])),
        has=tuple(_field(line) for line in keys.get("app-has", [])),
        request=keys.get("request", ["GET"])[0].encode(),
        data=unescape(name, message),
    )


def _expectations(name: str, top: str) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for line in top.splitlines():
        key, colon, value = line.removeprefix("# ").partition(": ")
        if not line.startswith("# ") or not colon or key not in _KEYS:
            raise ValueError(f"{name}: {line}")
        keys.setdefault(key, []).append(value)
    if missing := {"expect", "why", "class"} - keys.keys():
        raise ValueError(f"{name}: no {', '.join(sorted(missing))}")
    return keys


def _seen(line: str) -> Seen:
    method, target, body = line.encode().split(b" ")
    return Seen(method, target, int(body))


def _field(line: str) -> tuple[bytes, bytes]:
    name, _, value = line.encode().partition(b": ")
    return name, value


def unescape(name: str, message: bytes) -> bytes:
    """The bytes meant: line ends of the file count for nothing, escapes for what they say."""

    def bytes_of(match: re.Match[bytes]) -> bytes:
        if match["plain"]:
            return _PLAIN[match["plain"]]
        if match["hex"]:
            return bytes.fromhex(match["hex"].decode())
        if match["unit"]:
            return match["unit"] * int(match["times"])
        raise ValueError(f"{name}: an unknown escape at byte {match.start()}")

    return _ESCAPE.sub(bytes_of, message.replace(b"\n", b""))
