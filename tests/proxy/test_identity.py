"""What the front says of a visitor is what the shim understands, and only there, only now."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.identity import KEY_LABEL as SHIM_LABEL
from backend_shim.identity import Unverified, visitor_of
from backend_shim.pairing import Pairing
from proxy.identity import KEY_LABEL, LONGEST, Identity, signed

TOKEN, OTHER = b"0a1b2c3d-0000-4000-8000-123456789abc", b"0a1b2c3d-0000-4000-8000-123456789abd"


def key(token: bytes) -> bytes:
    return Pairing(token.decode(), "/", None).key(SHIM_LABEL)


def later() -> int:
    return int(time.time()) + 60


names = st.text(min_size=1, max_size=40).filter(lambda name: name.isprintable() and name == name.strip())
ids = st.text("0123456789abcdef-", min_size=1, max_size=40).map(str.encode)


@given(names, names, st.lists(names, max_size=5), ids, st.sampled_from(["", "FILE:/run/x/1.ccache"]))
def test_the_shim_reads_what_the_front_says(
    user: str, scheme: str, groups: list[str], request_id: bytes, cache: str
) -> None:
    field = signed(Identity(user, scheme, tuple(groups)), TOKEN, request_id, later(), cache)
    visitor = visitor_of([field], key(TOKEN), [request_id])
    assert visitor is not None
    assert (visitor.user, visitor.scheme, visitor.groups) == (user, scheme, tuple(groups))
    assert visitor.credentials == cache


def test_another_generation_another_request_and_another_time_do_not() -> None:
    field = signed(Identity("ann", "Basic"), TOKEN, b"id-1", later())
    for fields, of, request_id in (
        ([field], OTHER, b"id-1"),
        ([field], TOKEN, b"id-2"),
        ([field, field], TOKEN, b"id-1"),
        ([signed(Identity("ann", "Basic"), TOKEN, b"id-1", int(time.time()) - 2)], TOKEN, b"id-1"),
    ):
        with pytest.raises(Unverified):
            visitor_of(fields, key(of), [request_id])


def test_both_sides_make_the_same_key() -> None:
    assert KEY_LABEL == SHIM_LABEL


def test_the_longest_identity_fits_into_the_field_that_gunicorn_takes() -> None:
    groups = tuple("ü" * 60 for _ in range(38))
    identity = Identity("u" * 100, "Negotiate", groups)
    field = signed(identity, TOKEN, b"f" * 128, later(), "FILE:/" + "x" * 200)
    assert len(b"MS-ASPNETCORE-IDENTITY: " + field) < 8190
    with pytest.raises(ValueError, match="is longer than 5000 bytes"):
        Identity("u" * LONGEST, "Basic")


@pytest.mark.parametrize("name", ["", " ann", "ann ", "a\nb", "a\x7fb", "a\0", "\ud800", "a\x85", "a\u2028b"])
def test_names_that_no_field_could_carry(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a user, a scheme or a group"):
        Identity(name, "Basic")
    with pytest.raises(ValueError, match="is no name of a user, a scheme or a group"):
        Identity("ann", "Basic", (name,))


def test_groups_are_several_names_never_the_letters_of_one() -> None:
    with pytest.raises(ValueError, match="several names"):
        Identity("ann", "Basic", "staff")  # type: ignore[arg-type]
    assert Identity("ann", "Basic", ["staff", "all"]).groups == ("staff", "all")  # type: ignore[arg-type]


def test_secrets_are_not_shown() -> None:
    assert "ticket" not in repr(Identity("ann", "Negotiate", credentials=b"ticket"))
