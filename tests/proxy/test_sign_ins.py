"""What is remembered of sign-ins that were right, and what of those that were not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.modules.sign_ins import MOST, Guesses, Remembered, client_key


def test_what_was_right_is_known_for_a_while() -> None:
    table = Remembered(300)
    digest = table.digest(b"ann", b"secret", b"hash")
    assert not table.has(digest, 0.0)
    table.add(digest, 0.0)
    assert table.has(digest, 299.0)
    assert not table.has(digest, 300.0)


def test_no_time_at_all_remembers_nothing() -> None:
    table = Remembered(0)
    digest = table.digest(b"ann")
    table.add(digest, 5.0)
    assert not table.has(digest, 5.0)


parts = st.lists(st.binary(max_size=4), max_size=4)


@given(parts, parts)
def test_other_parts_are_another_digest(one: list[bytes], other: list[bytes]) -> None:
    table = Remembered(1)
    assert (table.digest(*one) == table.digest(*other)) == (one == other)
    assert table.digest(*one) != Remembered(1).digest(*one)


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    table = Remembered(300)
    digests = [table.digest(b"%d" % n) for n in range(MOST + 1)]
    for digest in digests:
        table.add(digest, 0.0)
    assert not table.has(digests[0], 1.0)
    assert table.has(digests[1], 1.0)
    assert table.has(digests[-1], 1.0)


def fail(guesses: Guesses, times: int, now: float = 0.0, client: str = "c") -> None:
    for _ in range(times):
        guesses.begin(client, now)


def test_each_failure_after_the_free_ones_doubles_the_wait() -> None:
    guesses = Guesses()
    waits = []
    for _ in range(12):
        waits.append(guesses.wait("c", 0.0))
        guesses.begin("c", 0.0)
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert guesses.wait("c", 29.0) == 1.0
    assert guesses.wait("c", 30.0) == 0.0
    assert guesses.wait("other", 0.0) == 0.0


def test_success_and_time_make_up_for_failures() -> None:
    guesses = Guesses()
    fail(guesses, 8)
    guesses.succeeded("c")
    assert guesses.wait("c", 0.0) == 0.0
    fail(guesses, 8)
    assert guesses.wait("c", 1.0) > 0.0
    assert guesses.begin("c", 1000.0) == 1


def test_an_attempt_that_said_nothing_does_not_count() -> None:
    guesses = Guesses()
    fail(guesses, 5)
    guesses.not_tried("c")
    assert guesses.wait("c", 0.0) == 0.0
    guesses.not_tried("nobody")
    assert guesses.begin("nobody", 0.0) == 1


def test_the_clients_are_bounded() -> None:
    guesses = Guesses()
    fail(guesses, 6, client="first")
    for n in range(MOST):
        guesses.begin(str(n), 0.0)
    assert guesses.wait("first", 0.0) == 0.0


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_what_a_client_is(address: str, key: str) -> None:
    assert client_key(address) == key
