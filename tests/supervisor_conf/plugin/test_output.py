"""Output in memory, in a file, on a terminal that may stand still."""

from __future__ import annotations

import itertools
import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.dispatchers import POutputDispatcher
from supervisor.loggers import Logger
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions

from supervisor_conf.control import messages
from supervisor_conf.control.codec import encode
from supervisor_conf.plugin import terminal
from supervisor_conf.plugin.link import UNSENT
from supervisor_conf.plugin.memory import KEPT_LIMIT, PluginMemory
from supervisor_conf.plugin.output import REMEMBERED, Output, OutputHandler, beware_of_empty_pipes
from supervisor_conf.plugin.redaction import MASK
from supervisor_conf.plugin.terminal import Terminal


@given(st.lists(st.binary(max_size=9000)))
def test_the_newest_bytes_are_remembered(chunks: list[bytes]) -> None:
    output = Output(0.0)
    for chunk in chunks:
        output.take(chunk, 1.0)
    written = b"".join(chunks)
    assert len(output.text().encode("utf-8", "surrogatepass")) <= 3 * REMEMBERED
    expected = written[-REMEMBERED:].decode("utf-8", "replace")
    assert expected.endswith(output.text())


class Pipe:
    """The read end of an app's pipe with supervisord's own dispatcher on it."""

    def __init__(self) -> None:
        self.end, self.write_end = os.pipe()
        os.set_blocking(self.end, False)
        self.output = Output(0.0)
        process: Any = SimpleNamespace(config=SimpleNamespace(options=_Options(), name="shop"))
        self.dispatcher = POutputDispatcher.__new__(POutputDispatcher)
        self.dispatcher.__dict__.update(
            process=process,
            fd=self.end,
            channel="stdout",
            closed=False,
            output_buffer=b"",
            capturelog=None,
            log_to_mainlog=False,
            stdout_events_enabled=False,
            childlog=Logger(handlers=[OutputHandler(self.output, lambda: 1.0)]),
        )


class _Options:
    """As much of supervisord's ServerOptions as its dispatcher asks for."""

    strip_ansi = False
    logger = Logger(handlers=[])
    readfd = ServerOptions.readfd


def test_a_read_that_finds_nothing_is_not_the_end_of_the_output() -> None:
    pipe = Pipe()
    beware_of_empty_pipes(pipe.dispatcher)
    os.write(pipe.write_end, b"first ")
    for _ in range(3):  # of one turn of supervisord's: once for the keeper, once because it was announced
        pipe.dispatcher.handle_read_event()
    assert not pipe.dispatcher.closed
    os.write(pipe.write_end, b"second")
    pipe.dispatcher.handle_read_event()
    assert pipe.output.text() == "first second"
    os.close(pipe.write_end)
    pipe.dispatcher.handle_read_event()
    assert pipe.dispatcher.closed
    os.close(pipe.end)


def test_supervisord_alone_takes_it_for_the_end() -> None:
    """Why there is something to beware of: fails when supervisord does better."""
    pipe = Pipe()
    pipe.dispatcher.handle_read_event()
    assert pipe.dispatcher.closed
    for end in (pipe.end, pipe.write_end):
        os.close(end)


@given(st.binary(max_size=3), st.integers(1, 20000))
def test_the_text_fits_into_any_message(chunk: bytes, times: int) -> None:
    output = Output(0.0)
    output.take(chunk * times, 0.0)
    encode(messages.Output(generation=1, text=output.text()))


def test_the_first_byte_is_timed_from_the_fork() -> None:
    output = Output(10.0)
    assert output.first_after == -1.0
    output.take(b"x", 12.5)
    output.take(b"y", 99.0)
    assert output.first_after == 2.5


class Written:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.data += data

    def reopen(self) -> None:
        """Nothing to open."""

    def clear(self) -> None:
        self.data = b""

    def close(self) -> None:
        self.closed = True


