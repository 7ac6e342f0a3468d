"""No bytes from a client reach an app as identity: in any spelling, on both lanes, with modules and without."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_shim.identity import KEY_LABEL, visitor_of
from backend_shim.pairing import Pairing
from proxy.headers import Fields
from proxy.identity import Identity, signed
from proxy.modules import Module, Visit
from proxy.pipeline import Chain, Pipeline
from tests.kit.memory_front import TOKEN, MemoryFront, memory_front
from tests.properties.heads import any_dash, ordinary_fields, render, tokens, values
from tests.properties.test_crossing import folded

ANN = Identity("ann", "Basic", ("staff",))
KEY = Pairing(TOKEN, "/", None).key(KEY_LABEL)
#: What a client would say if it had seen how the front says it, of another request of this very generation.
LEAKED = signed(Identity("eve", "Basic"), TOKEN.encode(), b"an-earlier-one", 2**40)
WHO = (b"ms-aspnetcore-identity", b"remote-user", b"x-remote-user")

names = st.sampled_from(WHO).flatmap(any_dash)
claims = st.tuples(names, st.sampled_from([LEAKED, b"eve", b""]) | values)
nominations = st.tuples(st.just(b"Connection"), st.lists(names | tokens, max_size=2).map(b", ".join))
heads = st.lists(claims | ordinary_fields | nominations, max_size=6)


class Finds(Module):
    """The modules' part: this visitor is Ann."""

    def __init__(self) -> None:
        pass

    def request(self, visit: Visit) -> None:
        visit.authenticate(ANN)


def told(front: MemoryFront, fields: Fields) -> Fields | None:
    """The fields that the app gets of a request with these; None: it was refused."""
    visitor = front.visit()
    front.ask(visitor, render(b"GET / HTTP/1.1", [(b"Host", b"a"), *fields]))
    if not front.apps:
        return None
    head, _, _ = front.apps[-1].recv_all().partition(b"\r\n\r\n")
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    return [(name, value) for name, value in pairs]


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "judge"])
@given(heads, st.sampled_from(["none", "of others", "of the front", "of the app"]))
def test_an_app_is_told_who_asks_by_a_module_or_by_nobody(quick: bool, fields: Fields, modules: str) -> None:
    with memory_front(quick_lane=quick) as front:
        if modules != "none":
            known, others = Chain([("finds", Finds())]), Chain([])
            front.pipeline = Pipeline(
                known if modules == "of the front" else others,
                {"shop": known if modules == "of the app" else others},
            )
        front.publish(1)
        sent = told(front, fields)
    if sent is None:
        return
    said = [(name, value) for name, value in sent if folded(name) in WHO]
    if modules in ("none", "of others"):
        assert said == []
        return
    request_ids = [value for name, value in sent if name == b"X-Request-ID"]
    assert [name for name, _ in said] == [b"MS-ASPNETCORE-IDENTITY"]
    visitor = visitor_of([value for _, value in said], KEY, request_ids)
    assert visitor is not None
    assert (visitor.user, visitor.scheme, visitor.groups) == ("ann", "Basic", ("staff",))


def test_each_request_of_a_connection_and_each_generation_has_its_own() -> None:
    with memory_front() as front:
        front.pipeline = Pipeline(Chain([("finds", Finds())]), {"shop": Chain([])})
        front.publish(1)
        first, second = told(front, []), told(front, [])
    assert first is not None
    assert second is not None
    assert dict(first)[b"MS-ASPNETCORE-IDENTITY"] != dict(second)[b"MS-ASPNETCORE-IDENTITY"]
