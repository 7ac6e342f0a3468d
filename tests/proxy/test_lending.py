"""Delegated credentials, from a request to the keeper and back: in a whole worker, whose keeper is the test."""

from __future__ import annotations

from base64 import b64decode

import gevent
import pytest

from backend_shim.identity import visitor_of
from proxy import lending
from proxy.failures import Failure
from proxy.identity import Identity
from proxy.lending import Loans
from proxy.modules import Module, Visit
from proxy.pipeline import Chain, Pipeline
from supervisor_conf.control.codec import encode
from supervisor_conf.control.messages import (
    CREDENTIALS_LIMIT,
    CredentialsKept,
    DropCredentials,
    TakeCredentials,
)
from tests.kit.memory_front import MemoryFront, memory_front

GET = b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CACHE = b"\x05\x04 what ann has delegated"
PATH = "/run/portico/credentials/shop/1/abc"


class Ann(Module):
    """Everybody is ann, and delegates."""

    def __init__(self, credentials: bytes = CACHE) -> None:
        self._credentials = credentials

    def request(self, visit: Visit) -> None:
        visit.authenticate(Identity("ann@PORTICO.TEST", "Negotiate", credentials=self._credentials))


def with_ann(front: MemoryFront, credentials: bytes = CACHE) -> None:
    front.pipeline = Pipeline(Chain([("ann", Ann(credentials))]), {"shop": Chain([])})
    front.backend.keeper_is_back()
    front.publish(1)


def told(front: MemoryFront, kind: type) -> list[object]:
    return [message for message in front.told if isinstance(message, kind)]


def test_the_head_goes_out_with_the_cache_s_name_and_not_before(caplog: pytest.LogCaptureFixture) -> None:
    with memory_front(forward_credentials=True) as front:
        with_ann(front)
        visitor = front.visit()
        assert front.ask(visitor, GET) == b""
        assert front.apps == []  # nothing has been sent: the cache is not there yet
        (take,) = told(front, TakeCredentials)
        assert isinstance(take, TakeCredentials)
        assert (take.app, take.generation, take.more) == ("shop", 1, False)
        assert b64decode(take.piece) == CACHE
        assert take.piece not in repr(take)
        front.backend.handle(CredentialsKept(take.number, PATH))
        front.settle()
        head = front.apps[-1].recv_all()
        assert credentials_in(front, head) == f"FILE:{PATH}"
        assert told(front, DropCredentials) == []  # the app is at work with it
        front.apps[-1].send(OK)
        front.settle()
        assert visitor.recv_all().startswith(b"HTTP/1.1 200 ")
        assert told(front, DropCredentials) == [DropCredentials(take.number)]


def credentials_in(front: MemoryFront, head: bytes) -> str:
    """What the app's shim makes of the head."""
    from backend_shim.identity import KEY_LABEL
    from backend_shim.pairing import Pairing
    from tests.kit.memory_front import TOKEN

    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    named = {name.lower(): value for name, value in fields.items()}
    visitor = visitor_of(
        [named[b"ms-aspnetcore-identity"]], Pairing(TOKEN, "", None).key(KEY_LABEL), [named[b"x-request-id"]]
    )
    assert visitor is not None
    assert visitor.user == "ann@PORTICO.TEST"
    return visitor.credentials


def test_an_app_that_does_not_want_them_gets_none_and_nobody_is_asked() -> None:
    with memory_front() as front:
        with_ann(front)
        front.ask(front.visit(), GET)
        assert credentials_in(front, front.apps[-1].recv_all()) == ""
        assert told(front, TakeCredentials) == []


def test_a_keeper_that_cannot_is_a_503_and_the_app_hears_nothing() -> None:
    with memory_front(forward_credentials=True) as front:
        with_ann(front)
        visitor = front.visit()
        front.ask(visitor, GET)
        (take,) = told(front, TakeCredentials)
        assert isinstance(take, TakeCredentials)
        front.backend.handle(CredentialsKept(take.number, problem="[Errno 28] No space left on device"))
        front.settle()
        answer = visitor.recv_all()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer
        assert b"space" not in answer
        assert front.apps == []
        assert told(front, DropCredentials) == [DropCredentials(take.number)]


def test_a_new_keeper_is_asked_anew() -> None:
    with memory_front(forward_credentials=True) as front:
        with_ann(front)
        visitor = front.visit()
        front.ask(visitor, GET)
        front.backend.keeper_is_away(0)
        front.settle()
        assert len(told(front, TakeCredentials)) == 1
        front.backend.keeper_is_back()
        gevent.sleep(0)
        front.settle()
        first, again = told(front, TakeCredentials)
        assert first == again
        assert isinstance(again, TakeCredentials)
        front.backend.handle(CredentialsKept(again.number, PATH))
        front.settle()
        assert credentials_in(front, front.apps[-1].recv_all()) == f"FILE:{PATH}"


def test_a_request_that_goes_to_another_generation_has_a_cache_there() -> None:
    with memory_front(forward_credentials=True) as front:
        with_ann(front)
        front.app_refuses = True
        front.ask(front.visit(), GET)
        (first,) = told(front, TakeCredentials)
        assert isinstance(first, TakeCredentials)
        front.backend.handle(CredentialsKept(first.number, PATH))
        front.settle()
        front.app_refuses = False
        front.publish(2)
        front.settle()
        _, second = told(front, TakeCredentials)
        assert isinstance(second, TakeCredentials)
        assert (second.generation, told(front, DropCredentials)) == (2, [DropCredentials(first.number)])


# ------------------------------------------------------------------------------------------------------------
# Loans alone


def test_nobody_waits_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "LIMIT", 0.01)
    said: list[object] = []
    for keeper_hears in (True, False):
        loans = Loans(lambda message, hears=keeper_hears: said.append(message) or hears)  # type: ignore[misc,func-returns-value]
        with pytest.raises(Failure, match="no-credentials") as failure:
            loans.lend("shop", 1, CACHE)
        assert failure.value.status == 503
        assert isinstance(said[-1], DropCredentials)
        loans.heard(CredentialsKept(1, PATH))  # late: nobody is there, nothing breaks


def test_the_largest_ticket_fits_into_frames() -> None:
    said: list[object] = []
    loans = Loans(lambda message: not said.append(message))  # type: ignore[func-returns-value]
    waiting = gevent.spawn(loans.lend, "shop", 1, bytes(CREDENTIALS_LIMIT))
    gevent.sleep(0)
    pieces = [message for message in said if isinstance(message, TakeCredentials)]
    assert b"".join(b64decode(one.piece) for one in pieces) == bytes(CREDENTIALS_LIMIT)
    assert [one.more for one in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(encode(one) for one in pieces)
    loans.heard(CredentialsKept(pieces[0].number, PATH))
    assert waiting.get(1) == (pieces[0].number, f"FILE:{PATH}")
    with pytest.raises(Failure):
        loans.lend("shop", 1, bytes(CREDENTIALS_LIMIT + 1))
