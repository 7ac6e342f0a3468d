"""Strategies for request heads: from the grammar, bent, and pure noise."""

from __future__ import annotations

from hypothesis import strategies as st

TCHARS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
TARGET_CHARS = bytes(c for c in range(0x21, 0x7F) if c != ord("#"))
VALUE_CHARS = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))

Fields = list[tuple[bytes, bytes]]


def words(alphabet: bytes, low: int, high: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), min_size=low, max_size=high).map(bytes)


def any_case(word: bytes) -> st.SearchStrategy[bytes]:
    """`word` with each letter in either case."""
    return st.lists(st.booleans(), min_size=len(word), max_size=len(word)).map(
        lambda up: bytes(c - 32 if u and 97 <= c <= 122 else c for c, u in zip(word.lower(), up, strict=True))
    )


def any_dash(word: bytes) -> st.SearchStrategy[bytes]:
    """`word` in any case, with each dash as any mark that CGI-like gateways fold into one."""
    return any_case(word).flatmap(
        lambda name: st.lists(
            st.sampled_from(b"-_.!~"), min_size=name.count(b"-"), max_size=name.count(b"-")
        ).map(
            lambda marks: b"".join(
                part + bytes([mark]) for part, mark in zip(name.split(b"-"), [*marks, 0], strict=True)
            )[:-1]
        )
    )


tokens = words(TCHARS, 1, 12)
values = words(VALUE_CHARS, 0, 30)
methods = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"get"]) | tokens
paths = words(TARGET_CHARS, 0, 30).map(lambda rest: b"/" + rest)
hosts = st.sampled_from([b"a", b"a.example:8080", b"[::1]:80", b"127.0.0.1", b"A_b.", b"x-y.example:0"])
targets = paths | st.sampled_from(
    [b"/", b"/a/../b?c", b"*", b"http://a/x", b"https://a.example:8080?q", b"/%2e%2E/"]
)

#: Names that mean something to a front, and what clients may try with them.
LOADED_NAMES = (
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE",
    b"Upgrade", b"Trailer", b"Expect", b"Proxy", b"Proxy-Authorization", b"Forwarded", b"X-Forwarded-For",
    b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Prefix", b"X-Real-IP", b"X-Original-URL", b"X-Request-ID",
    b"Via", b"MS-ASPNETCORE-TOKEN", b"MS-ASPNETCORE-CLIENTCERT", b"MS-ASPNETCOREX", b"Cookie", b"Authorization",
    b"MS-ASPNETCORE-IDENTITY", b"Remote-User", b"X-Remote-User",
)  # fmt: skip
loaded_names = st.sampled_from(LOADED_NAMES).flatmap(any_dash)
loaded_values = st.sampled_from(
    [b"chunked", b"Chunked", b"gzip, chunked", b"identity", b"0", b"5", b"5, 5", b"+5", b"", b"close", b"keep-alive",
     b"upgrade", b"trailers", b"websocket", b"h2c", b"100-continue", b"a", b"a.example:8080", b"b", b"127.0.0.1"]
)  # fmt: skip
connection_values = st.lists(loaded_names | tokens, max_size=5).map(b", ".join)

ordinary_fields = st.tuples(tokens, values)
loaded_fields = st.tuples(loaded_names, loaded_values | connection_values | values)
framing_fields = st.sampled_from(
    [[], [], [(b"Content-Length", b"0")], [(b"content-length", b"12")], [(b"Transfer-Encoding", b"chunked")]]
)  # fmt: skip


def render(line: bytes, fields: Fields, blanks: bytes = b" ") -> bytes:
    return (
        line + b"\r\n" + b"".join(name + b":" + blanks + value + b"\r\n" for name, value in fields) + b"\r\n"
    )


@st.composite
def good_heads(draw: st.DrawFn) -> bytes:
    """Mostly what the strict reader takes: one Host, one framing, any other fields."""
    method, target = draw(methods), draw(targets)
    host = draw(hosts)
    if target.startswith(b"http"):
        host = target.partition(b"//")[2].partition(b"/")[0].partition(b"?")[0]
    others = draw(st.lists(ordinary_fields | loaded_fields, max_size=6))
    others = [(name, value) for name, value in others if _plain_key(name) not in _FRAMES]
    fields = draw(st.permutations([(b"Host", host), *draw(framing_fields), *others]))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    return render(
        method + b" " + target + b" " + version, fields, draw(st.sampled_from([b" ", b"", b" \t "]))
    )


_FRAMES = frozenset({b"host", b"content-length", b"transfer-encoding"})


def _plain_key(name: bytes) -> bytes:
    return bytes(c if chr(c).isalnum() else ord("-") for c in name.lower())


@st.composite
def bad_heads(draw: st.DrawFn) -> bytes:
    """Anything that looks like a head: fields that frame and route at will."""
    line = b" ".join(
        (draw(methods), draw(targets), draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2"])))
    )
    return render(line, draw(st.lists(loaded_fields | ordinary_fields, max_size=8)))


@st.composite
def bent_heads(draw: st.DrawFn) -> bytes:
    """A good head with a few bytes put in, taken out or changed."""
    head = bytearray(draw(good_heads()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(head) - 1))
        piece = draw(
            st.sampled_from(
                [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x0b", b"\x7f", b"\xa0", b",", b"#", b"0"]
            )
        )
        match draw(st.sampled_from(["put", "take", "change"])):
            case "put":
                head[at:at] = piece
            case "take":
                del head[at : at + 1]
            case _:
                head[at : at + 1] = piece
    return bytes(head)


noise = st.binary(max_size=80).map(lambda data: data + b"\r\n\r\n") | st.binary(max_size=80)
heads = st.one_of(good_heads(), bad_heads(), bent_heads(), noise)
