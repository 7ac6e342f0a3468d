"""What deadlines keep: a stream that is closed is not kept until the moment it would have been looked at."""

from __future__ import annotations

from proxy.streams import Deadlines, Stream
from tests.kit.memory import MemoryLoop


def test_a_closed_stream_is_not_kept_for_its_deadline() -> None:
    loop = MemoryLoop()
    deadlines = Deadlines(1.0, loop.clock, loop)
    kept, gone = (Stream(loop.pair(1 << 10)[0], deadlines) for _ in range(2))  # type: ignore[arg-type]
    for stream in (kept, gone):
        deadlines.watch(stream, loop.clock() + 120)
        deadlines.watch(stream, loop.clock() + 60)  # one look at a time, the earlier
    assert deadlines.watched == 2
    gone.close()
    assert deadlines.watched == 1
    kept.close()
    assert deadlines.watched == 0
    deadlines.close()
