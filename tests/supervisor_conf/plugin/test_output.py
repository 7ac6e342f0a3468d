"""Output in memory, in a file, on a terminal that may stand still."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.medusa import asyncore_25 as asyncore

from supervisor_conf.control import messages
from supervisor_conf.control.codec import encode
from supervisor_conf.plugin import terminal
from supervisor_conf.plugin.link import UNSENT
from supervisor_conf.plugin.memory import KEPT_LIMIT, PluginMemory
from supervisor_conf.plugin.output import REMEMBERED, Output
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
