"""No client is ever allowed more than its rate, whatever workers it comes to and however many others come."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rate_table import MEMORY, SECOND, WAYS, RateTable

INTERVAL, BURST = 100, 3


class Clock:
    def __init__(self, now: int = 10**15) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def table(
    path: Path, clock: Clock, clients: int = 64, interval: int = INTERVAL, burst: int = BURST
) -> RateTable:
    return RateTable(path, clients, interval, burst, clock)


def test_a_burst_and_then_the_rate(tmp_path: Path) -> None:
    clock = Clock()
    with closing(table(tmp_path / "rates", clock)) as rates:
        assert [rates.wait_of("a") for _ in range(4)] == [0, 0, 0, INTERVAL]
        assert rates.wait_of("b") == 0
        clock.now += INTERVAL - 1
        assert rates.wait_of("a") == 1
        clock.now += 1
        assert rates.wait_of("a") == 0
        assert rates.wait_of("a") == INTERVAL
        clock.now += 100 * INTERVAL
        assert [rates.wait_of("a") for _ in range(4)] == [0, 0, 0, INTERVAL]


def test_a_worker_that_comes_later_knows_what_the_others_know(tmp_path: Path) -> None:
    clock = Clock()
    with closing(table(tmp_path / "rates", clock)) as one:
        assert [one.wait_of("a") for _ in range(3)] == [0, 0, 0]
        with closing(table(tmp_path / "rates", clock)) as other:
            assert other.wait_of("a") == INTERVAL
    with closing(table(tmp_path / "rates", clock)) as later:
        assert later.wait_of("a") == INTERVAL


def test_the_file_is_nobody_elses_and_has_its_size(tmp_path: Path) -> None:
    with closing(table(tmp_path / "rates", Clock(), clients=100)) as rates:
        found = (tmp_path / "rates").stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_size == 128 + 104 * 16
        for number in range(2 * MEMORY):
            rates.wait_of(str(number))
        assert (tmp_path / "rates").stat().st_size == found.st_size
        assert len(rates._places) <= MEMORY


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / "rates").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic"):
        table(tmp_path / "rates", Clock())
    assert (tmp_path / "precious").read_text() == "x"


def test_a_table_of_another_size_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    clock = Clock()
    with (
        closing(table(tmp_path / "rates", clock)) as old,
        closing(table(tmp_path / "rates", clock, 800)) as new,
    ):
        assert [old.wait_of("a") for _ in range(4)] == [0, 0, 0, INTERVAL]
        assert new.wait_of("a") == 0
        assert (tmp_path / "rates").stat().st_size == 128 + 800 * 16


def test_after_a_boot_the_clock_begins_anew(tmp_path: Path) -> None:
    clock = Clock()
    with closing(table(tmp_path / "rates", clock)) as rates:
        assert rates.wait_of("a") == 0
        clock.now = 5
        assert rates.wait_of("a") <= INTERVAL
        clock.now += INTERVAL
        assert rates.wait_of("a") == 0


visits = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 12), st.sampled_from([0, 0, 1, 30, 99, 100, 101, 350])),
    max_size=80,
)


@given(visits)
def test_no_client_exceeds_its_rate_even_when_the_table_is_too_small(
    tmp_path_factory: pytest.TempPathFactory, visits: list[tuple[int, int, int]]
) -> None:
    """Two workers, thirteen clients, room for eight."""
    clock, path = Clock(), tmp_path_factory.mktemp("rates") / "rates"
    taken: dict[int, list[int]] = defaultdict(list)
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(table(path, clock, clients=WAYS))) for _ in range(2)]
        for worker, client, pause in visits:
            clock.now += pause
            if not workers[worker].wait_of(str(client)):
                taken[client].append(clock.now)
    path.unlink()
    for times in taken.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= BURST + (times[last] - times[first]) // INTERVAL


HAMMER = """
import sys, time
from pathlib import Path
from proxy.rate_table import RateTable
rates = RateTable(Path(sys.argv[1]), 64, 1_000_000, 50)
print("ready", flush=True)
sys.stdin.readline()
first = time.monotonic_ns()
taken = sum(rates.wait_of("client") == 0 for _ in range(20_000))
print(taken, first, time.monotonic_ns())
"""


def test_two_processes_together_never_exceed_the_rate(tmp_path: Path) -> None:
    with ExitStack() as stack:
        hammers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HAMMER, str(tmp_path / "rates")],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=Path(__file__).parents[2],
                )
            )
            for _ in range(2)
        ]
        for hammer in hammers:
            assert hammer.stdout is not None
            assert hammer.stdout.readline() == "ready\n"
        for hammer in hammers:
            assert hammer.stdin is not None
            hammer.stdin.write("go\n")
            hammer.stdin.flush()
        results = [hammer.communicate()[0].split() for hammer in hammers]
    taken, firsts, lasts = zip(*(map(int, result) for result in results), strict=True)
    span = max(lasts) - min(firsts)
    assert 50 <= sum(taken) <= 50 + span // 1_000_000 + 1


def test_a_worker_that_dies_leaves_no_lock(tmp_path: Path) -> None:
    """The lock of a set goes with its holder."""
    script = HAMMER.split("print")[0] + (
        "import fcntl, os, signal\n"
        "lock = rates._place('a')[2]\n"
        "fcntl.fcntl(rates._descriptor, fcntl.F_OFD_SETLKW, lock)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "rates")], cwd=root, check=False)
    assert done.returncode == -9
    with closing(RateTable(tmp_path / "rates", 64, SECOND, 1)) as rates:
        assert rates.wait_of("a") == 0
    assert os.listdir(tmp_path) == ["rates"]