@given(
    st.text("0f", min_size=9, max_size=12),
    st.lists(st.one_of(st.none(), st.text("0f\n", max_size=30)), max_size=6),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_a_secret_is_masked_wherever_the_output_is_cut(
    secret: str, parts: list[str | None], cuts: list[int]
) -> None:
    """`None` among the parts is the secret itself."""
    text = "".join(secret if part is None else part for part in parts).encode()
    sink = Written()
    output = Output(0.0, secret)
    output.sink = sink
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(places):
        output.take(text[start:end], 0.0)
        assert secret.encode() not in sink.data
        assert secret not in output.text()
    output.end()
    assert sink.closed
    masked = text.replace(secret.encode(), MASK)
    begun = next((n for n in range(len(secret) - 1, 7, -1) if masked.endswith(secret[:n].encode())), 0)
    assert sink.data == (masked[:-begun] + MASK if begun else masked)
    assert output.text() == sink.data.decode()


@pytest.mark.parametrize(("begun", "shown"), [(7, b"0123456"), (8, MASK), (31, MASK), (32, MASK)])
def test_of_a_secret_that_is_cut_off_at_the_end_no_more_is_shown_than_could_be_chance(
    begun: int, shown: bytes
) -> None:
    secret = "0123456789abcdef" * 2
    sink = Written()
    output = Output(0.0, secret)
    output.sink = sink
    output.take(b"token=" + secret[:begun].encode(), 0.0)
    assert output.text() == f"token={shown.decode()}"
    output.end()
    assert sink.data == b"token=" + shown


def test_without_a_secret_every_byte_passes_at_once() -> None:
    sink = Written()
    output = Output(0.0)
    output.sink = sink
    output.take(b"prompt> 0", 0.0)
    assert sink.data == b"prompt> 0"


def test_memory_tells_everything_even_when_it_is_long() -> None:
    memory = PluginMemory(instance="i")
    assert [memory.next_generation("shop"), memory.next_generation("shop"), memory.next_generation("b")] == [
        1,
        2,
        1,
    ]
    assert memory.keep("report", "x" * 200_000)
    assert not memory.keep("much", "x" * KEPT_LIMIT)
    assert memory.keep("report", "\x00" * KEPT_LIMIT)
    assert len(encode(memory.message(""), messages.PLUGIN_LINK_FRAME_LIMIT)) < UNSENT
    assert memory.keep("report", "x" * 200_000)
    memory.keep("gone", "x")
    memory.keep("gone", "")
    memory.refuse("shop", "offline")
    memory.refuse("shop", "")
    assert memory.refusals == {}
    memory.stopped |= {"b", "a"}
    told = memory.message("front")
    assert (told.stopped, told.kept, told.ending) == (("a", "b"), (("report", "x" * 200_000),), "front")
    encode(told, messages.PLUGIN_LINK_FRAME_LIMIT)


@pytest.fixture
def pipe() -> Iterator[tuple[Terminal, int, int]]:
    read, write = os.pipe()
    made = Terminal(write)
    yield made, read, write
    made.close()
    os.close(read)
    os.close(write)


def _turns(made: Terminal, limit: int = 10_000) -> None:
    for _ in range(limit):
        if not made.writable():
            return
        made.handle_write_event()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def test_a_line_reaches_the_terminal(pipe: tuple[Terminal, int, int]) -> None:
    made, read, _ = pipe
    made.say("Portico serves http://127.0.0.1:1")
    assert made in asyncore.socket_map.values()
    _turns(made)
    assert os.read(read, 100) == b"Portico serves http://127.0.0.1:1\n"


def test_a_pipe_that_nobody_reads_blocks_nobody(pipe: tuple[Terminal, int, int]) -> None:
    made, read, write = pipe
    made.write(b"x" * (terminal.BUFFER - 1))
    _turns(made, 100)
    made.write(b"y" * terminal.BUFFER)
    assert os.get_blocking(write), "the descriptor of the caller is not changed"
    os.set_blocking(read, False)
    while _read(read) or made.writable():
        _turns(made, 10)
    made.say("again")
    _turns(made)
    rest = _read(read)
    assert rest == (b"\n[%d bytes of output dropped]\nagain\n" % terminal.BUFFER)


def test_a_terminal_that_is_stopped_blocks_nobody() -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"\x13")  # Ctrl-S
    made = Terminal(theirs)
    try:
        made.write(b"x" * 200_000)
        _turns(made, 100)
        assert made.writable()
        made.finish()
    finally:
        made.close()
        os.close(ours)
        os.close(theirs)


def test_a_terminal_that_is_gone_is_forgotten(pipe: tuple[Terminal, int, int]) -> None:
    ours, theirs = pty.openpty()
    made = Terminal(theirs)
    os.close(theirs)
    os.close(ours)
    made.say("nobody hears")
    _turns(made)
    assert not made.writable()
    assert made not in asyncore.socket_map.values()
    made.say("nothing happens")


def test_a_file_as_terminal_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    made = Terminal(fd)
    made.say(json.dumps("x"))
    made.finish()
    made.close()
    os.close(fd)
    assert path.read_text() == 'before\n"x"\n'
